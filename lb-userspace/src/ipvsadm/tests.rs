use std::net::{IpAddr, Ipv4Addr};

use super::*;

/// What ipvsadm 1.31 made of each command line: exit code, message, what it asked of the kernel, the line. The
/// kernel's side was played by a library preloaded over `getsockopt` and `setsockopt`, which knows no IPv6.
const LINES: &str = include_str!("tests/command-lines.tsv");

/// The names that the lines use.
struct SomeNames;

impl Names for SomeNames {
    fn host(&self, name: &str) -> Option<Ipv4Addr> {
        (name == "localhost").then_some(Ipv4Addr::LOCALHOST)
    }

    fn port(&self, name: &str, transport: Transport) -> Option<u16> {
        match (name, transport) {
            ("http", Transport::Tcp) => Some(80),
            ("domain", Transport::Tcp | Transport::Udp) => Some(53),
            ("tftp", Transport::Udp) => Some(69),
            _ => None,
        }
    }
}

fn split(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// `struct ip_vs_service_user` (include/uapi/linux/ip_vs.h) as a little-endian machine has it, in hexadecimal.
fn kernel_service(service: &Service) -> String {
    let mut netmask = Ipv4Addr::BROADCAST;
    if let Some(Granularity::Mask(mask)) = service.granularity {
        netmask = mask;
    }
    let mut flags = u32::from(service.flags.0) << 3;
    flags |= u32::from(service.persistent.is_some()) | u32::from(service.one_packet) << 2;
    let (protocol, address, port, fwmark) = match service.key {
        ServiceKey::Address(transport, address) => {
            let IpAddr::V4(v4) = address.ip() else { panic!("only IPv4 has such a structure") };
            (transport.number(), v4, address.port(), 0)
        }
        ServiceKey::Fwmark { mark, .. } => (6, Ipv4Addr::UNSPECIFIED, 0, mark),
    };
    let mut bytes = vec![protocol, 0, 0, 0];
    bytes.extend(address.octets());
    bytes.extend(port.to_be_bytes());
    bytes.extend([0; 2]);
    bytes.extend(fwmark.to_le_bytes());
    let mut name = [0; 16];
    name[..service.scheduler.len()].copy_from_slice(service.scheduler.as_bytes());
    bytes.extend(name);
    bytes.extend(flags.to_le_bytes());
    bytes.extend(service.persistent.unwrap_or(0).to_le_bytes());
    bytes.extend(netmask.octets());
    hex(&bytes)
}

/// The same with `struct ip_vs_dest_user` behind it.
fn kernel_server(key: ServiceKey, server: &Server) -> String {
    let IpAddr::V4(v4) = server.address.ip() else { panic!("only IPv4 has such a structure") };
    let mut bytes = v4.octets().to_vec();
    bytes.extend(server.address.port().to_be_bytes());
    bytes.extend([0; 2]);
    let flags: u32 = match server.forwarding {
        Forwarding::Masquerading => 0,
        Forwarding::Tunnel(_) => 2,
        Forwarding::DirectRouting => 3,
    };
    for word in [flags, server.weight, server.upper_threshold, server.lower_threshold] {
        bytes.extend(word.to_le_bytes());
    }
    named(key) + &hex(&bytes)
}

fn named(key: ServiceKey) -> String {
    kernel_service(&Service {
        key,
        scheduler: String::new(),
        flags: SchedulerFlags::default(),
        persistent: None,
        granularity: None,
        one_packet: false,
        persistence_engine: None,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The number of the socket option above `IP_VS_BASE_CTL`, and its value.
fn asked(command: &Command) -> String {
    let role = |role: DaemonRole| if role == DaemonRole::Master { 1 } else { 2 };
    match command {
        Command::AddService(service) => format!("2 {}", kernel_service(service)),
        Command::EditService(service) => format!("3 {}", kernel_service(service)),
        Command::DeleteService(key) => format!("4 {}", named(*key)),
        Command::Clear => "5".to_owned(),
        Command::AddServer(key, server) => format!("7 {}", kernel_server(*key, server)),
        Command::EditServer(key, server) => format!("9 {}", kernel_server(*key, server)),
        Command::DeleteServer(key, address) => {
            let server = Server {
                address: *address,
                forwarding: Forwarding::DirectRouting,
                weight: 1,
                upper_threshold: 0,
                lower_threshold: 0,
            };
            format!("8 {}", kernel_server(*key, &server))
        }
        Command::SetTimeouts { tcp, tcp_fin, udp } => {
            format!("10 {}", hex(&[*tcp, *tcp_fin, *udp].map(u32::to_le_bytes).concat()))
        }
        Command::StartDaemon(daemon) => {
            let mut bytes = vec![role(daemon.role), 0, 0, 0];
            let mut name = [0; 16];
            name[..daemon.interface.len()].copy_from_slice(daemon.interface.as_bytes());
            bytes.extend(name);
            bytes.extend([daemon.syncid, 0, 0, 0]);
            format!("11 {}", hex(&bytes))
        }
        Command::StopDaemon(daemon) => format!("12 {}", hex(&[&[role(daemon.role)][..], &[0; 23]].concat())),
        Command::Zero(Some(key)) => format!("15 {}", named(*key)),
        Command::Zero(None) => format!("15 {}ffffffff", "0".repeat(80)),
        Command::List(_) | Command::Restore | Command::Save { .. } | Command::Help | Command::Version => {
            String::new()
        }
    }
}

#[test]
fn every_line_means_what_it_means_to_ipvsadm() {
    let mut lines = 0;
    for case in LINES.lines() {
        let [code, message, kernel, line] = case.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{case}")
        };
        match parse(&split(line), &SomeNames) {
            Err(error) => {
                assert_eq!(
                    (error.exit_code.to_string().as_str(), error.message.trim_end()),
                    (code, message),
                    "{line}"
                );
            }
            Ok(command) => {
                assert_eq!(code, "0", "{line}: {command:?}, not {message}");
                match kernel {
                    "?" => {}
                    _ => assert_eq!(asked(&command), kernel, "{line}"),
                }
            }
        }
        lines += 1;
    }
    assert!(lines > 1000, "{lines} lines");
}

#[test]
fn ipv6_is_read() {
    let command = parse(&split("-A -t [2001:db8::15]:443 -s sh -b sh-port -p 120 -M 64"), &NoNames).unwrap();
    let Command::AddService(service) = command else { panic!("{command:?}") };
    assert_eq!(service.key, ServiceKey::Address(Transport::Tcp, "[2001:db8::15]:443".parse().unwrap()));
    assert_eq!(service.granularity, Some(Granularity::Prefix(64)));
    assert_eq!(service.to_string(), "-A -t [2001:db8::15]:443 -s sh -p 120 -M 64 -b sh-port");
    // Before the address, the family is not known yet.
    let command = parse(&split("-A -p -M 0.0.0.64 -t [2001:db8::15]:443"), &NoNames).unwrap();
    let Command::AddService(service) = command else { panic!("{command:?}") };
    assert_eq!(service.granularity, Some(Granularity::Mask([0, 0, 0, 64].into())));
    let command = parse(&split("-a -f 8 -6 -r [2001:db8::100]:80 -m -w 3"), &NoNames).unwrap();
    let Command::AddServer(key, server) = command else { panic!("{command:?}") };
    assert_eq!(server.rule(&key, false), "-a -f 8 -6 -r [2001:db8::100]:80 -m -w 3");
}

#[test]
fn rules_are_written_as_they_are_read() {
    for line in [
        "-A -t 192.168.4.15:80 -s wrr",
        "-A -t 192.168.4.15:443 -s mh -p 60 -M 255.255.255.0 -b mh-fallback,mh-port",
        "-A -u 192.168.4.15:53 -s rr -o -b flag-1,flag-3",
        "-A --sctp-service 192.168.4.15:9000 -s lc",
        "-A -f 3 -s wlc -p 360",
        "-A -u 192.168.4.15:5060 -s rr -p 60 --pe sip -o",
    ] {
        let Ok(Command::AddService(service)) = parse(&words(line), &NoNames) else { panic!("{line}") };
        assert_eq!(service.to_string(), line);
    }
    for line in [
        "-a -t 192.168.4.15:80 -r 192.168.4.100:80 -g -w 1",
        "-a -t 192.168.4.15:80 -r 192.168.4.100:8080 -m -w 2147483647 -x 5 -y 3",
        "-a -t 192.168.4.15:80 -r 192.168.4.100:80 -i -w 0 --tun-type ipip",
        "-a -t 192.168.4.15:80 -r [2001:db8::100]:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum",
        "-a -f 3 -r 192.168.4.100:0 -i -w 1 --tun-type gre --tun-csum",
    ] {
        let Ok(Command::AddServer(key, server)) = parse(&words(line), &NoNames) else { panic!("{line}") };
        assert_eq!(server.rule(&key, true), line);
    }
}

#[test]
fn lines_of_rules() {
    assert_eq!(words("ipvsadm -A  -t 192.168.4.15:80\n"), ["-A", "-t", "192.168.4.15:80"]);
    assert_eq!(words("-C"), ["-C"]);
    assert!(words(" \t").is_empty());
}

#[test]
fn no_arguments_list_with_names() {
    assert_eq!(parse(&[], &NoNames), Ok(Command::List(Listing::default())));
}

#[test]
fn empty_values() {
    let args = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for (words, message) in [
        (&["-A", "-t", ""][..], "illegal virtual server address[:port] specified"),
        (&["-A", "-t", "192.168.4.15:80", "-p", ""], "invalid timeout value `' specified"),
        (&["-A", "-t", " 192.168.4.15:80"], "illegal virtual server address[:port] specified"),
        (&["-A", "-f", "-6"], "invalid fwmark value `-6' specified"),
        (&["--start-daemon", "master", "--mcast-group", ""], "invalid IPv4 mcast-group `'"),
    ] {
        assert_eq!(parse(&args(words), &NoNames).unwrap_err().message, message, "{words:?}");
    }
    for words in [
        &["-A", "-t", "192.168.4.15:80", "-b", ""][..],
        &["-A", "-t", "192.168.4.15:80", "-s", ""],
        &["-A", "-t", "192.168.4.15 x:80"],
        &["-A", "-t", "192.168.4.15: 80"],
        &["-A", "-f", " 5"],
    ] {
        parse(&args(words), &NoNames).unwrap();
    }
}
