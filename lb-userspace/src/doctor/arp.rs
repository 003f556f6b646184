//! Who answers ARP for an address: RFC 5227 probes, which claim nothing and are answered by whoever has the
//! address on an interface that may say so (`arp_ignore`).

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::net::frames::Frames;

/// Of ARP.
const ETHERTYPE: u16 = 0x0806;
/// How often an unlucky probe is sent again, and how long answers are waited for.
const PROBES: [Duration; 3] =
    [Duration::from_millis(250), Duration::from_millis(250), Duration::from_millis(500)];

/// A probe for `address` from the interface with this MAC: Ethernet and ARP header.
fn probe(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    // ARP; Ethernet and IPv4; a request.
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    // No sender address: nobody's cache is to learn anything.
    frame.extend([0; 4]);
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

/// The sender of an answer, and what it answers for.
fn answer(frame: &[u8]) -> Option<([u8; 6], Ipv4Addr)> {
    let fixed = [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2];
    (frame.get(12..22)? == fixed).then_some(())?;
    let mac = *frame.get(22..)?.first_chunk::<6>()?;
    let address = *frame.get(28..)?.first_chunk::<4>()?;
    Some((mac, address.into()))
}

/// Asks for all addresses on one interface, and returns who answered for each. Takes a second.
///
/// # Errors
///
/// CAP_NET_RAW is missing, or the interface is gone.
pub(super) async fn ask(
    interface: u32,
    mac: [u8; 6],
    addresses: &[Ipv4Addr],
) -> io::Result<BTreeMap<Ipv4Addr, Vec<[u8; 6]>>> {
    let frames = Frames::open(ETHERTYPE, interface, &[])?;
    let mut answers: BTreeMap<Ipv4Addr, Vec<[u8; 6]>> =
        addresses.iter().map(|address| (*address, Vec::new())).collect();
    for wait in PROBES {
        for address in addresses {
            frames.send(interface, &probe(mac, *address))?;
        }
        let until = Instant::now() + wait;
        while let Ok(received) = timeout_at(until, frames.receive()).await {
            let Some((from, address)) = answer(&received?.bytes) else { continue };
            if let Some(known) = answers.get_mut(&address)
                && from != mac
                && !known.contains(&from)
            {
                known.push(from);
            }
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_a_request_without_a_sender() {
        let frame = probe([2, 0, 0, 0, 0, 1], [192, 168, 4, 15].into());
        assert_eq!(frame.len(), 42);
        assert_eq!(answer(&frame), None, "a request is no answer");
        let mut reply = frame.clone();
        reply[21] = 2;
        reply[22..28].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        reply[28..32].copy_from_slice(&[192, 168, 4, 15]);
        assert_eq!(answer(&reply), Some(([2, 0, 0, 0, 0, 9], [192, 168, 4, 15].into())));
        assert_eq!(answer(&reply[..30]), None);
        assert_eq!(answer(&[]), None);
    }
}
