//! Integers in network byte order, and the numbers of the protocols.

/// A 16-bit field as it lies on the wire. Comparing and hashing need no conversion; [`Be16::host`] gives the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Be16(u16);

impl Be16 {
    /// From the two bytes as they were in the packet.
    #[inline(always)]
    pub const fn from_wire(bytes: [u8; 2]) -> Self {
        Self(u16::from_ne_bytes(bytes))
    }

    /// From a number.
    #[inline(always)]
    pub const fn new(host: u16) -> Self {
        Self(host.to_be())
    }

    /// The number.
    #[inline(always)]
    pub const fn host(self) -> u16 {
        u16::from_be(self.0)
    }

    /// The bytes as they go into a packet.
    #[inline(always)]
    pub const fn wire(self) -> [u8; 2] {
        self.0.to_ne_bytes()
    }

    /// The wire bytes read as a native integer: opaque bits for keys, not a number.
    #[inline(always)]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The inverse of [`Be16::bits`].
    #[inline(always)]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }
}

/// A 32-bit field as it lies on the wire: an IPv4 address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Be32(u32);

impl Be32 {
    /// From the four bytes as they were in the packet.
    #[inline(always)]
    pub const fn from_wire(bytes: [u8; 4]) -> Self {
        Self(u32::from_ne_bytes(bytes))
    }

    /// The bytes as they go into a packet.
    #[inline(always)]
    pub const fn wire(self) -> [u8; 4] {
        self.0.to_ne_bytes()
    }

    /// The wire bytes read as a native integer: opaque bits for keys, not a number.
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The inverse of [`Be32::bits`].
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// A 128-bit field as it lies on the wire, as two opaque words: an IPv6 address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Be128([u64; 2]);

impl Be128 {
    /// From the sixteen bytes as they were in the packet, first half and second half.
    #[inline(always)]
    pub const fn from_halves(first: [u8; 8], second: [u8; 8]) -> Self {
        Self([u64::from_ne_bytes(first), u64::from_ne_bytes(second)])
    }

    /// From the sixteen bytes as they were in the packet.
    #[inline(always)]
    pub const fn from_wire(b: [u8; 16]) -> Self {
        Self::from_halves(
            [b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]],
            [b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]],
        )
    }

    /// The bytes as they go into a packet.
    #[inline(always)]
    pub const fn wire(self) -> [u8; 16] {
        let [a, b] = [self.0[0].to_ne_bytes(), self.0[1].to_ne_bytes()];
        [a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]
    }

    /// The two halves as opaque words for keys.
    #[inline(always)]
    pub const fn words(self) -> [u64; 2] {
        self.0
    }

    /// The inverse of [`Be128::words`].
    #[inline(always)]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self(words)
    }
}

/// An Ethernet address.
pub type MacAddress = [u8; 6];

/// EtherTypes (IEEE 802 numbers), in host order.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// 802.1Q VLAN tag.
    pub const VLAN: u16 = 0x8100;
    /// 802.1ad service tag.
    pub const SERVICE_VLAN: u16 = 0x88a8;

    /// Is it a VLAN tag's?
    #[inline(always)]
    pub const fn is_vlan(kind: u16) -> bool {
        matches!(kind, VLAN | SERVICE_VLAN)
    }
}

/// IP protocol numbers (IANA), which are also IPv6 next-header values.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6 extension header: hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// IPv6 extension header: routing.
    pub const ROUTING: u8 = 43;
    /// IPv6 extension header: fragment.
    pub const FRAGMENT: u8 = 44;
    /// IPv6 extension header: destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_and_number_agree() {
        assert_eq!(Be16::from_wire([0, 80]).host(), 80);
        assert_eq!(Be16::new(80).wire(), [0, 80]);
        assert_eq!(Be32::from_wire([192, 168, 4, 15]).wire(), [192, 168, 4, 15]);
        let six: [u8; 16] = core::array::from_fn(|i| u8::try_from(i).unwrap());
        assert_eq!(Be128::from_wire(six).wire(), six);
    }
}
