//! Against packets that are built from scratch.

use super::*;
use crate::csum::full;
use crate::packet::MemoryPacket;
use proptest::prelude::*;

/// What the tests need of an address.
trait Wire: Address + PartialEq + std::fmt::Debug {
    fn bytes(self) -> Vec<u8>;
}

impl Wire for Be32 {
    fn bytes(self) -> Vec<u8> {
        self.wire().to_vec()
    }
}

impl Wire for Be128 {
    fn bytes(self) -> Vec<u8> {
        self.wire().to_vec()
    }
}

fn pseudo<A: Wire>(ends: Ends<A>, protocol: u8, length: usize) -> Vec<u8> {
    let length = u16::try_from(length).unwrap().to_be_bytes();
    [ends.source.bytes(), ends.destination.bytes(), vec![0, protocol], length.to_vec()].concat()
}

/// A checksum field's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Right,
    None,
    Partial,
    /// Wrong by so much.
    Damaged(u16),
}

/// A segment with these ports.
fn segment<A: Wire>(ends: Ends<A>, protocol: u8, data: &[u8], field: Field) -> Vec<u8> {
    let mut segment = [ends.source_port.wire(), ends.destination_port.wire()].concat();
    let at = checksum_offset(protocol);
    if protocol == protocol::UDP {
        segment.extend(u16::try_from(data.len() + 8).unwrap().to_be_bytes());
        segment.extend([0, 0]);
    } else {
        segment.extend([1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x10, 0xfa, 0xf0, 0, 0, 0, 0]);
    }
    segment.extend(data);
    let pseudo = pseudo(ends, protocol, segment.len());
    let right = as_sent(protocol, full(&[pseudo.clone(), segment.clone()].concat()));
    let checksum = match field {
        Field::Right => right,
        Field::None => 0,
        Field::Partial => !full(&pseudo),
        Field::Damaged(by) => right ^ by,
    };
    segment[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    segment
}

fn ipv4(ends: Ends<Be32>, ttl: u8, protocol: u8, payload: &[u8], options: &[u8]) -> Vec<u8> {
    let words = u8::try_from(5 + options.len() / 4).unwrap();
    let length = u16::try_from(20 + options.len() + payload.len()).unwrap();
    let mut header = vec![0x40 | words, 0];
    header.extend(length.to_be_bytes());
    header.extend([0x12, 0x34, 0x40, 0, ttl, protocol, 0, 0]);
    header.extend(ends.source.bytes());
    header.extend(ends.destination.bytes());
    header.extend(options);
    let sum = full(&header).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    [&header, payload].concat()
}

fn ipv6(ends: Ends<Be128>, hop_limit: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    header.extend([protocol, hop_limit]);
    header.extend(ends.source.bytes());
    header.extend(ends.destination.bytes());
    [&header, payload].concat()
}

fn ends4() -> impl Strategy<Value = Ends<Be32>> {
    (any::<[u8; 4]>(), any::<[u8; 4]>(), any::<u16>(), any::<u16>()).prop_map(|(s, d, a, b)| Ends {
        source: Be32::from_wire(s),
        destination: Be32::from_wire(d),
        source_port: Be16::new(a),
        destination_port: Be16::new(b),
    })
}

fn ends6() -> impl Strategy<Value = Ends<Be128>> {
    (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<u16>(), any::<u16>()).prop_map(|(s, d, a, b)| Ends {
        source: Be128::from_wire(s),
        destination: Be128::from_wire(d),
        source_port: Be16::new(a),
        destination_port: Be16::new(b),
    })
}

fn protocols() -> impl Strategy<Value = u8> {
    prop_oneof![Just(protocol::TCP), Just(protocol::UDP)]
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..120),
        1 => prop::collection::vec(any::<u8>(), 1300..1461),
        // Sums of nothing but ones and of nothing but zeros are where one's complement has two zeros.
        1 => (0usize..40, prop_oneof![Just(0u8), Just(0xff)]).prop_map(|(length, byte)| vec![byte; length]),
    ]
}

fn fields() -> impl Strategy<Value = Field> {
    prop_oneof![
        4 => Just(Field::Right),
        2 => Just(Field::Partial),
        1 => Just(Field::None),
        1 => (1u16..).prop_map(Field::Damaged),
    ]
}

const ETHERNET: usize = 14;

fn frame(packet: &[u8]) -> MemoryPacket {
    MemoryPacket::new([&[0; ETHERNET], packet].concat(), 1)
}

/// The right checksum of the segment at `at`, or `None` if it says that it has none.
fn verifies<A: Wire>(packet: &MemoryPacket, ends: Ends<A>, protocol: u8, at: usize) -> bool {
    let segment = &packet.bytes()[at..];
    full(&[pseudo(ends, protocol, segment.len()), segment.to_vec()].concat()) == 0
}

/// What must become of a field.
fn expected_field(protocol: u8, field: Field) -> Field {
    match field {
        Field::Partial => Field::Right,
        // TCP has no such thing as no checksum: 0 is one more wrong value.
        Field::None if protocol == protocol::TCP => Field::Damaged(1),
        Field::Right | Field::None | Field::Damaged(_) => field,
    }
}

proptest! {
    #[test]
    fn ipv4_is_as_if_built_so(
        old in ends4(), new in ends4(), protocol in protocols(), data in data(), field in fields(), ttl in 2u8..,
        options in prop_oneof![Just(vec![]), Just(vec![1u8; 8])],
    ) {
        let at = ETHERNET + 20 + options.len();
        let before = segment(old, protocol, &data, field);
        let mut packet = frame(&ipv4(old, ttl, protocol, &before, &options));
        let whole = Segment { at, length: before.len(), protocol, whole: true };
        translate_segment(&mut packet, whole, old, new).unwrap();
        translate_header4(&mut packet, ETHERNET, new.source, new.destination).unwrap();
        match expected_field(protocol, field) {
            Field::Damaged(_) => {
                // By chance it may look unfinished; else it stays wrong.
                let partial = is_partial(&frame(&ipv4(old, ttl, protocol, &before, &options)), whole, old).unwrap();
                let was_right = verifies(&frame(&ipv4(old, ttl, protocol, &before, &options)), old, protocol, at);
                prop_assert_eq!(verifies(&packet, new, protocol, at), partial || was_right);
                let mut header = packet.bytes()[ETHERNET..at].to_vec();
                prop_assert_eq!(full(&header), 0);
                header.clear();
            }
            field @ (Field::Right | Field::None | Field::Partial) => {
                let after = segment(new, protocol, &data, field);
                let expected = frame(&ipv4(new, ttl - 1, protocol, &after, &options));
                prop_assert_eq!(packet.bytes(), expected.bytes());
            }
        }
    }

    #[test]
    fn ipv6_is_as_if_built_so(
        old in ends6(), new in ends6(), protocol in protocols(), data in data(), partial: bool, hop_limit in 2u8..,
    ) {
        let field = if partial { Field::Partial } else { Field::Right };
        let before = segment(old, protocol, &data, field);
        let mut packet = frame(&ipv6(old, hop_limit, protocol, &before));
        let whole = Segment { at: ETHERNET + 40, length: before.len(), protocol, whole: true };
        prop_assert!(!partial || is_partial(&packet, whole, old).unwrap());
        translate_segment(&mut packet, whole, old, new).unwrap();
        translate_header6(&mut packet, ETHERNET, new.source, new.destination).unwrap();
        let after = segment(new, protocol, &data, Field::Right);
        let expected = frame(&ipv6(new, hop_limit - 1, protocol, &after));
        prop_assert_eq!(packet.bytes(), expected.bytes());
    }

    #[test]
    fn there_and_back_is_nothing(old in ends4(), new in ends4(), protocol in protocols(), data in data()) {
        let before = frame(&ipv4(old, 64, protocol, &segment(old, protocol, &data, Field::Right), &[]));
        let mut packet = before.clone();
        let length = before.bytes().len() - ETHERNET - 20;
        let part = Segment { at: ETHERNET + 20, length, protocol, whole: false };
        for (from, to) in [(old, new), (new, old)] {
            translate_segment(&mut packet, part, from, to).unwrap();
            translate_header4(&mut packet, ETHERNET, to.source, to.destination).unwrap();
        }
        let expected = frame(&ipv4(old, 62, protocol, &segment(old, protocol, &data, Field::Right), &[]));
        prop_assert_eq!(packet.bytes(), expected.bytes());
    }

    #[test]
    fn an_icmp_error_quotes_what_its_receiver_sent(
        old in ends4(), new in ends4(), protocol in protocols(), data in data(), kept in 8usize..200, none: bool,
    ) {
        // Of half a checksum nobody can say what it becomes; it is left as it is.
        prop_assume!(protocol == protocol::UDP || kept != 17);
        let field = if none && protocol == protocol::UDP { Field::None } else { Field::Right };
        let message = |ends: Ends<Be32>| {
            let quoted = ipv4(ends, 7, protocol, &segment(ends, protocol, &data, field), &[]);
            let quoted = &quoted[..quoted.len().min(20 + kept)];
            let mut message = [&[3, 4, 0, 0, 0, 0, 5, 0x78], quoted].concat();
            let sum = full(&message).to_be_bytes();
            message[2..4].copy_from_slice(&sum);
            message
        };
        let mut packet = frame(&message(old));
        let quote = Quote { ip: ETHERNET + 8, segment: ETHERNET + 28, protocol, end: packet.bytes().len() };
        translate_quote4(&mut packet, ETHERNET, quote, old, new).unwrap();
        let expected = frame(&message(new));
        prop_assert_eq!(packet.bytes(), expected.bytes());
    }

    #[test]
    fn an_icmpv6_error_quotes_what_its_receiver_sent(
        old in ends6(), new in ends6(), outer in ends6(), after in ends6(), protocol in protocols(), data in data(),
        kept in 8usize..200,
    ) {
        prop_assume!(protocol == protocol::UDP || kept != 17);
        let message = |ends: Ends<Be128>, outer: Ends<Be128>| {
            let quoted = ipv6(ends, 7, protocol, &segment(ends, protocol, &data, Field::Right));
            let quoted = &quoted[..quoted.len().min(40 + kept)];
            let mut message = [&[2, 0, 0, 0, 0, 0, 5, 0x78], quoted].concat();
            let sum = full(&[pseudo(outer, protocol::ICMPV6, message.len()), message.clone()].concat());
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            message
        };
        let mut packet = frame(&message(old, outer));
        let quote = Quote { ip: ETHERNET + 8, segment: ETHERNET + 48, protocol, end: packet.bytes().len() };
        let change = outer.addresses(after);
        translate_quote6(&mut packet, ETHERNET, quote, old, new, change).unwrap();
        let expected = frame(&message(new, after));
        prop_assert_eq!(packet.bytes(), expected.bytes());
    }
}

#[test]
fn a_datagram_too_long_to_finish_is_refused() {
    let ends = Ends {
        source: Be32::from_wire([10, 0, 0, 1]),
        destination: Be32::from_wire([10, 0, 0, 2]),
        source_port: Be16::new(1),
        destination_port: Be16::new(2),
    };
    let long = segment(ends, protocol::UDP, &vec![1; csum::LONGEST_SUM], Field::Partial);
    let mut packet = frame(&ipv4(ends, 64, protocol::UDP, &long, &[]));
    let whole = Segment { at: ETHERNET + 20, length: long.len(), protocol: protocol::UDP, whole: true };
    assert_eq!(translate_segment(&mut packet, whole, ends, ends), None);
}
