//! From what was typed to what is meant: the request of an HTTP check, and the answer that is expected.

use super::checks::{Digest, HttpMethod, HttpProbe, HttpVersion, Tls};
use super::checks_raw::RawCheck;
use super::checks_values::{checked, choice, flag, hex, text};
use super::diagnostics::{Report, quoted};
use super::raw::Field;

/// The request, over TLS or not.
pub(super) fn http(is_tls: bool, raw: &RawCheck, report: &mut Report) -> Option<HttpProbe> {
    let key = |name: &str| format!("{}.{name}", raw.path);
    let method =
        choice(&raw.method, &key("method"), &[("GET", HttpMethod::Get), ("HEAD", HttpMethod::Head)], report);
    let versions = [("1.1", HttpVersion::Http11), ("1.0", HttpVersion::Http10)];
    let version = choice(&raw.http_version, &key("http_version"), &versions, report);
    let path = match &raw.url_path {
        Field::Absent => Some("/".to_owned()),
        Field::Refused => None,
        Field::Given(path, span) => {
            let fits =
                path.starts_with('/') && hyper::http::uri::PathAndQuery::try_from(path.as_str()).is_ok();
            if !fits {
                let help = "begin it with a slash, and write spaces and the like as %20";
                report.error(span, key("path"), format!("{} is not a path", quoted(path)), help);
            }
            fits.then(|| path.clone())
        }
    };
    let host = match &raw.host {
        Field::Absent => Some(None),
        field @ (Field::Refused | Field::Given(..)) => {
            let fits = |text: &str| text.parse::<hyper::http::uri::Authority>().is_ok();
            checked(field, &key("host"), "a host name", "write a name such as www.example.org", fits, report)
                .map(Some)
        }
    };
    let sni = match &raw.sni {
        Field::Absent => Some(None),
        field @ (Field::Refused | Field::Given(..)) => {
            let fits = |text: &str| rustls::pki_types::DnsName::try_from(text).is_ok();
            checked(field, &key("sni"), "a host name", "write a name such as www.example.org", fits, report)
                .map(Some)
        }
    };
    let body_regex = match &raw.body_regex {
        Field::Absent => Some(None),
        Field::Refused => None,
        Field::Given(pattern, span) => match regex::bytes::Regex::new(pattern) {
            Ok(_) => Some(Some(pattern.clone())),
            Err(error) => {
                let reason = error.to_string().replace('\n', " ");
                let message = format!("{} is not a regular expression", quoted(pattern));
                report.error(span, key("body_regex"), message, format!("correct it: {}", reason.trim()));
                None
            }
        },
    };
    let digest = digest(&raw.digest, &key("digest"), report);
    if method == Some(HttpMethod::Head) {
        for (name, field) in [("digest", &raw.digest), ("body", &raw.body), ("body_regex", &raw.body_regex)] {
            if let Field::Given(_, span) = field {
                report.error(
                    span,
                    key(name),
                    "the answer to HEAD has no body",
                    "use method = \"GET\", or remove it",
                );
            }
        }
    }
    let (headers, status) = (headers(raw, report), status(raw, report));
    let tls = match is_tls {
        // As keepalived, which verifies nothing: what is checked is the service, not the certificate.
        true => Some(Tls { verify: flag(&raw.verify)?, ca_file: ca_file(raw, report)?, sni: sni? }),
        false => None,
    };
    Some(HttpProbe {
        tls,
        method: method?,
        path: path?,
        host: host?,
        version: version?,
        status: status?,
        digest: digest?,
        body: text(&raw.body)?,
        body_regex: body_regex?,
        headers: headers?,
        follow: flag(&raw.follow)?,
    })
}

/// That it can be read is found out by whoever reads it.
fn ca_file(raw: &RawCheck, report: &mut Report) -> Option<Option<String>> {
    let Field::Given(_, span) = &raw.ca_file else { return text(&raw.ca_file) };
    let key = format!("{}.ca_file", raw.path);
    if !matches!(raw.verify, Field::Given(true, _) | Field::Refused) {
        let message = "the certificate is not looked at";
        report.error(span, key, message, "write verify = true beside it, or remove it");
        return None;
    }
    let help = "write one from the root on, such as \"/etc/lbctl/ca.pem\"";
    checked(&raw.ca_file, &key, "a whole path", help, |path| path.starts_with('/'), report).map(Some)
}

fn status(raw: &RawCheck, report: &mut Report) -> Option<Vec<(u16, u16)>> {
    let fields = match &raw.status {
        Field::Absent => return Some(vec![(200, 299)]),
        Field::Refused => return None,
        Field::Given(fields, _) => fields,
    };
    let mut ranges = Vec::with_capacity(fields.len());
    let mut is_right = true;
    for field in fields {
        let Field::Given(text, span) = field else { continue };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let code = |text: &str| text.trim().parse::<u16>().ok().filter(|code| (100..=599).contains(code));
        match (code(first), code(last)) {
            (Some(first), Some(last)) if first <= last => ranges.push((first, last)),
            _ => {
                let span = if span.is_empty() { &raw.span } else { span };
                let message = format!("{} is neither a status nor a range of them", quoted(text));
                report.error(
                    span,
                    format!("{}.status", raw.path),
                    message,
                    "write \"200\" or \"200-299\", from 100 to 599",
                );
                is_right = false;
            }
        }
    }
    if fields.is_empty() {
        report.error(&raw.span, format!("{}.status", raw.path), "is empty", "write \"200-299\"");
        is_right = false;
    }
    ranges.sort_unstable();
    is_right.then_some(ranges)
}

fn headers(raw: &RawCheck, report: &mut Report) -> Option<Vec<(String, String)>> {
    let fields = match &raw.headers {
        Field::Absent => return Some(Vec::new()),
        Field::Refused => return None,
        Field::Given(fields, _) => fields,
    };
    let mut headers = Vec::with_capacity(fields.len());
    let mut is_right = true;
    for (name, field) in fields {
        let Field::Given(value, span) = field else { continue };
        let fits = hyper::header::HeaderName::try_from(name.as_str()).is_ok()
            && hyper::header::HeaderValue::try_from(value.as_str()).is_ok();
        if fits {
            headers.push((name.to_lowercase(), value.clone()));
        } else {
            let message = format!("{} is not a header", quoted(&format!("{name}: {value}")));
            report.error(
                span,
                format!("{}.headers", raw.path),
                message,
                "write headers = { accept = \"text/html\" }",
            );
            is_right = false;
        }
    }
    headers.sort();
    is_right.then_some(headers)
}

fn digest(field: &Field<String>, key: &str, report: &mut Report) -> Option<Option<Digest>> {
    let (text, span) = match field {
        Field::Absent => return Some(None),
        Field::Refused => return None,
        Field::Given(text, span) => (text, span),
    };
    let bytes = hex(text).and_then(|bytes| bytes.into_iter().collect::<Option<Vec<u8>>>());
    let digest = bytes.and_then(|bytes| {
        let md5 = <[u8; 16]>::try_from(bytes.as_slice()).map(Digest::Md5);
        md5.or_else(|_| <[u8; 32]>::try_from(bytes.as_slice()).map(Digest::Sha256)).ok()
    });
    if digest.is_none() {
        let help =
            "write the 32 hexadecimal digits of an MD5 digest (as genhash prints it) or the 64 of SHA-256";
        report.error(span, key, format!("{} is not a digest", quoted(text)), help);
        return None;
    }
    Some(digest)
}
