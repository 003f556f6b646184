//! From words to a [`Command`]: each option in turn, then what must hold between them.

use std::net::{IpAddr, SocketAddr};

use super::UsageError;
use super::address::{Names, endpoint, inet_aton, number};
use super::model::{
    Checksum, Command, Daemon, DaemonRole, Forwarding, Granularity, Listing, Server, Service, ServiceKey,
    Show, Transport, Tunnel,
};
use super::options::{Given, Opt, Verb};
use super::popt::{Next, Words};
use super::values::{cut, daemon_role, multicast, ranged, scheduler_flags, seconds};

/// The default of `-p`. ipvsadm's manual says 300.
const PERSISTENT: u32 = 360;
/// `IP_VS_SCHEDNAME_MAXLEN` and `IP_VS_PENAME_MAXLEN` without the final zero.
const MAX_NAME: usize = 15;
/// `IP_VS_IFNAME_MAXLEN` without the final zero.
const MAX_INTERFACE: usize = 15;

/// A line of rules in words, as `ipvsadm -R` splits it; a leading `ipvsadm` is left out. Quotes mean nothing.
pub fn words(line: &str) -> Vec<String> {
    let mut words = line.split_whitespace().map(str::to_owned).peekable();
    words.next_if(|word| word == "ipvsadm");
    words.collect()
}

/// Reads the words after the program's name.
///
/// # Errors
///
/// What `ipvsadm` says against them. Whatever only the kernel would refuse (an unknown scheduler, a lower
/// threshold above the upper one) is not looked at.
pub fn parse(words: &[String], names: &dyn Names) -> Result<Command, UsageError> {
    if words.is_empty() {
        return Ok(Command::List(Listing::default()));
    }
    let mut words = Words::new(words);
    let (verb, role) = match words.next() {
        Next::Option(Opt::Command(verb), value) => (verb, value),
        Next::Option(..) | Next::Bad(..) | Next::End => return Err(UsageError::try_help()),
    };
    if verb == Verb::Help {
        return Ok(Command::Help);
    }
    if verb == Verb::Version {
        return Ok(Command::Version);
    }
    let mut read = Read::new(verb, names);
    if let Some(role) = role {
        read.role = Some(daemon_role(verb, role)?);
    }
    loop {
        match words.next() {
            Next::Option(option, value) => read.option(option, value, words.last())?,
            Next::Bad(word, reason) => return Err(UsageError::syntax(format!("{word}: {reason}"))),
            Next::End => break,
        }
    }
    let mut rest = words.left_over().into_iter();
    let mut timeouts = [0; 3];
    if verb == Verb::Set {
        let missing = || UsageError::new("--set option requires 3 timeout values");
        let texts = [rest.next(), rest.next(), rest.next()];
        let [Some(tcp), Some(tcp_fin), Some(udp)] = texts else { return Err(missing()) };
        for (timeout, text) in timeouts.iter_mut().zip([tcp, tcp_fin, udp]) {
            *timeout = seconds(text, 0)?;
        }
    }
    if let Some(word) = rest.next() {
        return Err(UsageError::new(format!("unexpected argument {word}")));
    }
    read.finish(timeouts)
}

/// What has been read so far. As in ipvsadm, order matters: a port that a real server takes over and the family
/// of a netmask are those of a virtual server named before.
struct Read<'n> {
    verb: Verb,
    names: &'n dyn Names,
    given: Given,
    transport: Transport,
    virtual_server: Option<SocketAddr>,
    fwmark: u32,
    fwmark_ipv6: bool,
    scheduler: String,
    flags: String,
    engine: Option<String>,
    persistent: Option<u32>,
    granularity: Option<Granularity>,
    real_server: Option<SocketAddr>,
    method: Method,
    tunnel: &'static str,
    tunnel_port: u16,
    checksum: Checksum,
    weight: u32,
    upper: u32,
    lower: u32,
    role: Option<DaemonRole>,
    syncid: u8,
    interface: String,
    group: Option<IpAddr>,
    port: Option<u16>,
    ttl: Option<u8>,
    max_length: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    DirectRouting,
    Masquerading,
    Tunnel,
}

impl<'n> Read<'n> {
    fn new(verb: Verb, names: &'n dyn Names) -> Self {
        Self {
            verb,
            names,
            given: Given::default(),
            transport: Transport::Tcp,
            virtual_server: None,
            fwmark: 0,
            fwmark_ipv6: false,
            scheduler: String::new(),
            flags: String::new(),
            engine: None,
            persistent: None,
            granularity: None,
            real_server: None,
            method: Method::DirectRouting,
            tunnel: "ipip",
            tunnel_port: 0,
            checksum: Checksum::None,
            weight: 1,
            upper: 0,
            lower: 0,
            role: None,
            syncid: 0,
            interface: String::new(),
            group: None,
            port: None,
            ttl: None,
            max_length: None,
        }
    }

    fn option(&mut self, option: Opt, value: Option<&str>, word: &str) -> Result<(), UsageError> {
        self.given.enter(option)?;
        if (option, value) == (Opt::Persistent, None) {
            self.persistent = Some(PERSISTENT);
            return Ok(());
        }
        let value = value.unwrap_or_default();
        match option {
            Opt::Command(_) => return Err(UsageError::new(format!("invalid option `{word}'"))),
            Opt::Tcp => self.service(Transport::Tcp, value)?,
            Opt::Udp => self.service(Transport::Udp, value)?,
            Opt::Sctp => self.service(Transport::Sctp, value)?,
            Opt::Fwmark => {
                let invalid = || UsageError::new(format!("invalid fwmark value `{value}' specified"));
                let mark = number(value, 1, u32::MAX.into()).ok_or_else(invalid)?;
                self.fwmark = u32::try_from(mark).unwrap_or_default();
            }
            // The line feed is ipvsadm's own, besides the one that ends every message.
            Opt::Ipv6 if self.fwmark == 0 => return Err(UsageError::new("-6 used before -f\n")),
            Opt::Ipv6 => self.fwmark_ipv6 = true,
            Opt::Scheduler => self.scheduler = cut(value, MAX_NAME),
            Opt::SchedFlags => value.clone_into(&mut self.flags),
            Opt::Engine => self.engine = Some(cut(value, MAX_NAME)),
            Opt::Persistent => self.persistent = Some(seconds(value, 1)?),
            Opt::Netmask => self.granularity = Some(self.netmask(value)?),
            Opt::RealServer => self.server(value)?,
            Opt::Masquerading => self.method = Method::Masquerading,
            Opt::Ipip => self.method = Method::Tunnel,
            Opt::Gatewaying => self.method = Method::DirectRouting,
            Opt::TunType => {
                let known = ["ipip", "gue", "gre"].into_iter().find(|known| *known == value);
                self.tunnel = known.ok_or_else(|| UsageError::new("illegal tunnel type specified"))?;
            }
            Opt::TunPort => self.tunnel_port = ranged(value, 1, 65_535, "tunnel port")?,
            Opt::TunNocsum => self.checksum = Checksum::None,
            Opt::TunCsum => self.checksum = Checksum::Full,
            Opt::TunRemcsum => self.checksum = Checksum::Remote,
            Opt::Weight => self.weight = ranged(value, 0, i32::MAX.into(), "weight")?,
            Opt::Upper => self.upper = ranged(value, 0, i32::MAX.into(), "u_threshold")?,
            Opt::Lower => self.lower = ranged(value, 0, i32::MAX.into(), "l_threshold")?,
            Opt::SyncId => self.syncid = ranged(value, 0, 255, "syncid")?,
            Opt::SyncMaxLen => self.max_length = Some(ranged(value, 1, 65_507, "sync-maxlen")?),
            Opt::Interface => self.interface = cut(value, MAX_INTERFACE),
            Opt::Group => self.group = Some(multicast(value)?),
            Opt::Port => self.port = Some(ranged(value, 1, 65_535, "mcast-port")?),
            Opt::Ttl => self.ttl = Some(ranged(value, 1, 255, "mcast-ttl")?),
            // That they were given is all there is to know.
            Opt::Numeric
            | Opt::Connection
            | Opt::Timeout
            | Opt::Daemon
            | Opt::Stats
            | Opt::Rate
            | Opt::Thresholds
            | Opt::PersistentConn
            | Opt::TunInfo
            | Opt::NoSort
            | Opt::Sort
            | Opt::Exact
            | Opt::OnePacket => {}
        }
        Ok(())
    }

    fn service(&mut self, transport: Transport, text: &str) -> Result<(), UsageError> {
        self.transport = transport;
        let Some((address, port)) = endpoint(text, transport, self.names) else {
            return Err(UsageError::new("illegal virtual server address[:port] specified"));
        };
        self.virtual_server = Some(SocketAddr::new(address, port.unwrap_or(0)));
        Ok(())
    }

    fn server(&mut self, text: &str) -> Result<(), UsageError> {
        let Some((address, port)) = endpoint(text, self.transport, self.names) else {
            return Err(UsageError::new("illegal real server address[:port] specified"));
        };
        let same = self.virtual_server.map_or(0, |address| address.port());
        self.real_server = Some(SocketAddr::new(address, port.unwrap_or(same)));
        Ok(())
    }

    fn netmask(&self, text: &str) -> Result<Granularity, UsageError> {
        if self.is_ipv6() {
            // What atoi(3) makes of it.
            let digits = text.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
            let prefix = digits.parse().ok().filter(|prefix| (1..=128).contains(prefix));
            return prefix
                .map(Granularity::Prefix)
                .ok_or_else(|| UsageError::new("illegal ipv6 netmask specified"));
        }
        inet_aton(text)
            .map(Granularity::Mask)
            .ok_or_else(|| UsageError::new("illegal virtual server persistent mask specified"))
    }

    fn is_ipv6(&self) -> bool {
        self.fwmark_ipv6 || self.virtual_server.is_some_and(|address| address.is_ipv6())
    }

    fn finish(self, [tcp, tcp_fin, udp]: [u32; 3]) -> Result<Command, UsageError> {
        self.verb.check(&self.given)?;
        Ok(match self.verb {
            Verb::Add => Command::AddService(self.into_service()?),
            Verb::Edit => Command::EditService(self.into_service()?),
            Verb::Delete => Command::DeleteService(self.key()?),
            Verb::Clear => Command::Clear,
            Verb::Restore => Command::Restore,
            Verb::Save => Command::Save { numeric: self.given.has("numeric") },
            Verb::AddServer => Command::AddServer(self.key()?, self.into_server()?),
            Verb::EditServer => Command::EditServer(self.key()?, self.into_server()?),
            Verb::DeleteServer => {
                let address = self.real_server.ok_or_else(UsageError::try_help)?;
                Command::DeleteServer(self.key()?, address)
            }
            Verb::List => Command::List(self.into_listing()?),
            Verb::Zero => Command::Zero(self.key().ok()),
            Verb::Set => Command::SetTimeouts { tcp, tcp_fin, udp },
            Verb::StartDaemon => Command::StartDaemon(self.into_daemon()?),
            Verb::StopDaemon => Command::StopDaemon(self.into_daemon()?),
            Verb::Help => Command::Help,
            Verb::Version => Command::Version,
        })
    }

    /// The virtual server that was named; the rules have made sure of it where it is needed.
    fn key(&self) -> Result<ServiceKey, UsageError> {
        match self.virtual_server {
            Some(address) => Ok(ServiceKey::Address(self.transport, address)),
            None if self.fwmark > 0 => Ok(ServiceKey::Fwmark { mark: self.fwmark, ipv6: self.fwmark_ipv6 }),
            None => Err(UsageError::try_help()),
        }
    }

    fn into_service(self) -> Result<Service, UsageError> {
        let key = self.key()?;
        let scheduler = if self.scheduler.is_empty() { "wlc".to_owned() } else { self.scheduler };
        let flags = scheduler_flags(&scheduler, &self.flags)?;
        let one_packet = self.given.has("ops");
        if let ServiceKey::Address(transport, address) = key {
            if address.port() == 0 && self.persistent.is_none() {
                return Err(UsageError::new("Zero port specified for non-persistent service"));
            }
            if one_packet && transport != Transport::Udp {
                return Err(UsageError::new("One-Packet Scheduling is only for UDP virtual services"));
            }
        }
        Ok(Service {
            key,
            scheduler,
            flags,
            persistent: self.persistent,
            granularity: self.granularity,
            one_packet,
            persistence_engine: self.engine,
        })
    }

    fn into_server(self) -> Result<Server, UsageError> {
        let mut address = self.real_server.ok_or_else(UsageError::try_help)?;
        if let (Some(service), Method::DirectRouting | Method::Tunnel) = (self.virtual_server, self.method) {
            address.set_port(service.port());
        }
        if address.is_ipv6() != self.is_ipv6() && self.method != Method::Tunnel {
            return Err(UsageError::new("Different address family is allowed only for tunneling servers"));
        }
        let forwarding = if self.method == Method::Tunnel {
            self.given.check_tunnel(self.tunnel)?;
            Forwarding::Tunnel(match self.tunnel {
                "gue" => Tunnel::Gue { port: self.tunnel_port, checksum: self.checksum },
                "gre" => Tunnel::Gre { checksum: self.checksum },
                _ => Tunnel::Ipip,
            })
        } else {
            let tunnel = ["tun-type", "tun-port", "tun-nocsum", "tun-csum", "tun-remcsum"];
            if tunnel.iter().any(|kind| self.given.has(kind)) {
                return Err(UsageError::new("Tunnel options conflict with forward method"));
            }
            match self.method {
                Method::Masquerading => Forwarding::Masquerading,
                Method::DirectRouting | Method::Tunnel => Forwarding::DirectRouting,
            }
        };
        Ok(Server {
            address,
            forwarding,
            weight: self.weight,
            upper_threshold: self.upper,
            lower_threshold: self.lower,
        })
    }

    fn into_listing(self) -> Result<Listing, UsageError> {
        let has = |kind| self.given.has(kind);
        let show = match () {
            () if has("connection") => Show::Connections,
            () if has("timeout") => Show::Timeouts,
            () if has("daemon") => Show::Daemons,
            () => Show::Services,
        };
        // --persistent-conn with -c asks for the persistence engine's columns.
        let counters = has("stats") || has("rate") || has("thresholds");
        let conflict = match show {
            Show::Services => false,
            Show::Connections => counters,
            Show::Timeouts | Show::Daemons => counters || has("persistent-conn"),
        };
        if conflict {
            return Err(UsageError::new("options conflicts in the list command"));
        }
        Ok(Listing {
            show,
            service: self.key().ok(),
            numeric: has("numeric"),
            exact: has("exact"),
            unsorted: has("nosort"),
            stats: has("stats"),
            rate: has("rate"),
            thresholds: has("thresholds"),
            persistent_connections: has("persistent-conn"),
            tunnels: has("tun-info"),
        })
    }

    fn into_daemon(self) -> Result<Daemon, UsageError> {
        Ok(Daemon {
            role: self.role.ok_or_else(UsageError::try_help)?,
            syncid: self.syncid,
            interface: if self.interface.is_empty() { "eth0".to_owned() } else { self.interface },
            group: self.group,
            port: self.port,
            ttl: self.ttl,
            max_length: self.max_length,
        })
    }
}
