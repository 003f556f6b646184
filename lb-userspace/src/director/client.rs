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
    exchange(socket, method, path, Bytes::new()).await
}

/// As [`call`], by POST and with something to say.
///
/// # Errors
///
/// As of [`call`].
pub async fn post<A: DeserializeOwned>(socket: &Path, path: &str, say: &impl Serialize) -> anyhow::Result<A> {
    exchange(socket, Method::POST, path, Bytes::from(serde_json::to_vec(say)?)).await
}

async fn exchange<A: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> anyhow::Result<A> {
    let stream = UnixStream::connect(socket).await.with_context(|| format!("{}", socket.display()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "lbctl")
        .header("content-type", "application/json")
        .body(Full::new(body))?;
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
