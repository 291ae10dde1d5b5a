//! TCP under TLS 1.3, on which both ends show a certificate of the cluster's authority (mutual TLS).
//!
//! The certificate of a member has `<member>.<cluster>` among its DNS names (subject alternative names), so one authority may serve several clusters. Whoever dials
//! makes sure of that name before it says anything; whoever is dialled, before it believes the caller's name. The files are looked at for each connection, so a
//! certificate that was renewed is taken up by the next one.
//!
//! | to find | look in |
//! | --- | --- |
//! | reading certificates and keys, again when they change | [`files`] |
//! | what an error of TLS means | [`reason`] |

mod files;
mod reason;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use stillframe_protocol::{ClusterName, MemberName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        client::verify_server_name,
        pki_types::{CertificateDer, DnsName, ServerName},
        server::ParsedCertificate,
    },
};

pub use files::TlsError;
pub(crate) use reason::explained;

use super::{Arriving, Credentials, Link, Listener, Transport, tcp};
use crate::config::TlsFiles;
use files::{Current, Loaded};

/// How long a dialled member may take for its half of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a caller that was refused may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// TCP under mutual TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    listen: SocketAddr,
    cluster: ClusterName,
    current: Arc<Current>,
}

impl Tls {
    /// Listens there (port 0 takes any free one) as this member, with the certificate, key and authority in these files.
    ///
    /// # Errors
    /// When they can't be read, don't fit together, or are of another member.
    pub fn new(listen: SocketAddr, files: TlsFiles, cluster: ClusterName, member: &MemberName) -> Result<Self, TlsError> {
        let current = Arc::new(Current::load(files, name_in_certificates(member, &cluster)?)?);
        Ok(Self { listen, cluster, current })
    }

    async fn loaded(&self) -> io::Result<Arc<Loaded>> {
        loaded(Arc::clone(&self.current)).await
    }
}

async fn loaded(current: Arc<Current>) -> io::Result<Arc<Loaded>> {
    tokio::task::spawn_blocking(move || current.get()).await.map_err(io::Error::other)
}

/// The name that a member's certificate has to have.
fn name_in_certificates(member: &MemberName, cluster: &ClusterName) -> Result<ServerName<'static>, TlsError> {
    let name = format!("{member}.{cluster}");
    match DnsName::try_from(name.clone()) {
        Ok(name) => Ok(ServerName::DnsName(name)),
        Err(_) => Err(TlsError::Name { name }),
    }
}

#[async_trait]
impl Transport for Tls {
    async fn listen(&self) -> io::Result<Box<dyn Listener>> {
        let end = tcp::bind(self.listen)?;
        Ok(Box::new(TlsEnd { end, cluster: self.cluster.clone(), current: Arc::clone(&self.current) }))
    }

    async fn dial(&self, address: &str, member: &MemberName) -> io::Result<Link> {
        let name = name_in_certificates(member, &self.cluster).map_err(io::Error::other)?;
        let loaded = self.loaded().await?;
        let stream = tcp::connect(address).await?;
        let handshake = TlsConnector::from(Arc::clone(&loaded.client)).connect(name, stream);
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            // Its name was part of the handshake.
            Ok(stream) => Ok(halves(stream.map_err(explained)?)),
            Err(_) => {
                let what = format!("{address} didn't end the TLS handshake for {HANDSHAKE_TIMEOUT:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, what))
            }
        }
    }
}

fn halves(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static) -> Link {
    let (reader, writer) = tokio::io::split(stream);
    Link::new(reader, writer)
}

struct TlsEnd {
    end: TcpListener,
    cluster: ClusterName,
    current: Arc<Current>,
}

#[async_trait]
impl Listener for TlsEnd {
    fn address(&self) -> io::Result<String> {
        self.end.local_addr().map(|address| address.to_string())
    }

    async fn accept(&mut self) -> io::Result<Arriving> {
        let (stream, _) = self.end.accept().await?;
        Ok(Box::pin(arrive(stream, self.cluster.clone(), Arc::clone(&self.current))))
    }
}

async fn arrive(stream: TcpStream, cluster: ClusterName, current: Arc<Current>) -> io::Result<Link> {
    stream.set_nodelay(true)?;
    let acceptor = TlsAcceptor::from(Arc::clone(&loaded(current).await?.server));
    match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => {
            let certificates = stream.get_ref().1.peer_certificates();
            let certificate = certificates.and_then(|chain| chain.first()).map(|certificate| certificate.clone().into_owned());
            let shown = Shown { certificate, cluster };
            Ok(Link { credentials: Some(Box::new(shown)), ..halves(stream) })
        }
        Err((error, stream)) => {
            linger(stream).await;
            Err(explained(error))
        }
    }
}

/// Lets the caller read why it was refused: to close while something of it is unread would take that back.
async fn linger(mut stream: TcpStream) {
    let drain = async {
        let _ = stream.shutdown().await;
        let mut rest = [0; 1024];
        for _ in 0..64 {
            if !matches!(stream.read(&mut rest).await, Ok(1..)) {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}

/// The certificate that a caller has shown. It is of the authority, and of a time that includes now; whose it is remains to be seen.
struct Shown {
    certificate: Option<CertificateDer<'static>>,
    cluster: ClusterName,
}

impl Credentials for Shown {
    fn are_of(&self, member: &MemberName) -> Result<(), String> {
        let Some(certificate) = &self.certificate else { return Err("it has shown no certificate".to_owned()) };
        let name = name_in_certificates(member, &self.cluster).map_err(|error| error.to_string())?;
        let certificate = ParsedCertificate::try_from(certificate).map_err(|error| error.to_string())?;
        verify_server_name(&certificate, &name)
            .map_err(|error| format!("its certificate is another member's: {}", reason::of(&error)))
    }
}

#[cfg(test)]
mod tests;
