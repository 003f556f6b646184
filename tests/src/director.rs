//! `lbctl` on the nodes of a lab: directors and real servers, as an operator runs them.

use std::ffi::OsStr;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::Lab;
use crate::topology::{Family, Node};
use crate::wait_until;

/// The path of the `lbctl` to test: `$LBCTL` or `$LBCTL_BIN`, else the one that cargo put beside the test programs.
///
/// # Errors
/// There is none.
pub fn lbctl() -> anyhow::Result<PathBuf> {
    let path = match ["LBCTL", "LBCTL_BIN"].into_iter().find_map(env::var_os) {
        Some(path) => PathBuf::from(path),
        None => {
            let own = env::current_exe().context("the test program's own path")?;
            // target/PROFILE/deps/TEST-HASH
            own.ancestors().nth(2).context("the test program's directory")?.join("lbctl")
        }
    };
    if !path.is_file() {
        bail!("{} is not there; build it with `cargo build -p lb-userspace`", path.display());
    }
    Ok(path)
}

/// How long to wait for what takes `seconds` on a machine of today; `LBCTL_TEST_SLOWNESS` is how many times slower
/// this one is (an emulated one: 20).
#[must_use]
pub fn patience(seconds: u64) -> Duration {
    let slowness = env::var("LBCTL_TEST_SLOWNESS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    Duration::from_secs(seconds.saturating_mul(slowness))
}

/// A configuration file; what is not given is left out of it.
#[derive(Clone, Debug)]
#[must_use]
pub struct Configuration {
    director: String,
    virtual_servers: Vec<VirtualServer>,
    /// Whatever else the file says.
    rest: String,
}

impl Configuration {
    /// A director on these interfaces, without virtual servers; without interfaces for VRRP alone.
    pub fn new(interfaces: &[&str]) -> Self {
        Self {
            // VRRP alone attaches to none.
            director: if interfaces.is_empty() {
                String::new()
            } else {
                format!("interfaces = {interfaces:?}\n")
            },
            virtual_servers: Vec::new(),
            rest: String::new(),
        }
    }

    /// A further line of `[director]`.
    pub fn option(mut self, line: &str) -> Self {
        self.director += line;
        self.director.push('\n');
        self
    }

    /// Further sections, as they stand in the file.
    pub fn append(mut self, text: &str) -> Self {
        self.rest += text;
        self.rest.push('\n');
        self
    }

    /// A further virtual server.
    pub fn with(mut self, server: VirtualServer) -> Self {
        self.virtual_servers.push(server);
        self
    }

    /// The addresses of the virtual servers.
    #[must_use]
    pub fn vips(&self) -> Vec<IpAddr> {
        let mut vips: Vec<IpAddr> = self.virtual_servers.iter().map(|server| server.address.ip()).collect();
        vips.sort_unstable();
        vips.dedup();
        vips
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[director]\n{}", self.director)?;
        self.virtual_servers.iter().try_for_each(|server| server.fmt(f))?;
        f.write_str(&self.rest)
    }
}

/// A virtual server in a configuration.
#[derive(Clone, Debug)]
#[must_use]
pub struct VirtualServer {
    address: SocketAddr,
    protocol: &'static str,
    scheduler: &'static str,
    forwarding: &'static str,
    options: String,
    /// Address, with a port where it is not the virtual server's, and weight.
    real_servers: Vec<(String, u16)>,
}

impl VirtualServer {
    /// TCP by `wrr`, without real servers.
    pub fn new(address: SocketAddr) -> Self {
        let (protocol, scheduler, forwarding) = ("tcp", "wrr", "dr");
        Self { address, protocol, scheduler, forwarding, options: String::new(), real_servers: Vec::new() }
    }

    /// UDP.
    pub fn udp(mut self) -> Self {
        self.protocol = "udp";
        self
    }

    /// Another scheduler.
    pub fn scheduler(mut self, name: &'static str) -> Self {
        self.scheduler = name;
        self
    }

    /// A further line of the virtual server.
    pub fn option(mut self, line: &str) -> Self {
        self.options += line;
        self.options.push('\n');
        self
    }

    /// A further real server.
    pub fn real_server(mut self, address: IpAddr, weight: u16) -> Self {
        self.real_servers.push((address.to_string(), weight));
        self
    }

    /// A further real server that listens on a port of its own.
    pub fn real_server_at(mut self, address: SocketAddr, weight: u16) -> Self {
        self.real_servers.push((address.to_string(), weight));
        self
    }

    /// Another forwarding method than direct routing.
    pub fn forwarding(mut self, name: &'static str) -> Self {
        self.forwarding = name;
        self
    }
}

impl fmt::Display for VirtualServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, protocol, scheduler, forwarding, options, real_servers } = self;
        writeln!(f, "[[virtual_server]]\naddress = \"{address}\"\nprotocol = \"{protocol}\"")?;
        writeln!(f, "scheduler = \"{scheduler}\"\nforwarding = \"{forwarding}\"\n{options}")?;
        for (address, weight) in real_servers {
            writeln!(f, "[[virtual_server.real_server]]\naddress = \"{address}\"\nweight = {weight}\n")?;
        }
        Ok(())
    }
}

/// Web servers behind the lab's VIP on port 80, with weights, on a director's `eth0`.
///
/// # Errors
/// The lab does not have the nodes.
pub fn web(lab: &Lab, family: Family, weights: &[(Node, u16)]) -> anyhow::Result<Configuration> {
    let server = weights.iter().try_fold(VirtualServer::new(lab.web(family)), |server, (node, weight)| {
        let address = lab.address(*node, family).with_context(|| format!("{node} is not in the lab"))?;
        anyhow::Ok(server.real_server(address, *weight))
    })?;
    Ok(Configuration::new(&["eth0"]).with(server))
}

/// Runs `lbctl` with `arguments` on `node` to the end.
///
/// # Errors
/// There is no `lbctl`.
pub fn run_lbctl<S: AsRef<OsStr>>(
    lab: &Lab,
    node: Node,
    arguments: impl IntoIterator<Item = S>,
) -> anyhow::Result<Output> {
    let mut command = lab.command(node, lbctl()?);
    command.args(arguments).output().context("nsenter does not start; install util-linux")
}

/// What a command wrote to standard error.
#[must_use]
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// As [`run_lbctl`], for what must succeed; returns what it said on standard error.
fn lbctl_succeeds<S: AsRef<OsStr>>(lab: &Lab, node: Node, arguments: &[S]) -> anyhow::Result<String> {
    let output = run_lbctl(lab, node, arguments)?;
    if !output.status.success() {
        let words: Vec<_> = arguments.iter().map(|word| word.as_ref().display().to_string()).collect();
        bail!("lbctl {} on {node}: {}\n{}", words.join(" "), output.status, stderr(&output));
    }
    Ok(stderr(&output))
}

/// Makes every web node a real server for these addresses.
///
/// # Errors
/// `lbctl realserver start` fails.
pub fn start_real_servers(lab: &Lab, vips: &[IpAddr]) -> anyhow::Result<()> {
    let vips: Vec<_> = vips.iter().map(|vip| format!("--vip={vip}")).collect();
    let arguments: Vec<_> =
        ["realserver", "start"].into_iter().chain(vips.iter().map(String::as_str)).collect();
    for node in lab.nodes().into_iter().filter(|node| node.is_web()) {
        lbctl_succeeds(lab, node, &arguments)?;
    }
    Ok(())
}

/// A director that was started by `lbctl up -d`. It ends with the lab if not by [`Director::down`].
#[derive(Debug)]
pub struct Director<'lab> {
    lab: &'lab Lab,
    node: Node,
    config: PathBuf,
    /// The options before the file.
    options: Vec<&'static str>,
    /// What the last `up` or `reload` said on standard error.
    said: String,
}

impl<'lab> Director<'lab> {
    /// Makes the web nodes real servers and starts a director on `node`.
    ///
    /// # Errors
    /// Either fails.
    pub fn start(lab: &'lab Lab, node: Node, config: &Configuration) -> anyhow::Result<Self> {
        start_real_servers(lab, &config.vips())?;
        Self::up(lab, node, config)
    }

    /// Starts a director on `node`, and nothing else.
    ///
    /// # Errors
    /// `lbctl up -d` fails.
    pub fn up(lab: &'lab Lab, node: Node, config: &Configuration) -> anyhow::Result<Self> {
        let config = lab.write(&format!("{node}.toml"), &config.to_string())?;
        let mut director = Self { lab, node, config, options: vec!["-c"], said: String::new() };
        director.up_again()?;
        Ok(director)
    }

    /// Starts a director on `node` by a file that is there already: `-c` a configuration, `--keepalived` a
    /// `keepalived.conf`.
    ///
    /// # Errors
    /// `lbctl up -d` fails.
    pub fn up_by(lab: &'lab Lab, node: Node, option: &'static str, path: &Path) -> anyhow::Result<Self> {
        let mut director =
            Self { lab, node, config: path.to_owned(), options: vec![option], said: String::new() };
        director.up_again()?;
        Ok(director)
    }

    /// Starts a director on `node` by a `keepalived.conf`, which knows the node by its name.
    ///
    /// # Errors
    /// `lbctl up -d --keepalived` fails.
    pub fn up_by_keepalived(lab: &'lab Lab, node: Node, config: &str) -> anyhow::Result<Self> {
        let config = lab.write(&format!("{node}.conf"), config)?;
        let options = vec!["--config-id", node.name(), "--keepalived"];
        let mut director = Self { lab, node, config, options, said: String::new() };
        director.up_again()?;
        Ok(director)
    }

    /// `lbctl up -d` once more, with the same configuration.
    ///
    /// # Errors
    /// It fails.
    pub fn up_again(&mut self) -> anyhow::Result<()> {
        let mut up: Vec<&OsStr> = vec!["up".as_ref(), "-d".as_ref()];
        up.extend(self.options.iter().map(AsRef::<OsStr>::as_ref));
        up.push(self.config.as_os_str());
        self.said = lbctl_succeeds(self.lab, self.node, &up)?;
        Ok(())
    }

    /// Changes the configuration.
    ///
    /// # Errors
    /// `lbctl reload` fails.
    pub fn reload(&mut self, config: &Configuration) -> anyhow::Result<()> {
        fs::write(&self.config, config.to_string()).with_context(|| self.config.display().to_string())?;
        self.said = lbctl_succeeds(self.lab, self.node, &["reload"])?;
        Ok(())
    }

    /// `lbctl down`.
    ///
    /// # Errors
    /// It fails.
    pub fn down(&self) -> anyhow::Result<()> {
        lbctl_succeeds(self.lab, self.node, &["down"]).map(drop)
    }

    /// Ends the daemon by SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub fn kill(&self) -> anyhow::Result<()> {
        let pid = self.pid()?;
        kill(pid, Signal::SIGKILL).with_context(|| format!("kill process {pid}"))?;
        if wait_until(patience(10), || has_ended(pid)) { Ok(()) } else { bail!("process {pid} does not end") }
    }

    /// The daemon's process id.
    ///
    /// # Errors
    /// It does not run.
    pub fn pid(&self) -> anyhow::Result<Pid> {
        let lock = Path::new("/run/lbctl").join(self.node.name()).join("lock");
        let text = fs::read_to_string(&lock).with_context(|| lock.display().to_string())?;
        let pid = Pid::from_raw(text.trim().parse().with_context(|| lock.display().to_string())?);
        if has_ended(pid) {
            bail!("the director on {} (process {pid}) has ended", self.node)
        } else {
            Ok(pid)
        }
    }

    /// What the last `up` or `reload` said on standard error.
    #[must_use]
    pub fn said(&self) -> &str {
        &self.said
    }

    /// The daemon's log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(Path::new("/run/lbctl").join(self.node.name()).join("log")).unwrap_or_default()
    }

    /// Id and mode (`native` or `generic`) of the XDP program on an interface; `None` without one.
    ///
    /// # Errors
    /// There is no such interface, or `ip` says what is not understood.
    pub fn program(&self, interface: &str) -> anyhow::Result<Option<(u64, &'static str)>> {
        let json = self.lab.exec(self.node, ["ip", "-json", "link", "show", "dev", interface])?;
        let links: serde_json::Value = serde_json::from_str(&json).context("output of ip -json")?;
        let Some(xdp) = links.pointer("/0/xdp") else { return Ok(None) };
        // `enum` of XDP_ATTACHED_* in include/uapi/linux/if_link.h.
        let mode = match xdp.get("mode").and_then(serde_json::Value::as_u64) {
            Some(1) => "native",
            Some(2) => "generic",
            _ => bail!("XDP mode not understood: {xdp}"),
        };
        let id = xdp.pointer("/prog/id").and_then(serde_json::Value::as_u64);
        Ok(Some((id.with_context(|| format!("no program id in {xdp}"))?, mode)))
    }
}

/// A zombie has ended: nobody waits for it but the sandbox's first process, which does not. But as long as it has other
/// threads, its files are open.
fn has_ended(pid: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    // The state is the first word after the name, which is in parentheses and may have any.
    let is_zombie = fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| {
        stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with(['Z', 'X']))
    });
    is_zombie && threads <= 1
}
