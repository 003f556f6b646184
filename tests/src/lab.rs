//! Building a lab, and working in it.

use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, bail};

use crate::netns::{self, Found};
use crate::process::Process;
use crate::state::{self, LAB_DIR, Remains, State};
use crate::topology::{Family, Node, Topology};
use crate::{nginx, wiring};

/// What the lab shall be like; see [`Lab::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct LabBuilder(State);

impl LabBuilder {
    /// How directors stand between clients and real servers. Default: one-armed.
    pub fn topology(mut self, topology: Topology) -> Self {
        self.0.topology = topology;
        self
    }

    /// Adds a third web server, `web3`.
    pub fn web3(mut self, is_wanted: bool) -> Self {
        self.0.has_web3 = is_wanted;
        self
    }

    /// Whether the peers of the directors' interfaces take frames that XDP transmits. Default: yes. Without it native
    /// XDP loses every frame it sends, silently, as on a veth that nobody prepared.
    pub fn pass_program(mut self, is_wanted: bool) -> Self {
        self.0.has_pass_program = is_wanted;
        self
    }

    /// Whether nginx runs on the web nodes. Default: yes.
    pub fn nginx(mut self, is_wanted: bool) -> Self {
        self.0.has_nginx = is_wanted;
        self
    }

    /// Builds the lab. Removes first what an interrupted lab has left behind.
    ///
    /// # Errors
    /// Not root; a lab is up; a namespace or an `lbctl` instance has a name that the lab needs; a tool is missing
    /// (`ip`, `bridge`, `ethtool`, `nginx`). What was built until then is removed again.
    pub fn up(self) -> anyhow::Result<Lab> {
        {
            let _lock = state::lock()?;
            if let Some(lab) = Lab::attach()? {
                bail!("a {} lab is already up; `cargo xtask lab down` removes it", lab.topology());
            }
            // Takes the locked directory with it.
            Remains::look()?.remove_locked()?;
        }
        let lock = state::lock()?;
        if let Err(error) = state::refuse_foreign() {
            // Made by the lock. Stays if it is not empty, which is when another lab came up just now.
            fs::remove_dir(LAB_DIR).ok();
            return Err(error);
        }
        self.0.save()?;
        let lab = Lab { state: self.0, is_owned: true };
        let built = lab.build();
        // Before `lab` can be dropped, which takes the lock to clean up.
        drop(lock);
        built?;
        Ok(lab)
    }
}

/// A lab that is up. Removed when dropped, unless [kept](Lab::keep) or [attached to](Lab::attach).
#[derive(Debug)]
pub struct Lab {
    state: State,
    is_owned: bool,
}

impl Lab {
    /// A lab with one arm, two web servers, nginx and everything else at its default.
    pub fn builder() -> LabBuilder {
        LabBuilder(State {
            topology: Topology::OneArmed,
            has_web3: false,
            has_pass_program: true,
            has_nginx: true,
            is_complete: false,
        })
    }

    /// The lab that is up, made by an earlier command; `None` if there is none or only parts of one.
    ///
    /// # Errors
    /// The lab's state cannot be read, or its namespaces not be entered.
    pub fn attach() -> anyhow::Result<Option<Self>> {
        match State::load()? {
            Some(state) if state.is_complete && is_intact(&state)? => {
                Ok(Some(Self { state, is_owned: false }))
            }
            _ => Ok(None),
        }
    }

    fn build(&self) -> anyhow::Result<()> {
        wiring::build(&self.state)?;
        if self.state.has_nginx {
            for node in self.nodes().into_iter().filter(|node| node.is_web()) {
                nginx::start(node, self.dir())?;
            }
        }
        State { is_complete: true, ..self.state.clone() }.save()
    }

    /// Leaves the lab up when this is dropped, for [`Lab::attach`] and [`Remains::remove`].
    pub fn keep(mut self) {
        self.is_owned = false;
    }

    /// Removes the lab: processes, namespaces, files, and what `lbctl` instances called like a node left in /run and
    /// bpffs.
    ///
    /// # Errors
    /// As for [`Remains::remove`].
    pub fn down(mut self) -> anyhow::Result<()> {
        self.is_owned = false;
        Remains::look()?.remove()
    }

    /// The shape of the lab.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.state.topology
    }

    /// The nodes of the lab.
    #[must_use]
    pub fn nodes(&self) -> Vec<Node> {
        self.state.nodes()
    }

    /// A directory for configuration and logs, gone with the lab.
    #[must_use]
    pub fn dir(&self) -> &'static Path {
        Path::new(LAB_DIR)
    }

    /// The address of a node on its `eth0`; `None` if this lab does not have the node.
    #[must_use]
    pub fn address(&self, node: Node, family: Family) -> Option<IpAddr> {
        self.topology().interfaces(node).first().map(|interface| interface.address(family))
    }

    /// The address of the virtual server.
    #[must_use]
    pub fn vip(&self, family: Family) -> IpAddr {
        self.topology().vip(family)
    }

    /// The virtual server's address with the port of nginx.
    #[must_use]
    pub fn web(&self, family: Family) -> SocketAddr {
        SocketAddr::new(self.vip(family), 80)
    }

    /// Writes a file into the lab's directory and returns its path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, name: &str, content: &str) -> anyhow::Result<PathBuf> {
        let path = self.dir().join(name);
        fs::write(&path, content).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// A command on `node`, to be started by the caller. Only the network namespace is the node's; files, bpffs and
    /// process ids are the caller's, and so is /sys: /sys/class/net does not show the node's devices.
    /// `LBCTL_INSTANCE` is the node's name, so that two directors can run side by side.
    #[must_use]
    pub fn command(&self, node: Node, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        let mut net = OsStr::new("--net=").to_owned();
        net.push(netns::path(node.name()));
        command.arg(net).arg("--").arg(program).env("LBCTL_INSTANCE", node.name());
        command
    }

    /// Runs program and arguments on `node` to the end and returns its output, whatever its exit status.
    ///
    /// # Errors
    /// `nsenter` does not start. (If the program does not exist, the exit status is 127.)
    pub fn output<S: AsRef<OsStr>>(
        &self,
        node: Node,
        command: impl IntoIterator<Item = S>,
    ) -> anyhow::Result<Output> {
        self.with_arguments(node, command)?.output().context("nsenter does not start; install util-linux")
    }

    /// Runs program and arguments on `node` to the end and returns its standard output.
    ///
    /// # Errors
    /// It does not start or exits with another status than 0; the message has all it said.
    pub fn exec<S: AsRef<OsStr>>(
        &self,
        node: Node,
        command: impl IntoIterator<Item = S>,
    ) -> anyhow::Result<String> {
        netns::run(&mut self.with_arguments(node, command)?).with_context(|| format!("on {node}"))
    }

    /// Starts program and arguments on `node` and lets it run.
    ///
    /// # Errors
    /// It does not start, or its log cannot be written.
    pub fn spawn<S: AsRef<OsStr>>(
        &self,
        node: Node,
        command: impl IntoIterator<Item = S>,
    ) -> anyhow::Result<Process> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let command = self.with_arguments(node, command)?;
        Process::start(command, &self.dir().join(format!("{node}-{}-{number}.log", std::process::id())))
    }

    fn with_arguments<S: AsRef<OsStr>>(
        &self,
        node: Node,
        command: impl IntoIterator<Item = S>,
    ) -> anyhow::Result<Command> {
        let mut words = command.into_iter();
        let program = words.next().context("no command given")?;
        let mut command = self.command(node, program);
        command.args(words);
        Ok(command)
    }

    /// Runs `work` on a thread of its own inside `node`'s network namespace, and waits for it. Commands that it starts
    /// are inside, too. /proc/net is the main thread's; the node's is /proc/thread-self/net.
    ///
    /// # Errors
    /// The namespace cannot be entered. A panic of `work` is passed on.
    pub fn enter<T: Send>(&self, node: Node, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        netns::enter(node.name(), work)
    }

    /// Has the client fetch `url` `count` times with curl, each time on a new connection, and returns who answered, in
    /// order. A request that failed is in the list as `failed: ` and what curl said.
    ///
    /// # Errors
    /// `nsenter` does not start.
    pub fn curl_sequence(&self, url: &str, count: usize) -> anyhow::Result<Vec<String>> {
        let curl = ["curl", "--silent", "--show-error", "--fail", "--globoff", "--max-time", "5", url];
        let one = |_| {
            let output = self.output(Node::Client, curl)?;
            let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
            Ok(match output.status.success() {
                true => text(&output.stdout),
                false => format!("failed: {}", text(&output.stderr)),
            })
        };
        (0..count).map(one).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.is_owned
            && let Err(error) = Remains::look().and_then(Remains::remove)
        {
            eprintln!("the lab was not removed: {error:#}; `cargo xtask lab down` tries again");
        }
    }
}

fn is_intact(state: &State) -> anyhow::Result<bool> {
    for node in state.nodes() {
        if netns::look(node.name())? != Found::Ours {
            return Ok(false);
        }
    }
    Ok(netns::look(crate::topology::HUB)? == Found::Ours)
}
