//! The proxies, on threads of their own, so that a test that waits can't stop them.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use tokio::{
    net::{TcpListener, TcpStream, UnixStream},
    runtime::Runtime,
};

use super::{
    caller,
    carry::carry,
    line::{Line, Weather},
};

/// Whom a proxy calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// A server on TCP. It may be away.
    Tcp(SocketAddr),
    /// A server on a Unix socket.
    Unix(PathBuf),
    /// Whichever it is when a connection is made.
    Switched(Switch),
}

/// Whom a proxy calls, for as long as it isn't another. Clones are the same switch.
#[derive(Debug, Clone)]
pub struct Switch(Arc<Mutex<PathBuf>>);

impl Switch {
    /// To a server on a Unix socket.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self(Arc::new(Mutex::new(socket)))
    }

    /// New connections go to another server on a Unix socket. Those that are open stay where they are.
    ///
    /// # Panics
    ///
    /// Never: nobody panics while it is held.
    pub fn switch(&self, socket: PathBuf) {
        *self.0.lock().expect("nobody panics while it is held") = socket;
    }

    fn socket(&self) -> PathBuf {
        self.0.lock().expect("nobody panics while it is held").clone()
    }
}

impl PartialEq for Switch {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Switch {}

/// Which line a connection takes.
#[derive(Debug, Clone)]
pub enum Lines {
    /// All take this one.
    All(Line),
    /// That of the member that calls, on the data plane. Who isn't named here isn't let through.
    OfMember(BTreeMap<String, Line>),
}

/// Proxies, and the threads that they run on. They end with this value.
#[derive(Debug)]
pub struct Network(Option<Runtime>);

impl Network {
    /// A network without proxies.
    ///
    /// # Panics
    ///
    /// When the machine refuses threads.
    #[must_use]
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("proxies").enable_all().build();
        Self(Some(runtime.expect("no runtime for the proxies")))
    }

    /// A proxy on a free port of loopback.
    ///
    /// # Panics
    ///
    /// When the machine refuses a port.
    #[must_use]
    pub fn proxy(&self, upstream: Upstream, lines: Lines) -> Proxy {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("no port for a proxy");
        let address = listener.local_addr().expect("a bound socket has an address");
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        let runtime = self.0.as_ref().expect("the network runs as long as it is there");
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("the runtime takes the proxy's socket");
            serve(listener, Arc::new((upstream, lines))).await;
        });
        Proxy { address }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A proxy. It lives as long as its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxy {
    address: SocketAddr,
}

impl Proxy {
    /// Where it listens.
    #[must_use]
    pub fn address(self) -> SocketAddr {
        self.address
    }

    /// `http://<address>`.
    #[must_use]
    pub fn url(self) -> String {
        format!("http://{}", self.address)
    }
}

async fn serve(listener: TcpListener, to: Arc<(Upstream, Lines)>) {
    loop {
        // An accept fails when a caller is gone already, or the machine is out of descriptors: the next one may do.
        let Ok((socket, _)) = listener.accept().await else { continue };
        let to = Arc::clone(&to);
        tokio::spawn(async move {
            // A connection that doesn't come about is what a proxy is for.
            drop(connect(socket, &to.0, &to.1).await);
        });
    }
}

async fn connect(mut socket: TcpStream, upstream: &Upstream, lines: &Lines) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (line, first) = match lines {
        Lines::All(line) => (line, Vec::new()),
        Lines::OfMember(lines) => {
            let (first, name) = caller::read(&mut socket).await?;
            (lines.get(&name).ok_or_else(|| io::Error::other(format!("{name} has no line here")))?, first)
        }
    };
    if line.wait_for(|weather| !weather.holds_calls()).await == Weather::Cut {
        return Ok(());
    }
    let caller = socket.split();
    let socket = match upstream {
        Upstream::Tcp(address) => {
            let mut server = TcpStream::connect(address).await?;
            server.set_nodelay(true)?;
            carry(line, &first, caller, server.split()).await;
            return Ok(());
        }
        Upstream::Unix(socket) => socket.clone(),
        Upstream::Switched(switch) => switch.socket(),
    };
    let mut server = UnixStream::connect(socket).await?;
    carry(line, &first, caller, server.split()).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A server that repeats what it is told.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reads, mut writes) = socket.split();
                    drop(tokio::io::copy(&mut reads, &mut writes).await);
                });
            }
        });
        address
    }

    async fn says(socket: &mut TcpStream, word: &[u8; 4]) -> io::Result<()> {
        socket.write_all(word).await?;
        let mut answer = [0; 4];
        socket.read_exact(&mut answer).await?;
        assert_eq!(&answer, word);
        Ok(())
    }

    #[tokio::test]
    async fn the_weather_turns_for_connections_that_are_open() {
        let (network, line) = (Network::start(), Line::default());
        let proxy = network.proxy(Upstream::Tcp(echo().await), Lines::All(line.clone()));
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        says(&mut socket, b"fair").await.unwrap();

        line.set(Weather::Held { forth: false, back: true });
        let held = tokio::spawn(async move {
            says(&mut socket, b"late").await.unwrap();
            socket
        });
        // A new connection doesn't come about either.
        let mut other = TcpStream::connect(proxy.address()).await.unwrap();
        let other = tokio::spawn(async move { says(&mut other, b"also").await });
        tokio::task::yield_now().await;
        assert!(!held.is_finished() && !other.is_finished());
        line.set(Weather::Fair);
        let mut socket = held.await.unwrap();
        other.await.unwrap().unwrap();

        line.set(Weather::Cut);
        assert_eq!(socket.read(&mut [0; 4]).await.unwrap_or(0), 0, "it is broken");
        let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(says(&mut refused, b"lost").await.is_err());
        line.set(Weather::Fair);
        let mut back = TcpStream::connect(proxy.address()).await.unwrap();
        says(&mut back, b"back").await.unwrap();
    }

    #[tokio::test]
    async fn a_forgetful_line_breaks_when_the_answer_comes() {
        let (network, line) = (Network::start(), Line::default());
        let proxy = network.proxy(Upstream::Tcp(echo().await), Lines::All(line.clone()));
        line.set(Weather::Forgetful { one_in: 1 });
        let mut socket = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(says(&mut socket, b"word").await.is_err());
    }
}
