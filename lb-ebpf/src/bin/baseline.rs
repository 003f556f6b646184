// SPDX-License-Identifier: MIT OR GPL-2.0-only
//! The baseline that measurements are compared with: a load balancer as one writes it without further thought
//! about memory. A hash of the services, an LRU hash of the connections by 5-tuple, an array of real servers,
//! a per-CPU counter. It checks what it must, follows no VLAN tags, options, fragments or ICMP errors, keeps no
//! TCP states, and leaves the TTL alone: each of that would make it slower.
//!
//! The key and value layouts below are written by `lb-userspace/examples/bench`.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod program {
    use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
    use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
    use aya_ebpf::macros::{map, xdp};
    use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
    use aya_ebpf::programs::XdpContext;

    /// `A` is an address as it lies on the wire.
    #[repr(C)]
    struct ServiceKey<A> {
        address: A,
        port: u16,
        protocol: u16,
    }

    /// The service's real servers: a range of [`REAL_SERVERS`].
    #[repr(C)]
    struct Service {
        first: u32,
        count: u32,
    }

    #[repr(C)]
    struct Flow<A> {
        source: A,
        destination: A,
        source_port: u16,
        destination_port: u16,
        protocol: u32,
    }

    /// The two MACs as they come in the frame, then nothing.
    #[repr(C)]
    struct RealServer {
        macs: [u32; 3],
        zero: u32,
    }

    #[repr(C)]
    struct Traffic {
        packets: u64,
        bytes: u64,
    }

    type Address4 = u32;
    type Address6 = [u32; 4];

    // The loader sets the connection tables' sizes.
    #[map]
    static SERVICES4: HashMap<ServiceKey<Address4>, Service> =
        HashMap::with_max_entries(65_535, BPF_F_NO_PREALLOC);
    #[map]
    static SERVICES6: HashMap<ServiceKey<Address6>, Service> =
        HashMap::with_max_entries(65_535, BPF_F_NO_PREALLOC);
    #[map]
    static CONNECTIONS4: LruHashMap<Flow<Address4>, u32> = LruHashMap::with_max_entries(1, 0);
    #[map]
    static CONNECTIONS6: LruHashMap<Flow<Address6>, u32> = LruHashMap::with_max_entries(1, 0);
    #[map]
    static REAL_SERVERS: Array<RealServer> = Array::with_max_entries(65_536, 0);
    #[map]
    static TRAFFIC: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(65_536, 0);

    #[repr(C)]
    struct Ethernet {
        macs: [u32; 3],
        kind: u16,
    }

    #[repr(C)]
    struct Ipv4 {
        version_and_length: u8,
        service: u8,
        length: u16,
        identification: u16,
        fragment: u16,
        ttl: u8,
        protocol: u8,
        checksum: u16,
        source: [u16; 2],
        destination: [u16; 2],
    }

    #[repr(C)]
    struct Ipv6 {
        version: [u16; 2],
        payload_length: u16,
        protocol: u8,
        hop_limit: u8,
        source: [u16; 8],
        destination: [u16; 8],
    }

    #[repr(C)]
    struct Ports {
        source: u16,
        destination: u16,
    }

    const ETHERNET_LENGTH: usize = 14;
    const TCP: u8 = 6;
    const UDP: u8 = 17;

    /// The header at `offset`, if the frame holds it whole.
    #[inline(always)]
    fn header<H>(context: &XdpContext, offset: usize) -> Option<*mut H> {
        let start = context.data() + offset;
        if start + size_of::<H>() > context.data_end() { None } else { Some(start as *mut H) }
    }

    #[xdp]
    #[inline(always)]
    fn baseline(context: XdpContext) -> u32 {
        let Some(ethernet) = header::<Ethernet>(&context, 0) else { return XDP_PASS };
        // SAFETY: `header` checked that it lies in the frame.
        match u16::from_be(unsafe { (*ethernet).kind }) {
            0x0800 => ip4(&context, ethernet),
            0x86dd => ip6(&context, ethernet),
            _ => None,
        }
        .unwrap_or(XDP_PASS)
    }

    #[inline(always)]
    fn ip4(context: &XdpContext, ethernet: *mut Ethernet) -> Option<u32> {
        let ip = header::<Ipv4>(context, ETHERNET_LENGTH)?;
        // SAFETY: `header` checked that it lies in the frame; BPF loads may be unaligned.
        let (source, destination, protocol, first, length, fragment) = unsafe {
            (
                (&raw const (*ip).source).cast::<Address4>().read_unaligned(),
                (&raw const (*ip).destination).cast::<Address4>().read_unaligned(),
                (*ip).protocol,
                (*ip).version_and_length,
                (*ip).length,
                (*ip).fragment,
            )
        };
        if first != 0x45 || fragment & 0x3fff_u16.to_be() != 0 || (protocol != TCP && protocol != UDP) {
            return None;
        }
        let ports = header::<Ports>(context, ETHERNET_LENGTH + size_of::<Ipv4>())?;
        // SAFETY: as above.
        let (source_port, destination_port) = unsafe { ((*ports).source, (*ports).destination) };
        let key = ServiceKey { address: destination, port: destination_port, protocol: u16::from(protocol) };
        // SAFETY: user space does not change a service while it is read here.
        let service = unsafe { SERVICES4.get(&key)? };
        let flow = Flow { source, destination, source_port, destination_port, protocol: u32::from(protocol) };
        // SAFETY: a connection's value is one aligned word.
        let server = match unsafe { CONNECTIONS4.get(&flow) } {
            Some(server) => *server,
            None => {
                let server = choose(service, source ^ u32::from(source_port) << 16);
                // A full or contended table costs the connection its affinity.
                let _ignored = CONNECTIONS4.insert(&flow, &server, 0);
                server
            }
        };
        Some(send(ethernet, server, u64::from(u16::from_be(length))))
    }

    #[inline(always)]
    fn ip6(context: &XdpContext, ethernet: *mut Ethernet) -> Option<u32> {
        let ip = header::<Ipv6>(context, ETHERNET_LENGTH)?;
        // SAFETY: as in `ip4`.
        let (source, destination, protocol, length) = unsafe {
            (
                (&raw const (*ip).source).cast::<Address6>().read_unaligned(),
                (&raw const (*ip).destination).cast::<Address6>().read_unaligned(),
                (*ip).protocol,
                (*ip).payload_length,
            )
        };
        if protocol != TCP && protocol != UDP {
            return None;
        }
        let ports = header::<Ports>(context, ETHERNET_LENGTH + size_of::<Ipv6>())?;
        // SAFETY: as above.
        let (source_port, destination_port) = unsafe { ((*ports).source, (*ports).destination) };
        let key = ServiceKey { address: destination, port: destination_port, protocol: u16::from(protocol) };
        // SAFETY: as in `ip4`.
        let service = unsafe { SERVICES6.get(&key)? };
        let mixed = source[0] ^ source[1] ^ source[2] ^ source[3] ^ u32::from(source_port) << 16;
        let flow = Flow { source, destination, source_port, destination_port, protocol: u32::from(protocol) };
        // SAFETY: as in `ip4`.
        let server = match unsafe { CONNECTIONS6.get(&flow) } {
            Some(server) => *server,
            None => {
                let server = choose(service, mixed);
                let _ignored = CONNECTIONS6.insert(&flow, &server, 0);
                server
            }
        };
        Some(send(ethernet, server, 40 + u64::from(u16::from_be(length))))
    }

    /// The real server of a new flow: by a multiplicative hash.
    #[inline(always)]
    fn choose(service: &Service, mixed: u32) -> u32 {
        let hash = mixed.wrapping_mul(0x9e37_79b1);
        let index = ((u64::from(hash) * u64::from(service.count)) >> 32) as u32;
        service.first.wrapping_add(index)
    }

    #[inline(always)]
    fn send(ethernet: *mut Ethernet, server: u32, bytes: u64) -> u32 {
        let Some(real_server) = REAL_SERVERS.get(server) else { return XDP_DROP };
        if let Some(traffic) = TRAFFIC.get_ptr_mut(server) {
            // SAFETY: this CPU's own element, and XDP programs do not interrupt each other on a CPU.
            let traffic = unsafe { &mut *traffic };
            traffic.packets = traffic.packets.wrapping_add(1);
            traffic.bytes = traffic.bytes.wrapping_add(bytes);
        }
        // SAFETY: `header` checked that it lies in the frame, which this program may write.
        unsafe { (*ethernet).macs = real_server.macs };
        XDP_TX
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
