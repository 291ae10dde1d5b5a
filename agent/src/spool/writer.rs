//! Writing a spool's temporary file, on a thread of its own: whoever records never waits for the disk. What waits for it is memory, and counted as such.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use super::{
    block::Block,
    budget::{SpoolBudget, SpoolFile},
};

/// The recording end. Dropping it gives the file up; what isn't written yet never will be.
#[derive(Debug)]
pub(super) struct FileWriter {
    blocks: Option<mpsc::Sender<Block>>,
    given_up: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<Box<dyn SpoolFile>>>>,
}

impl FileWriter {
    /// Starts the thread, which makes the file.
    pub(super) fn start(budget: &Arc<SpoolBudget>) -> io::Result<Self> {
        // As many blocks as the memory has room for, not more.
        let (blocks, queue) = mpsc::channel::<Block>();
        let given_up = Arc::new(AtomicBool::new(false));
        let (budget, stop) = (Arc::clone(budget), Arc::clone(&given_up));
        let body = move || {
            let mut file = (budget.make_file)(&budget.dir)?;
            for block in queue {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                file.write_all(&block.bytes)?;
            }
            Ok(file)
        };
        let thread = thread::Builder::new().name("stillframe-spool".to_owned()).spawn(body)?;
        Ok(Self { blocks: Some(blocks), given_up, thread: Some(thread) })
    }

    /// Hands a block over. An error is one of an earlier block.
    pub(super) fn write(&mut self, block: Block) -> io::Result<()> {
        match self.blocks.as_ref().map(|blocks| blocks.send(block)) {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(self.join().err().unwrap_or_else(|| io::Error::other("the file was closed already"))),
        }
    }

    /// Why it isn't written any more, if so.
    pub(super) fn failure(&mut self) -> Option<io::Error> {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished).then(|| self.join().err()).flatten()
    }

    /// Waits until everything is written, and gives the file.
    pub(super) fn finish(mut self) -> io::Result<Box<dyn SpoolFile>> {
        self.join()
    }

    fn join(&mut self) -> io::Result<Box<dyn SpoolFile>> {
        self.blocks = None;
        let gone = || io::Error::other("the thread that writes the file is gone");
        self.thread.take().ok_or_else(gone)?.join().unwrap_or_else(|_| Err(gone()))
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}
