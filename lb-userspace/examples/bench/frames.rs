//! Frames of the flows that the benchmark sends.

use lb_common::csum;

/// The director's MAC.
pub(crate) const DIRECTOR: [u8; 6] = [2, 0, 0, 0, 4, 2];
const CLIENT: [u8; 6] = [2, 0, 0, 0, 4, 10];

/// The port of the virtual server by direct routing, which the baseline has too.
pub(crate) const PORT: u16 = 80;
/// The port of the virtual server by NAT.
pub(crate) const NAT_PORT: u16 = 81;
/// The port of the virtual server through tunnels.
pub(crate) const TUNNEL_PORT: u16 = 82;
/// The port of its real servers.
pub(crate) const SERVER_PORT: u16 = 8080;
/// The number of real servers of each.
pub(crate) const REAL_SERVERS: u8 = 16;
/// The virtual server's addresses.
pub(crate) const VIP4: [u8; 4] = [192, 168, 4, 15];
pub(crate) const VIP6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x15];

/// IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// 4 or 6.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }
}

/// What a frame says about its connection: the TCP flags.
pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 16;

/// What differs between the frames of two flows.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Not IP: nothing.
    Same,
    /// The client, which is the source.
    Request(Family),
    /// The client, which is the destination, and the real server.
    Answer(Family),
}

/// The IPv4 address of a real server.
pub(crate) fn server4(number: u8) -> [u8; 4] {
    [10, 200, 0, number]
}

/// The IPv6 address of a real server.
pub(crate) fn server6(number: u8) -> [u8; 16] {
    [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, number]
}

/// A TCP segment without data from one of many clients, changed in place from flow to flow: 60 bytes of IPv4,
/// which are 64 on the wire, or 74 bytes of IPv6.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    kind: Kind,
    bytes: Vec<u8>,
}

impl Frame {
    /// To a virtual server.
    pub(crate) fn new(family: Family, port: u16, flags: u8) -> Self {
        let mut bytes = Vec::with_capacity(74);
        bytes.extend(DIRECTOR);
        bytes.extend(CLIENT);
        match family {
            Family::V4 => {
                bytes.extend([8, 0]);
                bytes.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 0, 0, 0, 0]);
                bytes.extend(VIP4);
            }
            Family::V6 => {
                bytes.extend([0x86, 0xdd]);
                bytes.extend([0x60, 0, 0, 0, 0, 20, 6, 64]);
                bytes.extend([0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                bytes.extend(VIP6);
            }
        }
        bytes.extend([0, 0]);
        bytes.extend(port.to_be_bytes());
        bytes.extend([0, 0, 0, 9, 0, 0, 0, 9, 0x50, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
        bytes.resize(bytes.len().max(60), 0);
        Self { kind: Kind::Request(family), bytes }
    }

    /// To an address that is no virtual server's.
    pub(crate) fn not_ours(family: Family) -> Self {
        let mut frame = Self::new(family, PORT, ACK);
        let last = match family {
            Family::V4 => 33,
            Family::V6 => 53,
        };
        if let Some(byte) = frame.bytes.get_mut(last) {
            *byte = byte.wrapping_add(1);
        }
        frame
    }

    /// From a real server of the virtual server by NAT to a client: the one that the number of the flow gives.
    pub(crate) fn answer(family: Family) -> Self {
        let mut frame = Self::new(family, 0, ACK);
        frame.kind = Kind::Answer(family);
        let port = if family == Family::V4 { 34 } else { 54 };
        frame.set(port, &SERVER_PORT.to_be_bytes());
        frame
    }

    /// An ARP request.
    pub(crate) fn arp() -> Self {
        let mut bytes = vec![0xff; 6];
        bytes.extend(CLIENT);
        bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        bytes.resize(60, 0);
        Self { kind: Kind::Same, bytes }
    }

    /// The frame of the flow with this number: 50,000 ports of each client.
    pub(crate) fn of_flow(&mut self, flow: u32) -> &[u8] {
        let client = flow / 50_000;
        let [high, low] = u16::try_from(10_000 + flow % 50_000).unwrap_or_default().to_be_bytes();
        let [_, a, b, c] = client.to_be_bytes();
        let number = u8::try_from(flow % u32::from(REAL_SERVERS)).unwrap_or_default() + 1;
        let (family, address, port) = match self.kind {
            Kind::Same => return &self.bytes,
            Kind::Request(Family::V4) => (Family::V4, 26, 34),
            Kind::Request(Family::V6) => (Family::V6, 34, 54),
            Kind::Answer(Family::V4) => {
                self.set(26, &server4(number));
                (Family::V4, 30, 36)
            }
            Kind::Answer(Family::V6) => {
                self.set(22, &server6(number));
                self.set(38, &[0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0]);
                (Family::V6, 50, 56)
            }
        };
        self.set(address, &[10, a, b, c.wrapping_add(1)]);
        self.set(port, &[high, low]);
        if family == Family::V4
            && let Some(header) = self.bytes.get_mut(14..34)
        {
            header[10..12].fill(0);
            let sum = csum::full(header).to_be_bytes();
            header[10..12].copy_from_slice(&sum);
        }
        &self.bytes
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
}
