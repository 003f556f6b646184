//! An explanation for people.

use std::io::{self, Write};
use std::net::SocketAddr;

use super::{By, Choice, Compared, Explanation};
use crate::net::colons;

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
    let source = &explanation.source;
    if let Some(network) = source.network {
        let verb = if source.denied { "denied" } else { "allowed" };
        let all = if network.prefix_len() == 0 { ", as no other has it" } else { "" };
        line("source", format!("{verb} by prefix {network}{all}"))?;
    }
    if let (Some(left), Some(burst)) = (source.rate_left, source.rate_burst) {
        line("rate limit", format!("{left} of {burst} left"))?;
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
        Some(Choice::Ring { slot, slots, by }) => {
            let how = match by {
                By::Round => "in its round",
                By::Client => "by the hash of the client",
                By::Address => "by the hash of the virtual address",
                By::Flow => "by the hash of addresses and ports, not in its turn",
            };
            line("chosen by", format!("the scheduler: slot {} of {slots} {how}", slot + 1))?;
        }
        Some(Choice::Scheduler) => {
            let scheduler = virtual_server.as_ref().and_then(|server| server.scheduler);
            line("chosen by", format!("the scheduler: {}", rule(scheduler.unwrap_or_default())))?;
        }
        Some(Choice::Locality) => line(
            "chosen by",
            "the scheduler: it serves this virtual address, and is not overloaded while another is idle"
                .to_owned(),
        )?,
        Some(Choice::Persistence) => {
            line("chosen by", "persistence: an earlier connection of the client went there".to_owned())?;
        }
        Some(Choice::Answer) => line("chosen by", "nobody: it is the real server's answer".to_owned())?,
        None => {}
    }
    for Compared { address, weight, active, inactive, overloaded } in &explanation.compared {
        let limit = if *overloaded { ", at its threshold" } else { "" };
        line("", format!("{address} weight {weight}, {active} active, {inactive} inactive{limit}"))?;
    }
    if let Some(server) = real_server {
        let retired = if server.retired { ", taken out of the configuration" } else { "" };
        line("real server", format!("{} weight {}{retired}", server.address, server.weight))?;
    }
    if let Some((from, to)) = explanation.out.as_ref().and_then(|frame| frame.translated) {
        let end = |end: SocketAddr| if end.port() == 0 { end.ip().to_string() } else { end.to_string() };
        line("goes out", format!("from {} to {}", end(from), end(to)))?;
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

/// What a scheduler compares: the formulas are those of IPVS.
fn rule(scheduler: &str) -> &'static str {
    match scheduler {
        "lc" => "the least of 256 times active plus inactive",
        "wlc" => "the least of (256 times active plus inactive) by weight",
        "sed" => "the least of (active plus 1) by weight",
        "nq" => "one without active connections, else the least of (active plus 1) by weight",
        "fo" => "the highest weight",
        "ovf" => "the highest weight that is above its active connections",
        "lblc" | "lblcr" => {
            "none that serves this virtual address can; the least of (256 times active plus inactive) by weight"
        }
        "twos" => "of two by chance, the least of (256 times active plus inactive) by weight",
        _ => "by comparison",
    }
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
        "denied-source" => "`allow` and `deny` of the virtual server keep its source out",
        "rate-limited" => "its source opens more connections than `rate_limit` of the virtual server",
        "mid-stream" => "no connection has this entry; it is placed by the hash of its addresses and ports",
        "unrecorded" => "the connection table is full here; raise max_connections",
        "evicted-unconfirmed" => "it takes the entry of a connection that was never answered",
        "inconsistent-tables" => "the tables contradict each other; report this",
        _ => "",
    }
}
