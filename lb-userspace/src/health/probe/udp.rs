//! `udp`: a datagram is not refused, and is answered if an answer is expected; as keepalived's UDP_CHECK.

use std::time::{Duration, Instant};

use super::{Found, Passed, Problem, shown, socket};
use crate::config::checks::{Bytes, Pattern, Probe};

pub(super) async fn ask(
    probe: &Probe,
    payload: &Bytes,
    expect: Option<&Pattern>,
    timeout: Duration,
) -> Found {
    let begun = Instant::now();
    let socket = socket::datagrams(probe).await?;
    socket.send(&payload.0).await?;
    // Of a longer answer the rest is not looked at.
    let mut buffer = [0; 2048];
    // A refusal (ICMP port unreachable) is what receiving then fails with.
    let received = match expect {
        Some(_) => socket.recv(&mut buffer).await?,
        None => match tokio::time::timeout_at((begun + timeout).into(), socket.recv(&mut buffer)).await {
            Ok(received) => received?,
            Err(_elapsed) => return Ok(Passed::new(format!("not refused within {}", shown(timeout)))),
        },
    };
    let answer = buffer.get(..received).unwrap_or_default();
    if expect.is_some_and(|expect| !expect.begins(answer)) {
        let shown: String = answer.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        return Err(Problem::failed(format!("another answer: {shown} ({received} bytes)")));
    }
    Ok(Passed::new(format!("answered in {}", shown(begun.elapsed()))))
}
