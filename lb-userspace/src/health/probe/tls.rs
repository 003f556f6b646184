//! TLS of probes.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Problem;

/// The two ways to look at a certificate; made when first needed.
#[derive(Debug, Default)]
pub(super) struct Configurations {
    verifying: OnceCell<Arc<ClientConfig>>,
    trusting: OnceCell<Arc<ClientConfig>>,
}

impl Configurations {
    /// Negotiates TLS. `name` is sent and verified; without one, the address is verified and none is sent.
    pub(super) async fn negotiate(
        &self,
        stream: TcpStream,
        verify: bool,
        name: Option<&str>,
        address: IpAddr,
    ) -> Result<TlsStream<TcpStream>, Problem> {
        let config = match verify {
            true => self.verifying.get_or_try_init(verifying).await?,
            false => self.trusting.get_or_try_init(async || trusting()).await?,
        };
        let name = match name {
            Some(name) => ServerName::try_from(name.to_owned())
                .map_err(|_no_name| Problem::failed(format!("{name:?} is not a name for TLS")))?,
            None => ServerName::IpAddress(address.into()),
        };
        let connector = TlsConnector::from(Arc::clone(config));
        connector.connect(name, stream).await.map_err(|error| match error.get_ref() {
            // What the other side, or its certificate, is like.
            Some(inner) => Problem::failed(format!("TLS: {inner}")),
            None => Problem::from(error),
        })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn ours(error: impl std::fmt::Display) -> Problem {
    Problem::Inconclusive(format!("TLS cannot be set up: {error}"))
}

/// Reads the system's authorities, on a thread that may block.
async fn verifying() -> Result<Arc<ClientConfig>, Problem> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await.map_err(ours)?;
    let mut roots = RootCertStore::empty();
    let (good, _bad) = roots.add_parsable_certificates(loaded.certs);
    if good == 0 {
        return Err(ours("the system has no certificate authorities; install ca-certificates"));
    }
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
