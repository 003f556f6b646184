//! Frames of the flows that the benchmark sends.

use lb_common::csum;

/// The director's MAC.
pub(crate) const DIRECTOR: [u8; 6] = [2, 0, 0, 0, 4, 2];
const CLIENT: [u8; 6] = [2, 0, 0, 0, 4, 10];

/// The virtual server's port.
pub(crate) const PORT: u16 = 80;
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

/// A TCP segment without data from one of many clients, changed in place from flow to flow: 60 bytes of IPv4,
/// which are 64 on the wire, or 74 bytes of IPv6.
#[derive(Debug)]
pub(crate) struct Frame {
    /// `None`: not IP, the same for every flow.
    family: Option<Family>,
    bytes: Vec<u8>,
}

impl Frame {
    /// To the virtual server.
    pub(crate) fn new(family: Family, flags: u8) -> Self {
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
        bytes.extend(PORT.to_be_bytes());
        bytes.extend([0, 0, 0, 9, 0, 0, 0, 9, 0x50, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
        bytes.resize(bytes.len().max(60), 0);
        Self { family: Some(family), bytes }
    }

    /// To an address that is no virtual server's.
    pub(crate) fn not_ours(family: Family) -> Self {
        let mut frame = Self::new(family, ACK);
        let last = match family {
            Family::V4 => 33,
            Family::V6 => 53,
        };
        if let Some(byte) = frame.bytes.get_mut(last) {
            *byte = byte.wrapping_add(1);
        }
        frame
    }

    /// An ARP request.
    pub(crate) fn arp() -> Self {
        let mut bytes = vec![0xff; 6];
        bytes.extend(CLIENT);
        bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        bytes.resize(60, 0);
        Self { family: None, bytes }
    }

    /// The frame of the flow with this number: 50,000 ports of each client.
    pub(crate) fn of_flow(&mut self, flow: u32) -> &[u8] {
        let client = flow / 50_000;
        let [high, low] = u16::try_from(10_000 + flow % 50_000).unwrap_or_default().to_be_bytes();
        let [_, a, b, c] = client.to_be_bytes();
        let (address, ports) = match self.family {
            None => return &self.bytes,
            Some(Family::V4) => (26, 34),
            Some(Family::V6) => (34, 54),
        };
        if let Some(bytes) = self.bytes.get_mut(address..address + 4) {
            bytes.copy_from_slice(&[10, a, b, c.wrapping_add(1)]);
        }
        if let Some(bytes) = self.bytes.get_mut(ports..ports + 2) {
            bytes.copy_from_slice(&[high, low]);
        }
        if self.family == Some(Family::V4)
            && let Some(header) = self.bytes.get_mut(14..34)
        {
            header[10..12].fill(0);
            let sum = csum::full(header).to_be_bytes();
            header[10..12].copy_from_slice(&sum);
        }
        &self.bytes
    }
}
