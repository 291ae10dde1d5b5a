//! What an error of TLS means for two members that don't come together.

use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// The same error, in words that say which end has to change what.
pub(crate) fn explained(error: io::Error) -> io::Error {
    let kind = error.kind();
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(inner) => io::Error::new(kind, of(inner)),
        None => error,
    }
}

/// What it means.
pub(super) fn of(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => format!("the other end's certificate isn't accepted: {}", of_certificate(why)),
        Error::NoCertificatesPresented => "the other end shows no certificate".to_owned(),
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the other end doesn't speak TLS: its data plane is plain (AgentConfig::data_plane)".to_owned()
        }
        other => format!("TLS: {other}"),
    }
}

fn of_certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "it isn't of the authority in this member's CA file".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!("it has expired ({why})"),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!("it isn't valid yet ({why})"),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("it is of another member ({why})")
        }
        other => other.to_string(),
    }
}

fn of_alert(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::UnknownCA | AlertDescription::DecryptError => "it isn't of the authority in the other end's CA file",
        AlertDescription::CertificateExpired => "it has expired, or isn't valid yet",
        AlertDescription::CertificateRequired => "there was none",
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown | AlertDescription::UnsupportedCertificate => {
            "it is of another member, or for another use (it needs client and server authentication)"
        }
        other => return format!("the other end has ended the TLS handshake: {other:?}"),
    };
    format!("the other end doesn't accept this member's certificate: {why} ({alert:?})")
}
