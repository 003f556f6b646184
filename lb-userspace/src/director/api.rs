//! The daemon's API: HTTP/1.1 and JSON on a Unix socket.
//!
//! Each request becomes a [`Request`] to the daemon's loop, which alone changes anything.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::instance::Instance;
use crate::diff::Change;
use crate::edits::{Operation, OperationError, ServiceName};
use crate::health::report::Report;
use crate::list::rates::Rates;
use crate::orders;
use crate::path;
use crate::plane::desired::ServiceKey;
use crate::save::Saved;
use crate::vrrp::status::VrrpStatus;

/// What the daemon says of itself. JSON schema `lbctl/status/v1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// "lbctl/status/v1".
    pub schema: String,
    /// The instance's name.
    pub instance: String,
    /// The daemon's process id.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// `router_id`.
    pub router_id: String,
    /// Number of virtual servers.
    pub virtual_servers: usize,
    /// Real servers whose MAC is not known.
    pub unresolved: Vec<String>,
    /// Whether every health check has run at least once.
    pub checked: bool,
    /// Why the tables are not as configured; absent if they are.
    pub pending: Option<String>,
}

/// A reload's outcome.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reloaded {
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// What became of the operations of an edit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Edited {
    /// For each operation in turn why it was refused, or null if it was done.
    pub results: Vec<Option<OperationError>>,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// What happens now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Said {
    /// In words.
    pub said: String,
}

/// Why a request was refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// In words, possibly several lines.
    pub error: String,
}

/// What the loop is asked.
#[derive(Debug)]
pub enum Request {
    /// Say how it is.
    Status(oneshot::Sender<Status>),
    /// Say what the health checks found.
    Checks(oneshot::Sender<Report>),
    /// Read the configuration again.
    Reload(oneshot::Sender<Result<Reloaded, Refused>>),
    /// Perform run-time edits.
    Edit(Vec<Operation>, oneshot::Sender<Result<Edited, Refused>>),
    /// Begin all rates of a virtual server, or of all, at 0.
    Zero(Option<ServiceKey>, oneshot::Sender<()>),
    /// What is served.
    Saved(oneshot::Sender<Saved>),
    /// The configuration as it was read last, for comparisons.
    Configuration(oneshot::Sender<Result<serde_json::Value, Refused>>),
    /// What a reload would change.
    Diff(oneshot::Sender<Result<Vec<Change>, Refused>>),
    /// Undo everything and end.
    Down(oneshot::Sender<Result<(), Refused>>),
    /// The rates of all real servers.
    Rates(oneshot::Sender<Rates>),
    /// What is known of the ways of direct routing.
    Paths(oneshot::Sender<path::Report>),
    /// Carry out an operator's order.
    Order(orders::Request, oneshot::Sender<Result<orders::Done, Refused>>),
    /// Say how VRRP is.
    Vrrp(oneshot::Sender<Result<VrrpStatus, Refused>>),
    /// Hand a VRRP instance or group over, or take it.
    VrrpOrder {
        /// Its name.
        name: String,
        /// Take it.
        takes: bool,
        /// What happens now.
        answer: oneshot::Sender<Result<Said, Refused>>,
    },
}

/// At most so many requests wait; more are refused, for who asks so often is broken.
const QUEUE: usize = 64;

type Loop = mpsc::Sender<Request>;

/// The running API.
#[derive(Debug)]
pub struct Api {
    requests: mpsc::Receiver<Request>,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// How long the last answers may take to be read.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

impl Api {
    /// The next request.
    pub async fn request(&mut self) -> Request {
        match self.requests.recv().await {
            Some(request) => request,
            // The server has ended, and said so in the log.
            None => std::future::pending().await,
        }
    }

    /// Takes no more requests, and returns when the answers given have been read.
    pub async fn close(self) {
        let Self { requests, end, task } = self;
        drop(requests);
        drop(end);
        // Who does not read is not waited for.
        drop(tokio::time::timeout(LAST_ANSWERS, task).await);
    }
}

/// Serves the API.
///
/// # Errors
///
/// The socket cannot be made.
pub fn serve(instance: &Instance) -> io::Result<Api> {
    let all = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/rates", get(rates))
        .route("/v1/vrrp", get(vrrp))
        .route("/v1/vrrp/{name}/{order}", post(vrrp_order))
        .route("/v1/checks", get(checks))
        .route("/v1/reload", post(reload))
        .route("/v1/edits", post(edit))
        .route("/v1/zero", post(zero))
        .route("/v1/saved", get(saved))
        .route("/v1/configuration", get(configuration))
        .route("/v1/diff", get(diff))
        .route("/v1/down", post(down))
        .route("/v1/orders", post(order))
        .route("/v1/paths", get(paths));
    listen(instance, all)
}

/// Serves what of the API a daemon has that does not balance.
///
/// # Errors
///
/// The socket cannot be made.
pub fn serve_vrrp(instance: &Instance) -> io::Result<Api> {
    let all = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/vrrp", get(vrrp))
        .route("/v1/vrrp/{name}/{order}", post(vrrp_order))
        .route("/v1/reload", post(reload))
        .route("/v1/down", post(down))
        .fallback(async || {
            let error = "this daemon balances nothing: its configuration names no director.interfaces";
            refuse(Refused { error: error.to_owned() })
        });
    listen(instance, all)
}

fn listen(instance: &Instance, router: Router<Loop>) -> io::Result<Api> {
    let path = instance.socket();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o660))?;
    let (sender, requests) = mpsc::channel(QUEUE);
    let (end, ended) = oneshot::channel::<()>();
    let router = router.with_state(sender);
    let task = tokio::spawn(async move {
        let server = axum::serve(listener, router).with_graceful_shutdown(async move {
            // It is only ever dropped.
            drop(ended.await);
        });
        if let Err(error) = server.await {
            tracing::error!("the API ended: {error}");
        }
    });
    Ok(Api { requests, end, task })
}

type Failure = (StatusCode, Json<Refused>);

async fn ask<A>(to: &Loop, request: impl FnOnce(oneshot::Sender<A>) -> Request) -> Result<A, Failure> {
    let busy = |_| {
        let error = "the daemon is busy or ending; try again".to_owned();
        (StatusCode::SERVICE_UNAVAILABLE, Json(Refused { error }))
    };
    let (sender, receiver) = oneshot::channel();
    to.try_send(request(sender)).map_err(|_full| busy(()))?;
    receiver.await.map_err(|_gone| busy(()))
}

fn refuse(refused: Refused) -> Failure {
    (StatusCode::CONFLICT, Json(refused))
}

async fn status(State(to): State<Loop>) -> Result<Json<Status>, Failure> {
    ask(&to, Request::Status).await.map(Json)
}

async fn checks(State(to): State<Loop>) -> Result<Json<Report>, Failure> {
    ask(&to, Request::Checks).await.map(Json)
}

async fn rates(State(to): State<Loop>) -> Result<Json<Rates>, Failure> {
    ask(&to, Request::Rates).await.map(Json)
}

async fn vrrp(State(to): State<Loop>) -> Result<Json<VrrpStatus>, Failure> {
    ask(&to, Request::Vrrp).await?.map(Json).map_err(refuse)
}

async fn vrrp_order(
    State(to): State<Loop>,
    Path((name, order)): Path<(String, String)>,
) -> Result<Json<Said>, Failure> {
    let takes = match order.as_str() {
        "take" => true,
        "release" => false,
        _ => return Err(refuse(Refused { error: format!("{order:?} is no order; use take or release") })),
    };
    ask(&to, |answer| Request::VrrpOrder { name, takes, answer }).await?.map(Json).map_err(refuse)
}

async fn reload(State(to): State<Loop>) -> Result<Json<Reloaded>, Failure> {
    ask(&to, Request::Reload).await?.map(Json).map_err(refuse)
}

async fn edit(
    State(to): State<Loop>,
    Json(operations): Json<Vec<Operation>>,
) -> Result<Json<Edited>, Failure> {
    ask(&to, |answer| Request::Edit(operations, answer)).await?.map(Json).map_err(refuse)
}

async fn zero(State(to): State<Loop>, Json(service): Json<Option<ServiceName>>) -> Result<Json<()>, Failure> {
    let service = service.map(ServiceKey::from);
    ask(&to, |answer| Request::Zero(service, answer)).await.map(Json)
}

async fn saved(State(to): State<Loop>) -> Result<Json<Saved>, Failure> {
    ask(&to, Request::Saved).await.map(Json)
}

async fn configuration(State(to): State<Loop>) -> Result<Json<serde_json::Value>, Failure> {
    ask(&to, Request::Configuration).await?.map(Json).map_err(refuse)
}

async fn diff(State(to): State<Loop>) -> Result<Json<Vec<Change>>, Failure> {
    ask(&to, Request::Diff).await?.map(Json).map_err(refuse)
}

async fn down(State(to): State<Loop>) -> Result<Json<()>, Failure> {
    ask(&to, Request::Down).await?.map(Json).map_err(refuse)
}

async fn order(
    State(to): State<Loop>,
    Json(request): Json<orders::Request>,
) -> Result<Json<orders::Done>, Failure> {
    ask(&to, |answer| Request::Order(request, answer)).await?.map(Json).map_err(refuse)
}

async fn paths(State(to): State<Loop>) -> Result<Json<path::Report>, Failure> {
    ask(&to, Request::Paths).await.map(Json)
}
