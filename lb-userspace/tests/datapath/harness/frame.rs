//! Frames, built with etherparse: an implementation of the protocols that is not ours.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6Header, TcpHeader, UdpHeader,
    checksum::Sum16BitWords,
};
use lb_common::net::MacAddress;

use super::world::{CLIENT_MAC, DIRECTOR_MAC, Server};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;

/// IP protocol numbers.
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;

/// A TPID of a tag.
pub(crate) const C_TAG: u16 = 0x8100;
pub(crate) const S_TAG: u16 = 0x88a8;

/// An Ethernet frame with an IP packet.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    to: MacAddress,
    from: MacAddress,
    tags: Vec<(u16, u16)>,
    /// EtherType if it is not the one of the addresses' family.
    ethertype: Option<u16>,
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    identification: u16,
    /// Offset in bytes, more fragments.
    fragment: Option<(usize, bool)>,
    options: Vec<u8>,
    /// Type, and the header's bytes behind the next-header byte.
    extensions: Vec<(u8, Vec<u8>)>,
    protocol: u8,
    payload: Vec<u8>,
    trailer: usize,
    patches: Vec<(usize, Vec<u8>)>,
    length: Option<usize>,
}

impl Frame {
    /// An IP packet from the client's router to the director.
    pub(crate) fn ip(source: IpAddr, destination: IpAddr, protocol: u8, payload: Vec<u8>) -> Self {
        Self {
            to: DIRECTOR_MAC,
            from: CLIENT_MAC,
            tags: Vec::new(),
            ethertype: None,
            source,
            destination,
            ttl: 64,
            identification: 0x1234,
            fragment: None,
            options: Vec::new(),
            extensions: Vec::new(),
            protocol,
            payload,
            trailer: 0,
            patches: Vec::new(),
            length: None,
        }
    }

    /// A TCP segment with these flags and four bytes of data.
    pub(crate) fn tcp(source: SocketAddr, destination: SocketAddr, flags: u8) -> Self {
        let data = *b"data";
        let mut header = TcpHeader::new(source.port(), destination.port(), 0x0102_0304, 0xfaf0);
        header.fin = flags & FIN != 0;
        header.syn = flags & SYN != 0;
        header.rst = flags & RST != 0;
        header.psh = flags & PSH != 0;
        header.ack = flags & ACK != 0;
        header.checksum = match (source.ip(), destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &data).unwrap()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                header.calc_checksum_ipv6_raw(from.octets(), to.octets(), &data).unwrap()
            }
            families => panic!("mixed families: {families:?}"),
        };
        let segment = [header.to_bytes().as_slice(), &data].concat();
        Self::ip(source.ip(), destination.ip(), TCP, segment)
    }

    /// A TCP reset without data: its number, and what it acknowledges.
    pub(crate) fn reset(
        source: SocketAddr,
        destination: SocketAddr,
        sequence: u32,
        ack: Option<u32>,
    ) -> Self {
        let mut header = TcpHeader::new(source.port(), destination.port(), sequence, 0);
        header.rst = true;
        header.ack = ack.is_some();
        header.acknowledgment_number = ack.unwrap_or(0);
        header.checksum = match (source.ip(), destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &[]).unwrap()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                header.calc_checksum_ipv6_raw(from.octets(), to.octets(), &[]).unwrap()
            }
            families => panic!("mixed families: {families:?}"),
        };
        let segment = header.to_bytes().to_vec();
        let frame = Self::ip(source.ip(), destination.ip(), TCP, segment).identification(0);
        Self { to: CLIENT_MAC, from: DIRECTOR_MAC, ..frame }
    }

    /// A UDP datagram with this data.
    pub(crate) fn udp(source: SocketAddr, destination: SocketAddr, data: &[u8]) -> Self {
        let mut header = UdpHeader {
            source_port: source.port(),
            destination_port: destination.port(),
            length: u16::try_from(data.len() + 8).unwrap(),
            checksum: 0,
        };
        header.checksum = match (source.ip(), destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                header.calc_checksum_ipv4_raw(from.octets(), to.octets(), data).unwrap()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                header.calc_checksum_ipv6_raw(from.octets(), to.octets(), data).unwrap()
            }
            families => panic!("mixed families: {families:?}"),
        };
        Self::ip(source.ip(), destination.ip(), UDP, [&header.to_bytes(), data].concat())
    }

    /// An ICMP or ICMPv6 message of this type, its eight bytes of header followed by `body`.
    pub(crate) fn icmp(source: IpAddr, destination: IpAddr, kind: u8, body: &[u8]) -> Self {
        Self::icmp_message(source, destination, [kind, 0], [5, 0xdc], body)
    }

    /// As [`Frame::icmp`], with type and code, and the last two bytes of the header.
    fn icmp_message(
        source: IpAddr,
        destination: IpAddr,
        [kind, code]: [u8; 2],
        last: [u8; 2],
        body: &[u8],
    ) -> Self {
        let mut message = [&[kind, code, 0, 0, 0, 0, last[0], last[1]], body].concat();
        let mut sum = Sum16BitWords::new();
        let protocol = match (source, destination) {
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                sum = sum.add_16bytes(from.octets()).add_16bytes(to.octets());
                sum = sum.add_4bytes(u32::try_from(message.len()).unwrap().to_be_bytes());
                sum = sum.add_2bytes([0, ICMPV6]);
                ICMPV6
            }
            _ => ICMP,
        };
        let checksum = sum.add_slice(&message).ones_complement();
        message[2..4].copy_from_slice(&checksum.to_ne_bytes());
        Self::ip(source, destination, protocol, message)
    }

    /// A router's ICMP error to the sender of `quoted`, with the first `length` bytes of that IP packet.
    pub(crate) fn icmp_error(router: IpAddr, kind: u8, quoted: &Self, length: usize) -> Self {
        let packet = quoted.packet();
        Self::icmp(router, quoted.source, kind, &packet[..length.min(packet.len())])
    }

    pub(crate) fn to(self, to: MacAddress) -> Self {
        Self { to, ..self }
    }

    pub(crate) fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    pub(crate) fn identification(self, identification: u16) -> Self {
        Self { identification, ..self }
    }

    pub(crate) fn protocol(self, protocol: u8) -> Self {
        Self { protocol, ..self }
    }

    /// IPv4 options; a multiple of four bytes.
    pub(crate) fn options(self, options: &[u8]) -> Self {
        Self { options: options.to_vec(), ..self }
    }

    /// An IPv6 extension header behind those that are there; `body` starts behind the next-header byte.
    pub(crate) fn extension(mut self, kind: u8, body: &[u8]) -> Self {
        self.extensions.push((kind, body.to_vec()));
        self
    }

    /// The first fragment: `length` bytes of the payload, more to come.
    pub(crate) fn first_fragment(mut self, length: usize) -> Self {
        self.payload.truncate(length);
        self.fragment(0, true)
    }

    /// A later fragment: other bytes in place of the payload.
    pub(crate) fn later_fragment(mut self, offset: usize, more: bool) -> Self {
        self.payload = vec![0xaa; 32];
        self.fragment(offset, more)
    }

    fn fragment(mut self, offset: usize, more: bool) -> Self {
        if self.source.is_ipv6() {
            let field = u16::try_from(offset).unwrap() | u16::from(more);
            let [high, low] = field.to_be_bytes();
            let [a, b] = self.identification.to_be_bytes();
            return self.extension(44, &[0, high, low, 0, 0, a, b]);
        }
        self.fragment = Some((offset, more));
        self
    }

    /// A tag in front of the ones that are there.
    pub(crate) fn tag(mut self, kind: u16, control: u16) -> Self {
        self.tags.insert(0, (kind, control));
        self
    }

    pub(crate) fn untagged(mut self) -> Self {
        self.tags.clear();
        self
    }

    pub(crate) fn ethertype(self, ethertype: u16) -> Self {
        Self { ethertype: Some(ethertype), ..self }
    }

    /// Bytes behind the IP packet, as short frames have.
    pub(crate) fn padding(self, trailer: usize) -> Self {
        Self { trailer, ..self }
    }

    /// The first `length` bytes of the payload only.
    pub(crate) fn payload(mut self, length: usize) -> Self {
        self.payload.truncate(length);
        self
    }

    /// Overwrites bytes of the finished frame.
    pub(crate) fn patch(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.patches.push((offset, bytes.to_vec()));
        self
    }

    /// Ends the finished frame after `length` bytes.
    pub(crate) fn cut(self, length: usize) -> Self {
        Self { length: Some(length), ..self }
    }

    /// What direct routing makes of it for a real server on the same VLAN.
    pub(crate) fn forwarded(self, server: &Server) -> Self {
        Self { to: server.mac, from: server.from, ttl: self.ttl - 1, ..self }
    }

    /// The frame of an answer to a client beyond the router.
    pub(crate) fn answered(self) -> Self {
        Self { to: CLIENT_MAC, from: DIRECTOR_MAC, ttl: self.ttl - 1, ..self }
    }

    /// From another MAC than the router's.
    pub(crate) fn from(self, from: MacAddress) -> Self {
        Self { from, ..self }
    }

    /// Leaves the checksum to be finished by a network card, as Linux does for a local sender: it holds the sum of
    /// the pseudo-header alone.
    pub(crate) fn unfinished(mut self) -> Self {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let mut sum = Sum16BitWords::new().add_4bytes(length).add_2bytes([0, self.protocol]);
        sum = match (self.source, self.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => sum.add_4bytes(from.octets()).add_4bytes(to.octets()),
            (IpAddr::V6(from), IpAddr::V6(to)) => sum.add_16bytes(from.octets()).add_16bytes(to.octets()),
            families => panic!("mixed families: {families:?}"),
        };
        let at = if self.protocol == UDP { 6 } else { 16 };
        self.payload[at..at + 2].copy_from_slice(&(!sum.ones_complement()).to_ne_bytes());
        self
    }

    /// What comes out of a tunnel's entrance: this packet in another one.
    pub(crate) fn tunnelled(self, server: &Server, source: IpAddr) -> Self {
        let inner = Self { ttl: self.ttl - 1, ..self };
        let protocol = if inner.source.is_ipv6() { 41 } else { 4 };
        let outer = Self::ip(source, server.address, protocol, inner.packet());
        let identification = if inner.source.is_ipv6() { 0 } else { inner.identification };
        let fragment = inner.fragment.map(|_| (0, false));
        Self { to: server.mac, from: server.from, ttl: inner.ttl, identification, fragment, ..outer }
    }

    /// An ICMP error that says how long packets may be, as the director sends it back for this frame.
    pub(crate) fn refused(self, mtu: u16) -> Self {
        let six = self.source.is_ipv6();
        let kept = if six { 1232 } else { 548 };
        let packet = self.packet();
        let quoted = &packet[..packet.len().min(kept)];
        let [high, low] = mtu.to_be_bytes();
        let error = Self::icmp_message(
            self.destination,
            self.source,
            if six { [2, 0] } else { [3, 4] },
            [high, low],
            quoted,
        );
        let mut refusal = Self { to: self.from, from: self.to, tags: self.tags, identification: 0, ..error };
        if !six {
            // Precedence as of all ICMP errors, and no DF bit: as Linux sends them.
            let at = 14 + 4 * refusal.tags.len();
            let mut header = refusal.packet()[..20].to_vec();
            header[1] = 0xc0;
            header[6] = 0;
            header[10..12].fill(0);
            let sum = Sum16BitWords::new().add_slice(&header).ones_complement().to_ne_bytes();
            header[10..12].copy_from_slice(&sum);
            refusal.patches = vec![(at, header)];
        }
        refusal
    }

    /// Is it no fragment?
    pub(crate) fn is_whole(&self) -> bool {
        self.fragment.is_none() && self.extensions.is_empty()
    }

    /// Overwrites bytes of the payload.
    pub(crate) fn patch_payload(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.payload[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Where a TCP segment or UDP datagram comes from and goes to, and its protocol.
    pub(crate) fn ports(&self) -> Option<(SocketAddr, SocketAddr, u8)> {
        if !matches!(self.protocol, TCP | UDP) {
            return None;
        }
        let [a, b, c, d] = self.payload.get(..4)?.try_into().unwrap();
        let from = SocketAddr::new(self.source, u16::from_be_bytes([a, b]));
        let to = SocketAddr::new(self.destination, u16::from_be_bytes([c, d]));
        Some((from, to, self.protocol))
    }

    /// The length of the IP packet, headers included.
    pub(crate) fn ip_length(&self) -> u64 {
        self.packet().len() as u64
    }

    /// The IP packet.
    fn packet(&self) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let length = u16::try_from(self.payload.len()).unwrap();
                let protocol = IpNumber(self.protocol);
                let (source, destination) = (source.octets(), destination.octets());
                let mut header = Ipv4Header::new(length, self.ttl, protocol, source, destination).unwrap();
                header.options = Ipv4Options::try_from(self.options.as_slice()).unwrap();
                header.set_payload_len(self.payload.len()).unwrap();
                header.identification = self.identification;
                header.dont_fragment = self.fragment.is_none();
                if let Some((offset, more)) = self.fragment {
                    header.fragment_offset =
                        IpFragOffset::try_new(u16::try_from(offset / 8).unwrap()).unwrap();
                    header.more_fragments = more;
                }
                header.header_checksum = header.calc_header_checksum();
                [header.to_bytes().as_slice(), &self.payload].concat()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let kinds = self.extensions.iter().map(|(kind, _)| *kind);
                let nexts: Vec<u8> = kinds.chain([self.protocol]).collect();
                let mut behind = Vec::new();
                for ((_, body), next) in self.extensions.iter().zip(&nexts[1..]) {
                    behind.push(*next);
                    behind.extend(body);
                }
                behind.extend(&self.payload);
                let header = Ipv6Header {
                    payload_length: u16::try_from(behind.len()).unwrap(),
                    next_header: IpNumber(nexts[0]),
                    hop_limit: self.ttl,
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv6Header::default()
                };
                [header.to_bytes().as_slice(), &behind].concat()
            }
            families => panic!("mixed families: {families:?}"),
        }
    }

    /// The frame.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.to, self.from].concat();
        for (kind, control) in &self.tags {
            bytes.extend(kind.to_be_bytes());
            bytes.extend(control.to_be_bytes());
        }
        let family = if self.source.is_ipv6() { 0x86dd } else { 0x0800u16 };
        bytes.extend(self.ethertype.unwrap_or(family).to_be_bytes());
        bytes.extend(self.packet());
        bytes.extend(vec![0; self.trailer]);
        for (offset, patch) in &self.patches {
            bytes[*offset..*offset + patch.len()].copy_from_slice(patch);
        }
        bytes.truncate(self.length.unwrap_or(usize::MAX));
        bytes
    }
}
