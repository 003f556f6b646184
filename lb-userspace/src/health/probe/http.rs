//! `http` and `https`: a request, and what is expected of the answer.

use std::pin::pin;
use std::time::Instant;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, Request, Response, Uri, Version};
use hyper_util::rt::TokioIo;
use md5::Md5;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Context, Found, Passed, Problem, shown, socket};
use crate::config::checks::{Digest, HttpMethod, HttpProbe, HttpVersion, Probe};

/// A larger body is an answer to another question.
const MAX_BODY: usize = 1 << 20;
/// So many redirections are followed.
const MAX_REDIRECTIONS: u32 = 5;
/// Statuses that come with another place to ask.
const REDIRECTIONS: [u16; 5] = [301, 302, 303, 307, 308];

/// An answer: what of it may be looked at.
struct Answer {
    status: u16,
    location: Option<String>,
    body: Bytes,
}

pub(super) async fn ask(probe: &Probe, http: &HttpProbe, context: &Context) -> Found {
    let begun = Instant::now();
    let mut path = http.path.clone();
    let mut host = http.host.clone();
    let mut redirections = 0;
    let answer = loop {
        let answer = once(probe, http, &path, host.as_deref(), context).await?;
        let follows = http.follow && REDIRECTIONS.contains(&answer.status) && !is_good(answer.status, http);
        match answer.location {
            Some(location) if follows => {
                redirections += 1;
                if redirections > MAX_REDIRECTIONS {
                    return Err(Problem::failed(format!("more than {MAX_REDIRECTIONS} redirections")));
                }
                (path, host) = redirected(http, &path, host, &location)?;
            }
            location => break Answer { location, ..answer },
        }
    };
    let text = format!("HTTP {} in {}", answer.status, shown(begun.elapsed()));
    if !is_good(answer.status, http) {
        return Err(Problem::Failed(text));
    }
    match judge_body(http, &answer.body, context)? {
        None => Ok(Passed::new(text)),
        Some(wrong) => Err(Problem::Failed(format!("{text}, {wrong}"))),
    }
}

fn is_good(status: u16, http: &HttpProbe) -> bool {
    http.status.iter().any(|(first, last)| (*first..=*last).contains(&status))
}

/// Path and host of the place that `location` names.
fn redirected(
    http: &HttpProbe,
    path: &str,
    host: Option<String>,
    location: &str,
) -> Result<(String, Option<String>), Problem> {
    let elsewhere = || Problem::failed(format!("redirected to {location:?}, which is not followed"));
    let uri: Uri = location.parse().map_err(|_no_uri| elsewhere())?;
    let scheme = if http.tls.is_some() { "https" } else { "http" };
    if uri.scheme_str().is_some_and(|other| other != scheme) {
        return Err(elsewhere());
    }
    let host = uri.authority().map(|authority| authority.to_string()).or(host);
    let found = uri.path_and_query().map_or("/", |found| found.as_str());
    if found.starts_with('/') {
        return Ok((found.to_owned(), host));
    }
    // Relative to the directory of the path before.
    let directory =
        path.split(['?', '#']).next().and_then(|path| path.rsplit_once('/')).map_or("", |(it, _)| it);
    Ok((format!("{directory}/{found}"), host))
}

/// What is wrong with the body, if anything is.
fn judge_body(http: &HttpProbe, body: &[u8], context: &Context) -> Result<Option<String>, Problem> {
    if let Some(expected) = &http.digest {
        let is_right = match expected {
            Digest::Md5(digest) => Md5::digest(body).as_slice() == digest,
            Digest::Sha256(digest) => Sha256::digest(body).as_slice() == digest,
        };
        if !is_right {
            let found: String = match expected {
                Digest::Md5(_) => hex(&Md5::digest(body)),
                Digest::Sha256(_) => hex(&Sha256::digest(body)),
            };
            return Ok(Some(format!("but the body's digest is {found}")));
        }
    }
    // An expression's search takes time in proportion to the body, whatever is in it.
    if let Some(part) = &http.body
        && !context.regex(&regex::escape(part))?.is_match(body)
    {
        return Ok(Some(format!("but the body lacks {part:?}")));
    }
    if let Some(pattern) = &http.body_regex
        && !context.regex(pattern)?.is_match(body)
    {
        return Ok(Some(format!("but the body does not match {pattern:?}")));
    }
    Ok(None)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn once(
    probe: &Probe,
    http: &HttpProbe,
    path: &str,
    host: Option<&str>,
    context: &Context,
) -> Result<Answer, Problem> {
    let request = request(probe, http, path, host)?;
    let stream = socket::connect(probe).await?;
    match &http.tls {
        None => exchange(stream, request, http).await,
        Some(tls) => {
            // A name without its port.
            let named = host.and_then(|host| host.parse::<hyper::http::uri::Authority>().ok());
            let named = named.map(|authority| authority.host().to_owned());
            let named = named.filter(|host| rustls::pki_types::DnsName::try_from(host.as_str()).is_ok());
            let name = tls.sni.as_deref().or(named.as_deref());
            let stream = context.tls.negotiate(stream, tls, name, probe.connect.ip()).await?;
            exchange(stream, request, http).await
        }
    }
}

fn request(
    probe: &Probe,
    http: &HttpProbe,
    path: &str,
    host: Option<&str>,
) -> Result<Request<Empty<Bytes>>, Problem> {
    let odd = |error: hyper::http::Error| Problem::failed(format!("no request can be made: {error}"));
    let method = match http.method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Head => Method::HEAD,
    };
    let version = match http.version {
        HttpVersion::Http11 => Version::HTTP_11,
        HttpVersion::Http10 => Version::HTTP_10,
    };
    let host = host.map_or_else(|| probe.connect.to_string(), str::to_owned);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .version(version)
        .header(HOST, host)
        .header(USER_AGENT, "lbctl")
        .header(CONNECTION, "close");
    for (name, value) in &http.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|error| odd(error.into()))?;
        let value = HeaderValue::try_from(value.as_str()).map_err(|error| odd(error.into()))?;
        if let Some(headers) = request.headers_mut() {
            headers.insert(name, value);
        }
    }
    request.body(Empty::new()).map_err(odd)
}

/// Sends the request and reads as much of the answer as is looked at.
async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>, http: &HttpProbe) -> Result<Answer, Problem>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(not_http)?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(not_http)?;
        read(response, http).await
    };
    let (mut connection, mut answered) = (pin!(connection), pin!(answered));
    tokio::select! {
        biased;
        answer = &mut answered => answer,
        // The connection may end before all of its answer was looked at.
        ended = &mut connection => match ended {
            Ok(()) => answered.await,
            Err(error) => Err(not_http(error)),
        },
    }
}

async fn read(response: Response<Incoming>, http: &HttpProbe) -> Result<Answer, Problem> {
    let status = response.status().as_u16();
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let wants_body = http.digest.is_some() || http.body.is_some() || http.body_regex.is_some();
    if !wants_body || !is_good(status, http) {
        return Ok(Answer { status, location, body: Bytes::new() });
    }
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(not_http)?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len() + data.len() > MAX_BODY {
            return Err(Problem::failed(format!("HTTP {status}, but the body is larger than 1 MiB")));
        }
        bytes.extend_from_slice(data);
    }
    Ok(Answer { status, location, body: bytes.into() })
}

fn not_http(error: hyper::Error) -> Problem {
    use std::error::Error as _;

    if let Some(io) = error.source().and_then(|source| source.downcast_ref::<std::io::Error>()) {
        return Problem::failed(super::words(io));
    }
    if error.is_incomplete_message() {
        return Problem::failed("connection closed before the answer");
    }
    if error.is_parse() {
        return Problem::failed("the answer is not HTTP");
    }
    Problem::failed(format!("no answer: {error}"))
}
