//! HTTPS against servers with certificates of a test's own authority.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server's certificate, by `authority` or by itself, valid in these years.
fn certificate(
    authority: Option<&Authority>,
    (from, to): (i32, i32),
) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let mut params = CertificateParams::new(["www.example.org".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = match authority {
        Some(authority) => params.signed_by(&key, authority).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    (certificate.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into())
}

/// Serves HTTPS; the body is the name that was asked for.
async fn secure((certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>)) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let name = stream.get_ref().1.server_name().unwrap_or("nobody").to_owned();
            let mut buffer = [0; 1024];
            let _request = stream.read(&mut buffer).await;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
            stream.write_all(answer.as_bytes()).await.unwrap_or_default();
            stream.shutdown().await.unwrap_or_default();
        }
    })
    .await
}

fn ca_file(dir: &Path, authority: &Authority) -> String {
    let path = dir.join("ca.pem");
    std::fs::write(&path, authority.as_ref().pem()).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn the_name_that_is_asked_for() {
    let address = secure(certificate(None, (2020, 2090))).await;
    for (keys, name) in [
        ("sni = \"www.example.org\"", "www.example.org"),
        ("host = \"other.example.org:8443\"", "other.example.org"),
        ("host = \"192.0.2.1\"", "nobody"),
        ("path = \"/\"", "nobody"),
    ] {
        let check = format!("type = \"https\", {keys}, body_regex = \"^{name}$\"");
        let (verdict, text) = made(address, &check).await;
        assert_eq!(verdict, Verdict::Passed, "{keys}: {text}");
    }
    let (verdict, text) =
        made(web("HTTP/1.1 200 OK\r\n\r\n").await, "type = \"https\", timeout = \"1s\"").await;
    assert_eq!(verdict, Verdict::Failed, "{text}");
}

#[tokio::test]
async fn a_certificate_counts_by_its_authority_name_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let (right, wrong) = (authority(), authority());
    let now = (2020, 2090);
    let path = ca_file(dir.path(), &right);
    let www = "sni = \"www.example.org\"";
    for (server, name, expected) in [
        (certificate(Some(&right), now), www, "HTTP 200 in "),
        (certificate(Some(&right), now), "host = \"www.example.org:443\"", "HTTP 200 in "),
        (certificate(Some(&right), now), "path = \"/\"", "HTTP 200 in "),
        (
            certificate(Some(&right), now),
            "sni = \"mail.example.org\"",
            "TLS: the certificate is for www.example.org, ",
        ),
        (
            certificate(Some(&wrong), now),
            www,
            "TLS: the certificate is signed by none of the authorities in /",
        ),
        (certificate(None, now), www, "TLS: the certificate is signed by none of the authorities in /"),
        (
            certificate(Some(&right), (2020, 2021)),
            www,
            "TLS: the certificate expired at 2021-01-01T00:00:00Z",
        ),
        (certificate(Some(&right), (2080, 2090)), www, "TLS: the certificate is not valid before 2080-01-01"),
    ] {
        let check = format!("type = \"https\", verify = true, ca_file = \"{path}\", {name}");
        let (verdict, text) = made(secure(server).await, &check).await;
        let is_good = expected.starts_with("HTTP");
        assert_eq!(verdict, if is_good { Verdict::Passed } else { Verdict::Failed }, "{name}: {text}");
        assert!(text.starts_with(expected), "{expected}: {text}");
    }
}

#[tokio::test]
async fn what_is_no_file_of_certificates_is_not_held_against_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority();
    let address = secure(certificate(Some(&authority), (2020, 2090))).await;
    let path = ca_file(dir.path(), &authority);
    let check = format!("type = \"https\", verify = true, ca_file = \"{path}\", sni = \"www.example.org\"");
    let context = Context::default();
    let target = target(address, &check);
    for (contents, expected) in [
        (Some(""), "no certificate is in it"),
        (Some("-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n"), "write the path"),
        (None, "no such file"),
    ] {
        match contents {
            Some(contents) => std::fs::write(&path, contents).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let found = make(&target, &context).await;
        assert_eq!(found.verdict, Verdict::Inconclusive, "{}", found.text);
        assert!(found.text.contains(expected) && found.text.contains("ca.pem"), "{}", found.text);
    }
    // What was wrong is not kept; what is right is, until a reload.
    ca_file(dir.path(), &authority);
    assert_eq!(make(&target, &context).await.verdict, Verdict::Passed);
    ca_file(dir.path(), &super::https::authority());
    assert_eq!(make(&target, &context).await.verdict, Verdict::Passed);
    context.clear();
    assert_eq!(make(&target, &context).await.verdict, Verdict::Failed);
}
