//! `cargo xtask demo`: the story a newcomer wants to see, in network namespaces, with the real commands and their real
//! output. Whatever it claims is checked; it fails if anything is not so.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use lb_tests::{Connections, Family, Lab, Load, LoadPlan, Node, Topology};

use crate::{cargo, say, setup};

/// What `cargo xtask demo` balances. The weights are changed on the way.
const CONFIG: &str = r#"[director]
interfaces = ["eth0"]

[[virtual_server]]
address = "192.168.4.15:80"
protocol = "tcp"
scheduler = "wrr"
forwarding = "dr"

  [[virtual_server.real_server]]
  address = "192.168.4.100:80"
  weight = WEIGHT

  [[virtual_server.real_server]]
  address = "192.168.4.200:80"
  weight = 2
"#;

/// Requests of each round.
const REQUESTS: usize = 24;
/// How long things may take that take no time: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the story.
pub(crate) fn run() -> anyhow::Result<()> {
    setup::lab()?;
    setup::build_tools()?;
    let lbctl = cargo::lbctl(false)?;
    let lab = Lab::builder().topology(Topology::OneArmed).up()?;
    let mut story = Story { config: lab.write("lbctl.toml", "")?, lab, lbctl, chapter: 0 };
    let told = story.tell();
    let left = story.lab.down();
    told?;
    left?;
    say("\nEverything above was checked. Try it yourself: cargo xtask lab up")
}

struct Story {
    lab: Lab,
    lbctl: PathBuf,
    config: PathBuf,
    chapter: usize,
}

impl Story {
    fn tell(&mut self) -> anyhow::Result<()> {
        self.chapter("A client, two directors, two web servers with nginx: six namespaces and a bridge")?;
        say(
            "client 192.168.4.10   lvs1 .2   lvs2 .3   web1 .100   web2 .200   virtual address 192.168.4.15",
        )?;
        self.real_servers()?;
        let mut director = self.director()?;
        self.requests()?;
        self.reload()?;
        self.killed(&mut director)?;
        self.down()?;
        drop(director);
        Ok(())
    }

    fn chapter(&mut self, title: &str) -> anyhow::Result<()> {
        self.chapter += 1;
        say(&format!("\n== {}. {title}", self.chapter))
    }

    /// Shows a command as one would type it on `node`, runs it, and shows and returns what it printed.
    fn show(&self, node: Node, arguments: &[&str]) -> anyhow::Result<String> {
        let config = self.config.to_string_lossy();
        let shown = arguments.join(" ").replace(&*config, "lbctl.toml");
        say(&format!("[{node}]# lbctl {shown}"))?;
        let output = self.lab.command(node, &self.lbctl).args(arguments).output()?;
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        say(text.trim_end())?;
        ensure!(output.status.success(), "`lbctl {shown}` on {node}: {}", output.status);
        Ok(text)
    }

    fn real_servers(&mut self) -> anyhow::Result<()> {
        self.chapter("The web servers take the virtual address without answering ARP for it")?;
        for web in [Node::Web1, Node::Web2] {
            self.show(web, &["realserver", "start", "--vip", "192.168.4.15"])?;
        }
        self.show(Node::Web1, &["realserver", "status"])?;
        Ok(())
    }

    fn configure(&self, weight: u32) -> anyhow::Result<()> {
        fs::write(&self.config, CONFIG.replace("WEIGHT", &weight.to_string())).context("the configuration")
    }

    fn director(&mut self) -> anyhow::Result<Director> {
        self.chapter("The director starts: weights 1 and 2")?;
        self.configure(1)?;
        say(fs::read_to_string(&self.config)?.trim_end())?;
        self.up()
    }

    fn up(&self) -> anyhow::Result<Director> {
        let config = self.config.to_str().context("the configuration's path")?.to_owned();
        self.show(Node::Lvs1, &["up", "-d", "-c", &config])?;
        let pid = fs::read_to_string(Path::new("/run/lbctl").join(Node::Lvs1.name()).join("lock"))?;
        Ok(Director { pid: pid.trim().to_owned() })
    }

    /// Who served a round of requests, in order.
    fn round(&self) -> anyhow::Result<Vec<String>> {
        say(&format!("[client]# for i in $(seq {REQUESTS}); do curl -s http://192.168.4.15/; done"))?;
        let served = self.lab.curl_sequence("http://192.168.4.15/", REQUESTS)?;
        say(&served.join(" "))?;
        Ok(served)
    }

    fn requests(&mut self) -> anyhow::Result<()> {
        self.chapter("24 requests, each a new connection, in exactly the order of IPVS")?;
        let served = self.round()?;
        let expected: Vec<&str> = ["web2", "web1", "web2"].into_iter().cycle().take(REQUESTS).collect();
        ensure!(served == expected, "IPVS would have served them in the order {}", expected.join(" "));
        let list = self.show(Node::Lvs1, &["list", "-n"])?;
        for real in ["192.168.4.100:80", "192.168.4.200:80"] {
            ensure!(list.contains(real), "{real} is not listed");
        }
        self.show(Node::Lvs1, &["list", "-n", "--stats"])?;
        Ok(())
    }

    fn reload(&mut self) -> anyhow::Result<()> {
        self.chapter("A weight is changed by a reload: web1 gets four times as much as before")?;
        self.configure(4)?;
        self.show(Node::Lvs1, &["reload"])?;
        let served = self.round()?;
        let web1 = served.iter().filter(|name| *name == "web1").count();
        ensure!(web1 == 16, "web1 served {web1} of {REQUESTS}, not two thirds");
        Ok(())
    }

    fn killed(&mut self, director: &mut Director) -> anyhow::Result<()> {
        self.chapter("The daemon is killed and started again, and the configuration reloaded, under load")?;
        let plan = LoadPlan::new(self.lab.web(Family::V4));
        let loads = [Connections::New, Connections::KeepAlive].map(|connections| {
            Load::start(&self.lab, Node::Client, LoadPlan { connections, ..plan.clone() })
        });
        let loads = loads.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        let pass = |count| loads.iter().all(|load| load.pass(count, PATIENCE));
        ensure!(pass(50), "the load does not run");
        say(&format!("[lvs1]# kill -9 {}", director.pid))?;
        director.kill()?;
        ensure!(pass(100), "traffic stopped without the daemon");
        *director = self.up()?;
        ensure!(pass(50), "traffic stopped when the daemon took over");
        self.configure(1)?;
        self.show(Node::Lvs1, &["reload"])?;
        ensure!(pass(50), "traffic stopped after the reload");
        for load in loads {
            let report = load.stop()?;
            say(&format!("{} requests, {} failed", report.ok + report.failed, report.failed))?;
            if report.failed > 0 {
                bail!("requests failed: {}", report.errors.join("; "));
            }
        }
        Ok(())
    }

    fn down(&mut self) -> anyhow::Result<()> {
        self.chapter("Down: nothing is left behind")?;
        self.show(Node::Lvs1, &["down"])?;
        for web in [Node::Web1, Node::Web2] {
            self.show(web, &["realserver", "stop"])?;
        }
        for left in ["/run/lbctl/lvs1", "/sys/fs/bpf/lbctl/lvs1"] {
            ensure!(!Path::new(left).exists(), "{left} is still there");
        }
        let addresses = self.lab.exec(Node::Lvs1, ["ip", "-brief", "address"])?;
        ensure!(!addresses.contains("192.168.4.15"), "the virtual address is still there: {addresses}");
        Ok(())
    }
}

/// The detached daemon.
struct Director {
    pid: String,
}

impl Director {
    fn kill(&self) -> anyhow::Result<()> {
        let status = std::process::Command::new("kill").args(["-9", &self.pid]).status()?;
        ensure!(status.success(), "process {} cannot be killed", self.pid);
        Ok(())
    }
}
