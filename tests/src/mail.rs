//! A mail server that keeps what it gets.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context as _;

use crate::lab::Lab;
use crate::topology::Node;

/// Listens at port 25 of an address of a node's as long as the test runs.
#[derive(Debug)]
pub struct MailServer {
    lines: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    /// Starts it on `node`'s loopback address.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start(lab: &Lab, node: Node) -> anyhow::Result<Self> {
        Self::start_at(lab, node, Ipv4Addr::LOCALHOST.into())
    }

    /// Starts it on an address that `node` has.
    ///
    /// # Errors
    /// It does not have it, or the port is taken.
    pub fn start_at(lab: &Lab, node: Node, address: IpAddr) -> anyhow::Result<Self> {
        let listener = lab.enter(node, || TcpListener::bind((address, 25)))?.context("port 25")?;
        let lines = Arc::default();
        let kept = Arc::clone(&lines);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // One that breaks off is seen by what is missing.
                talk(&stream, &kept).ok();
            }
        });
        Ok(Self { lines })
    }

    /// The lines of all mails, in the order in which they came.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn talk(stream: &TcpStream, kept: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut out = stream;
    writeln!(out, "220 ready\r")?;
    let mut is_data = false;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if is_data {
            is_data = line != ".";
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            if !is_data {
                writeln!(out, "250 kept\r")?;
            }
            continue;
        }
        is_data = line == "DATA";
        writeln!(out, "{} ok\r", if is_data { 354 } else { 250 })?;
    }
    Ok(())
}
