//! `smtp`: greeting, HELO and QUIT (RFC 5321), as keepalived's SMTP_CHECK.

use std::time::Instant;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::{Found, Passed, Problem, shown, socket};
use crate::config::checks::Probe;

/// RFC 5321 4.5.3.1.5 allows 512 bytes in a line of a reply.
const MAX_LINE: u64 = 1024;
/// A reply of more lines is none.
const MAX_LINES: usize = 100;

pub(super) async fn ask(probe: &Probe, helo: &str) -> Found {
    let begun = Instant::now();
    let mut stream = BufReader::new(socket::connect(probe).await?);
    expect(&mut stream, "220", "greeting").await?;
    stream.write_all(format!("HELO {helo}\r\n").as_bytes()).await?;
    expect(&mut stream, "250", "reply to HELO").await?;
    let text = format!("SMTP 250 in {}", shown(begun.elapsed()));
    // The service answers; that it has heard the good-bye does not matter.
    stream.write_all(b"QUIT\r\n").await?;
    if let Err(Problem::Inconclusive(ours)) = expect(&mut stream, "221", "reply to QUIT").await {
        return Err(Problem::Inconclusive(ours));
    }
    Ok(Passed::new(text))
}

/// Reads a reply of one or more lines.
async fn expect(stream: &mut BufReader<TcpStream>, code: &str, what: &str) -> Result<(), Problem> {
    for _ in 0..MAX_LINES {
        let mut line = Vec::new();
        (&mut *stream).take(MAX_LINE).read_until(b'\n', &mut line).await?;
        let line = String::from_utf8_lossy(&line);
        if line.is_empty() {
            return Err(Problem::failed(format!("connection closed before the {what}")));
        }
        let found = line.get(..3).unwrap_or(&line).trim_end();
        if found != code {
            let shown: String = line.trim_end().chars().take(60).collect();
            return Err(Problem::failed(format!("the {what} is {shown:?}, not {code}")));
        }
        // RFC 5321 4.2.1: a hyphen after the code, and there are more lines.
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
    Err(Problem::failed(format!("the {what} does not end")))
}
