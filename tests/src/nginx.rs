//! nginx on a web node: its own configuration, process id and logs, nothing of the machine's.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::director::patience;
use crate::lab::Lab;
use crate::netns;
use crate::topology::{Family, Node};
use crate::wait_until;

/// Size of `/big` and `/slow`, in bytes. The file is a hole and takes no space.
const BIG: u64 = 64 << 20;

/// Ends the nginx of a node; returns when its port refuses.
///
/// # Errors
/// There is none, or it does not end.
pub fn stop(lab: &Lab, node: Node) -> anyhow::Result<()> {
    let pid = fs::read_to_string(dir(node, lab.dir()).join("nginx.pid"))?;
    kill(Pid::from_raw(pid.trim().parse()?), Signal::SIGTERM)?;
    let address = lab.address(node, Family::V4).with_context(|| format!("{node} is not in the lab"))?;
    let url = format!("http://{address}/");
    let refuses = || {
        let asked = lab.output(Node::Lvs1, ["curl", "-s", "--max-time", "5", &url]);
        asked.is_ok_and(|output| !output.status.success())
    };
    anyhow::ensure!(wait_until(patience(20), refuses), "nginx on {node} does not end");
    Ok(())
}

/// Starts the nginx of a node that was stopped, with its configuration as it is in the lab's directory.
///
/// # Errors
/// It does not start.
pub fn start_again(lab: &Lab, node: Node) -> anyhow::Result<()> {
    let dir = dir(node, lab.dir());
    let (config, log) = (dir.join("nginx.conf"), dir.join("error.log"));
    let words =
        ["nginx".as_ref(), "-p".as_ref(), dir.as_os_str(), "-c".as_ref(), config.as_os_str(), "-e".as_ref()];
    lab.exec(node, words.into_iter().chain([log.as_os_str()])).map(drop)
}

/// Starts nginx. It returns when the ports listen, because nginx binds them before it goes to the background.
pub(crate) fn start(node: Node, lab_dir: &Path) -> anyhow::Result<()> {
    let dir = dir(node, lab_dir);
    let html = dir.join("html");
    fs::create_dir_all(&html).with_context(|| html.display().to_string())?;
    for temporary in ["body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        fs::create_dir_all(dir.join(temporary))?;
    }
    fs::write(html.join("index.html"), format!("{node}\n"))?;
    File::create(html.join("big"))?.set_len(BIG)?;
    let config = dir.join("nginx.conf");
    fs::write(&config, configuration(node, &dir)).with_context(|| config.display().to_string())?;
    let mut nginx = Command::new("nginx");
    nginx.arg("-p").arg(&dir).arg("-c").arg(&config).arg("-e").arg(dir.join("error.log"));
    netns::enter(node.name(), || netns::run(&mut nginx))?
        .with_context(|| format!("nginx on {node}; if it is missing, apt install nginx-light"))?;
    Ok(())
}

fn dir(node: Node, lab_dir: &Path) -> PathBuf {
    lab_dir.join(node.name())
}

/// One worker, as root because only root reads the lab's directory; connections stay open for as long as the client
/// wants, so that a connection that ends early is the network's fault.
fn configuration(node: Node, dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "user root;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
events {{ worker_connections 16384; }}
worker_rlimit_nofile 20000;
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    default_type text/plain;
    sendfile on;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    server {{
        listen 80 backlog=4096;
        listen [::]:80 ipv6only=on backlog=4096;
        root {dir}/html;
        add_header X-Server {node} always;
        location = /slow {{ alias {dir}/html/big; limit_rate 1m; }}
    }}
}}
"
    )
}
