//! The command line's side of the API.

use std::path::Path;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::api::Refused;

/// Sends one request and reads the JSON answer.
///
/// # Errors
///
/// No daemon answers on the socket, or it refuses, in its own words.
pub async fn call<A: DeserializeOwned>(socket: &Path, method: Method, path: &str) -> anyhow::Result<A> {
    exchange(socket, method, path, None).await
}

/// As [`call`], by `POST` with a body in JSON.
///
/// # Errors
///
/// As [`call`].
pub async fn post<A: DeserializeOwned, B: Serialize>(
    socket: &Path,
    path: &str,
    body: &B,
) -> anyhow::Result<A> {
    exchange(socket, Method::POST, path, Some(serde_json::to_vec(body)?)).await
}

async fn exchange<A: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
) -> anyhow::Result<A> {
    let stream = UnixStream::connect(socket).await.with_context(|| format!("{}", socket.display()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "lbctl");
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    driver.abort();
    if status.is_success() {
        return serde_json::from_slice(&body)
            .context("the daemon's answer is not understood; is it another version?");
    }
    match serde_json::from_slice::<Refused>(&body) {
        Ok(refused) => anyhow::bail!("{}", refused.error),
        Err(_not_ours) => anyhow::bail!("the daemon answers {status}"),
    }
}
