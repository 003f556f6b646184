//! Single connections to a web server, whose client end and whose end the test chooses, and who served them.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::director::patience;
use crate::http::Connection;
use crate::lab::Lab;
use crate::topology::Node;

/// How long a request may take, in seconds of a machine of today.
const TIME: u64 = 5;

/// A connection of the client that has had one answer and stays open until this is dropped. Dropping it waits until the
/// other side has its end, so whoever counts connections in between has counted it.
#[derive(Debug)]
pub struct Visit {
    server: String,
    connection: Connection,
}

impl Visit {
    /// Connects from `from`, which the client must have, to nginx at `to`; port 0 is one that this process has not used yet.
    ///
    /// # Errors
    /// No connection, or no answer in time.
    pub fn open(lab: &Lab, from: SocketAddr, to: SocketAddr) -> anyhow::Result<Self> {
        lab.enter(Node::Client, || {
            let deadline = Instant::now() + patience(TIME);
            let mut connection =
                Connection::open_from(from, to, deadline).with_context(|| format!("{from} to {to}"))?;
            let response = connection.get("/", false, deadline)?;
            ensure!(response.status == 200, "{from} to {to}: status {}", response.status);
            Ok(Self { server: response.server, connection })
        })?
    }

    /// Who answered.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Asks again on the same connection; returns who answers.
    ///
    /// # Errors
    /// No answer in time.
    pub fn again(&mut self) -> anyhow::Result<String> {
        Ok(self.connection.get("/", false, Instant::now() + patience(TIME))?.server)
    }
}

/// One request of the client on a connection of its own, which the server ends, so that the client's port is free
/// again at once. Returns who answered, or `failed: ` and why not.
///
/// # Errors
/// The client's namespace cannot be entered.
pub fn served(lab: &Lab, from: SocketAddr, to: SocketAddr) -> anyhow::Result<String> {
    lab.enter(Node::Client, || {
        let deadline = Instant::now() + patience(TIME);
        let one = || Connection::open_from(from, to, deadline)?.get("/", true, deadline);
        match one() {
            Ok(response) => response.server,
            Err(error) => format!("failed: {error}"),
        }
    })
}

/// As [`served`], `count` times from ports of `from` that have not been used yet.
///
/// # Errors
/// As [`served`].
pub fn served_in_turn(lab: &Lab, from: IpAddr, to: SocketAddr, count: usize) -> anyhow::Result<Vec<String>> {
    (0..count).map(|_| served(lab, SocketAddr::new(from, 0), to)).collect()
}

/// Gives the client 32 more addresses, 192.168.4.32 to .63, and returns them.
///
/// # Errors
/// `ip` fails.
pub fn more_clients(lab: &Lab) -> anyhow::Result<Vec<IpAddr>> {
    lab.exec(Node::Client, ["ip", "route", "add", "local", "192.168.4.32/27", "dev", "eth0"])?;
    Ok((32..64).map(|host| IpAddr::from([192, 168, 4, host])).collect())
}

/// Who served in a capture of IPVS, by the lab's names: its line of `rs1 rs2 rs3`.
#[must_use]
pub fn captured(capture: &str) -> Vec<String> {
    let line = capture.lines().find(|line| line.starts_with("rs")).unwrap_or_default();
    line.split_whitespace().map(|name| name.replace("rs", "web")).collect()
}
