//! What a word is, how a file is cut into chunks, and the plain pass that everything is compared with.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use crate::Counts;

/// The size of a chunk, in bytes; a chunk ends after white space, so it can be longer where a word is.
pub const CHUNK_BYTES: usize = 16 * 1024;

/// Counts the words of a text into `counts`. A word is a run of letters and digits, in lower case.
pub fn count_into(text: &str, counts: &mut Counts) {
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
}

/// The next chunk of a file from this offset; empty at its end. It never cuts a word in two.
///
/// # Errors
/// What reading says.
pub fn chunk(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::with_capacity(CHUNK_BYTES);
    loop {
        let read = (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut bytes)?;
        if read < CHUNK_BYTES {
            return Ok(bytes);
        }
        if let Some(space) = bytes.iter().rposition(u8::is_ascii_whitespace) {
            bytes.truncate(space + 1);
            return Ok(bytes);
        }
    }
}

/// Counts the words of the files in one plain pass.
///
/// # Errors
/// What reading says.
pub fn count_files(files: &[PathBuf]) -> io::Result<Counts> {
    let mut counts = Counts::new();
    for file in files {
        count_into(&String::from_utf8_lossy(&std::fs::read(file)?), &mut counts);
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn the_words_of_all_chunks_are_the_words_of_the_file(text in "([a-zé]{1,9}[ \n,.]){0,9000}") {
            let file = tempfile::NamedTempFile::new().expect("temp file");
            std::fs::write(file.path(), &text).expect("writes");
            let (mut counts, mut offset) = (Counts::new(), 0);
            loop {
                let chunk = chunk(file.path(), offset).expect("reads");
                if chunk.is_empty() { break }
                offset += chunk.len() as u64;
                count_into(&String::from_utf8_lossy(&chunk), &mut counts);
            }
            prop_assert_eq!(counts, count_files(&[file.path().to_owned()]).expect("reads"));
        }
    }
}
