//! An explanation for people.

use std::io::{self, Write};

use super::{Choice, Explanation, colons};

/// Writes one line for each thing that the packet meets, in its order. `name` names an interface.
///
/// # Errors
///
/// `out` cannot be written.
pub fn write(
    explanation: &Explanation,
    name: impl Fn(u32) -> String,
    out: &mut impl Write,
) -> io::Result<()> {
    let Explanation { client, address, packet, interface, virtual_server, choice, real_server, .. } =
        explanation;
    let mut line = |title: &str, text: String| writeln!(out, "{title:<15} {text}");
    line("packet", format!("{packet} from {client} to {address}, in on {}", name(*interface)))?;
    match virtual_server {
        Some(server) => {
            let scheduler = server.scheduler.unwrap_or("unknown");
            let any = if server.address.port() == 0 { ", for any port" } else { "" };
            line("virtual server", format!("{}/{} {scheduler}{any}", server.address, server.protocol))?;
        }
        None => line("virtual server", "none".to_owned())?,
    }
    match choice {
        Some(Choice::Connection { state, expires_in_seconds }) => line(
            "chosen by",
            format!(
                "the connection's entry: {state}, ends in {:02}:{:02} without packets",
                expires_in_seconds / 60,
                expires_in_seconds % 60
            ),
        )?,
        Some(Choice::Ring { slot, slots }) => {
            line("chosen by", format!("the scheduler: slot {} of {slots} in its round", slot + 1))?;
        }
        Some(Choice::Scheduler) => line("chosen by", "the scheduler".to_owned())?,
        None => {}
    }
    if let Some(server) = real_server {
        let retired = if server.retired { ", taken out of the configuration" } else { "" };
        line("real server", format!("{} weight {}{retired}", server.address, server.weight))?;
    }
    if let Some(frame) = &explanation.out {
        let vlan = frame.vlan.map_or(String::new(), |id| format!(", VLAN {id}"));
        let ttl = frame.ttl.map_or(String::new(), |ttl| format!(", TTL {ttl}"));
        line(
            "frame",
            format!(
                "to {} from {}{vlan}{ttl}, out of {}",
                colons(frame.destination_mac),
                colons(frame.source_mac),
                name(frame.interface)
            ),
        )?;
    }
    line("verdict", explanation.verdict.to_owned())?;
    for reason in &explanation.reasons {
        match why(reason) {
            "" => line("counted as", (*reason).to_owned())?,
            why => line("counted as", format!("{reason}: {why}"))?,
        }
    }
    Ok(())
}

/// What a reason means to an operator. A new one is shown by its name alone until it has a sentence here.
fn why(reason: &str) -> &'static str {
    match reason {
        "no-virtual-server" => {
            "no virtual server has this address, port and protocol; the kernel gets the packet"
        }
        "no-real-server" => {
            "no real server takes new connections; the kernel refuses. Look at weights and health in `lbctl list`"
        }
        "local-real-server" => "the real server is this director; the kernel gets the packet",
        "neighbour-unresolved" => {
            "the real server's MAC address is not known. Is it up, and on this segment? `ip neigh` has more"
        }
        "other-mac" => "the frame is not for this director's MAC address",
        "ttl-exceeded" => "the packet may not go another hop",
        "mid-stream" => "no connection has this entry; it is placed by the hash of its addresses and ports",
        "unrecorded" => "the connection table is full here; raise max_connections",
        "evicted-unconfirmed" => "it takes the entry of a connection that was never answered",
        "inconsistent-tables" => "the tables contradict each other; report this",
        _ => "",
    }
}
