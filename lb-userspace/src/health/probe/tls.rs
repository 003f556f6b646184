//! TLS of probes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Problem;
use crate::config::checks::Tls;

/// How to look at certificates: one way for each file of authorities, one for the system's, and one that takes all.
/// Made when first needed, and kept until [`Configurations::clear`].
#[derive(Debug, Default)]
pub(super) struct Configurations {
    made: Mutex<HashMap<Manner, Arc<OnceCell<Arc<ClientConfig>>>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Manner {
    Trusting,
    /// `None`: by the system's authorities.
    Verifying(Option<String>),
}

impl Configurations {
    /// Reads authorities again when they are needed again.
    pub(super) fn clear(&self) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn get(&self, tls: &Tls) -> Result<Arc<ClientConfig>, Problem> {
        let manner = if tls.verify { Manner::Verifying(tls.ca_file.clone()) } else { Manner::Trusting };
        let cell = {
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(made.entry(manner).or_default())
        };
        let make = async || if tls.verify { verifying(tls.ca_file.clone()).await } else { trusting() };
        cell.get_or_try_init(make).await.cloned()
    }

    /// Negotiates TLS. `name` is sent and verified; without one, the address is verified and none is sent.
    pub(super) async fn negotiate(
        &self,
        stream: TcpStream,
        tls: &Tls,
        name: Option<&str>,
        address: IpAddr,
    ) -> Result<TlsStream<TcpStream>, Problem> {
        let config = self.get(tls).await?;
        let name = match name {
            Some(name) => ServerName::try_from(name.to_owned())
                .map_err(|_no_name| Problem::failed(format!("{name:?} is not a name for TLS")))?,
            None => ServerName::IpAddress(address.into()),
        };
        let connector = TlsConnector::from(config);
        connector.connect(name, stream).await.map_err(|error| {
            let tls_error = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match tls_error {
                Some(rustls::Error::InvalidCertificate(why)) => {
                    Problem::Failed(format!("TLS: {}", in_words(why, tls.ca_file.as_deref())))
                }
                Some(other) => Problem::Failed(format!("TLS: {other}")),
                None => Problem::from(error),
            }
        })
    }
}

/// What is wrong with a certificate.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library has more, and words of its own for them")]
fn in_words(error: &CertificateError, ca_file: Option<&str>) -> String {
    let date = |time: &UnixTime| {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs());
        humantime::format_rfc3339_seconds(at).to_string()
    };
    match error {
        // An authority of the same name with another key makes a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => match ca_file {
            Some(path) => format!("the certificate is signed by none of the authorities in {path}"),
            None => "the certificate is signed by none of the system's authorities".to_owned(),
        },
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate expired at {}", date(not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the certificate is not valid before {}", date(not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            // "DnsName(\"www.example.org\")" as the library writes them.
            let names: Vec<_> = presented.iter().map(|name| name.split('"').nth(1).unwrap_or(name)).collect();
            let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            format!("the certificate is for {names}, not for {}", expected.to_str())
        }
        // Of webpki, whose errors are in no other form here.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the certificate is an authority's own, as self-signed ones are; no authority vouches for it"
                .to_owned()
        }
        other => format!("the certificate is not valid: {other}"),
    }
}

/// The certificates of a PEM file.
///
/// # Errors
/// In words, with the file and the remedy.
pub(crate) fn read_authorities(path: &str) -> Result<RootCertStore, String> {
    let remedy = "write the path of a file of PEM certificates";
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = found.map_err(|error| {
        let words = if let pem::Error::Io(error) = &error { super::words(error) } else { error.to_string() };
        format!("{path}: {words}; {remedy}")
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|error| format!("{path}: {error}; {remedy}"))?;
    }
    if roots.is_empty() { Err(format!("{path}: no certificate is in it; {remedy}")) } else { Ok(roots) }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn ours(error: impl std::fmt::Display) -> Problem {
    Problem::Inconclusive(format!("TLS cannot be set up: {error}"))
}

/// The system's certificate authorities.
fn system_authorities() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (good, _bad) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if good == 0 {
        return Err(
            "the system has no certificate authorities; install ca-certificates, or write ca_file".to_owned()
        );
    }
    Ok(roots)
}

/// Reads the authorities, on a thread that may block.
async fn verifying(ca_file: Option<String>) -> Result<Arc<ClientConfig>, Problem> {
    let read = move || ca_file.as_deref().map_or_else(system_authorities, read_authorities);
    let roots = tokio::task::spawn_blocking(read).await.map_err(ours)?.map_err(ours)?;
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let mut config = builder.map_err(ours)?.with_root_certificates(roots).with_no_client_auth();
    // A resumed session would not look at the certificate again.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn trusting() -> Result<Arc<ClientConfig>, Problem> {
    let provider = provider();
    let verifier = Arc::new(Trusting(Arc::clone(&provider)));
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(ours)?.dangerous().with_custom_certificate_verifier(verifier);
    Ok(Arc::new(builder.with_no_client_auth()))
}

/// Takes any certificate of which the server has the key.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
