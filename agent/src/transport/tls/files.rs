//! Certificates and keys, read from files, and again when those have changed.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio_rustls::rustls::{
    self, ClientConfig, RootCertStore, ServerConfig,
    client::{Resumption, verify_server_name},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{ParsedCertificate, WebPkiClientVerifier},
    version::TLS13,
};

use crate::config::TlsFiles;

/// Why a member can't use its certificates.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{} can't be read: {source}; it has to be a file of PEM for the data plane's TLS", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {expected}: {found}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was expected in it.
        expected: &'static str,
        /// What is wrong.
        found: String,
    },
    /// Certificate and key don't belong together, or can't be used.
    #[error("the certificate in {} can't be used with the key in {}: {source}", cert.display(), key.display())]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The certificate is of somebody else.
    #[error("the certificate in {} isn't this member's: expected {name} among its DNS names (subject alternative names); {source}", cert.display())]
    Owner {
        /// The certificate's file.
        cert: PathBuf,
        /// The name that it should have.
        name: String,
        /// What it has.
        source: rustls::Error,
    },
    /// The member's name can't be in a certificate.
    #[error(
        "{name} is no DNS name, so no certificate can be this member's: TLS needs names of member and cluster whose parts between dots have at most 63 characters and no hyphen at an end"
    )]
    Name {
        /// The member's and the cluster's name.
        name: String,
    },
}

/// What the files say.
#[derive(Debug)]
pub(super) struct Loaded {
    texts: [Vec<u8>; 3],
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
}

/// What the files say now.
#[derive(Debug)]
pub(super) struct Current {
    files: TlsFiles,
    name: ServerName<'static>,
    loaded: Mutex<Arc<Loaded>>,
}

impl Current {
    pub(super) fn load(files: TlsFiles, name: ServerName<'static>) -> Result<Self, TlsError> {
        let loaded = Mutex::new(Arc::new(parse(&files, &name, read(&files)?)?));
        Ok(Self { files, name, loaded })
    }

    /// What they say now; while they can't be used, what they said before. Reads files.
    pub(super) fn get(&self) -> Arc<Loaded> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = match read(&self.files) {
            Ok(texts) if texts == loaded.texts => return Arc::clone(&loaded),
            Ok(texts) => parse(&self.files, &self.name, texts),
            Err(error) => Err(error),
        };
        match newer {
            Ok(newer) => {
                tracing::info!(cert = %self.files.cert.display(), "the data plane's certificates have changed");
                *loaded = Arc::new(newer);
            }
            // One file may have been replaced and the next one not yet.
            Err(error) => {
                tracing::warn!(%error, "the data plane's certificates have changed and can't be used; going on with those of before")
            }
        }
        Arc::clone(&loaded)
    }
}

fn read(files: &TlsFiles) -> Result<[Vec<u8>; 3], TlsError> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|source| TlsError::Read { path: path.clone(), source });
    Ok([read(&files.cert)?, read(&files.key)?, read(&files.ca)?])
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |found: String| TlsError::Content { path: path.to_owned(), expected: "certificate", found };
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?;
    match certificates.is_empty() {
        true => Err(wrong("expected a section of PEM that begins with BEGIN CERTIFICATE".to_owned())),
        false => Ok(certificates),
    }
}

fn parse(files: &TlsFiles, name: &ServerName<'static>, texts: [Vec<u8>; 3]) -> Result<Loaded, TlsError> {
    let [cert, key, ca] = &texts;
    let chain = certificates(&files.cert, cert)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError::Content {
        path: files.key.clone(),
        expected: "private key",
        found: error.to_string(),
    })?;
    let not_an_authority =
        |found: String| TlsError::Content { path: files.ca.clone(), expected: "certificate of an authority", found };
    let mut roots = RootCertStore::empty();
    for root in certificates(&files.ca, ca)? {
        roots.add(root).map_err(|error| not_an_authority(error.to_string()))?;
    }
    let roots = Arc::new(roots);
    let pair = |source| TlsError::Pair { cert: files.cert.clone(), key: files.key.clone(), source };
    if let Some(own) = chain.first() {
        let own = ParsedCertificate::try_from(own).map_err(pair)?;
        let owner = |source| TlsError::Owner { cert: files.cert.clone(), name: name.to_str().into_owned(), source };
        verify_server_name(&own, name).map_err(owner)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let callers = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build();
    let callers = callers.map_err(|error| not_an_authority(error.to_string()))?;
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(pair)?
        .with_client_cert_verifier(callers)
        .with_single_cert(chain.clone(), key.clone_key())
        .map_err(pair)?;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(pair)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(pair)?;
    // A session that is resumed shows no certificate: each connection is to be judged by the certificates and the time of its own.
    server.send_tls13_tickets = 0;
    client.resumption = Resumption::disabled();
    Ok(Loaded { texts, server: Arc::new(server), client: Arc::new(client) })
}
