//! The synthetic frame: as small as a real one, with every checksum right.

use std::net::{IpAddr, SocketAddr};

use lb_common::csum;
use lb_common::net::{MacAddress, protocol};

/// What a frame is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Of the director's interface.
    pub(super) to: MacAddress,
    pub(super) client: SocketAddr,
    pub(super) virtual_server: SocketAddr,
    pub(super) kind: Kind,
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// TCP that opens a connection.
    Syn,
    /// TCP in the middle of a connection.
    Ack,
    /// UDP without a payload.
    Datagram,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Syn => "TCP SYN",
            Self::Ack => "TCP ACK",
            Self::Datagram => "UDP",
        }
    }

    fn protocol(self) -> u8 {
        match self {
            Self::Syn | Self::Ack => protocol::TCP,
            Self::Datagram => protocol::UDP,
        }
    }
}

/// A locally administered address that nobody has.
const CLIENT_MAC: MacAddress = [0x02, 0, 0, 0, 0, 0x01];
/// As most systems send.
const TTL: u8 = 64;

impl Frame {
    /// The bytes from the destination MAC on; both addresses are of one family.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let segment = self.segment();
        let length = u16::try_from(segment.len()).unwrap_or(u16::MAX);
        let mut frame = self.to.to_vec();
        frame.extend(CLIENT_MAC);
        match (self.client.ip(), self.virtual_server.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend([0x08, 0x00]);
                let mut header = vec![0x45, 0];
                header.extend((20 + length).to_be_bytes());
                // Do not fragment.
                header.extend([0, 0, 0x40, 0, TTL, self.kind.protocol(), 0, 0]);
                header.extend(from.octets());
                header.extend(to.octets());
                let sum = csum::full(&header);
                put(&mut header, 10, sum);
                frame.extend(header);
            }
            (from, to) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend(length.to_be_bytes());
                frame.extend([self.kind.protocol(), TTL]);
                frame.extend(octets(from));
                frame.extend(octets(to));
            }
        }
        frame.extend(segment);
        frame
    }

    /// The transport header, with its checksum.
    fn segment(&self) -> Vec<u8> {
        let mut segment = self.client.port().to_be_bytes().to_vec();
        segment.extend(self.virtual_server.port().to_be_bytes());
        let place = match self.kind {
            Kind::Syn | Kind::Ack => {
                let flags = if self.kind == Kind::Syn { 0x02 } else { 0x10 };
                segment.extend([0, 0, 0, 1, 0, 0, 0, u8::from(self.kind == Kind::Ack), 0x50, flags]);
                segment.extend([0xff, 0xff, 0, 0, 0, 0]);
                16
            }
            Kind::Datagram => {
                segment.extend([0, 8, 0, 0]);
                6
            }
        };
        let mut pseudo = octets(self.client.ip());
        pseudo.extend(octets(self.virtual_server.ip()));
        pseudo.extend([0, self.kind.protocol()]);
        pseudo.extend(u16::try_from(segment.len()).unwrap_or(u16::MAX).to_be_bytes());
        pseudo.extend(&segment);
        let sum = match csum::full(&pseudo) {
            // RFC 768: 0 would mean that there is none.
            0 if self.kind == Kind::Datagram => 0xffff,
            sum => sum,
        };
        put(&mut segment, place, sum);
        segment
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn put(bytes: &mut [u8], place: usize, sum: u16) {
    if let Some(field) = bytes.get_mut(place..place + 2) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{SlicedPacket, TransportSlice};

    use super::*;

    #[test]
    fn frames_are_what_a_real_parser_takes_them_for() {
        for (client, server) in
            [("192.168.4.10:40000", "192.168.4.15:80"), ("[fd00:4::10]:40000", "[fd00:4::15]:80")]
        {
            for kind in [Kind::Syn, Kind::Ack, Kind::Datagram] {
                let frame = Frame {
                    to: [2; 6],
                    client: client.parse().unwrap(),
                    virtual_server: server.parse().unwrap(),
                    kind,
                };
                let bytes = frame.bytes();
                let packet = SlicedPacket::from_ethernet(&bytes).unwrap();
                let transport = packet.transport.unwrap();
                let (ports, sum) = match (&transport, packet.net.unwrap()) {
                    (TransportSlice::Tcp(tcp), etherparse::NetSlice::Ipv4(ip)) => {
                        let header = ip.header().to_header();
                        assert_eq!(header.header_checksum, header.calc_header_checksum());
                        let right = tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination());
                        assert_eq!((tcp.syn(), tcp.ack()), (kind == Kind::Syn, kind == Kind::Ack));
                        ((tcp.source_port(), tcp.destination_port()), (tcp.checksum(), right.unwrap()))
                    }
                    (TransportSlice::Tcp(tcp), etherparse::NetSlice::Ipv6(ip)) => {
                        let right = tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination());
                        ((tcp.source_port(), tcp.destination_port()), (tcp.checksum(), right.unwrap()))
                    }
                    (TransportSlice::Udp(udp), etherparse::NetSlice::Ipv4(ip)) => {
                        let right = udp.to_header().calc_checksum_ipv4_raw(
                            ip.header().source(),
                            ip.header().destination(),
                            &[],
                        );
                        ((udp.source_port(), udp.destination_port()), (udp.checksum(), right.unwrap()))
                    }
                    (TransportSlice::Udp(udp), etherparse::NetSlice::Ipv6(ip)) => {
                        let right = udp.to_header().calc_checksum_ipv6_raw(
                            ip.header().source(),
                            ip.header().destination(),
                            &[],
                        );
                        ((udp.source_port(), udp.destination_port()), (udp.checksum(), right.unwrap()))
                    }
                    other => panic!("{other:?}"),
                };
                assert_eq!(ports, (40_000, 80));
                assert_eq!(sum.0, sum.1, "{kind:?} {client}");
            }
        }
    }
}
