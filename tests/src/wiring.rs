//! From a topology to links, addresses and settings: writes `ip -batch` scripts and runs them.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::netns;
use crate::state::State;
use crate::topology::{Family, HUB, Node, Topology};
use crate::{wait_until, xdp_pass};

/// How long a bridge port may take to forward after both its ends came up. There is no spanning tree; it is instant but
/// for the kernel's link watch, which may hold an event back for a second.
const PORTS_FORWARD: Duration = Duration::from_secs(5);

/// Settings of every namespace but the hub, set before it has any device.
const SETTINGS: [(&str, &str); 13] = [
    // Fixed, so that what `lbctl realserver` changes does not depend on the machine.
    ("net/ipv4/conf/all/arp_ignore", "0"),
    ("net/ipv4/conf/all/arp_announce", "0"),
    ("net/ipv4/conf/default/arp_ignore", "0"),
    ("net/ipv4/conf/default/arp_announce", "0"),
    // Replies take another way than requests.
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/ip_forward", "0"),
    // New connections by the thousand.
    ("net/ipv4/ip_local_port_range", "1024 65535"),
    // Addresses are usable at once, and nobody asks for routers. The kernel takes the larger of all and default here.
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/dad_transmits", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/router_solicitations", "0"),
];

/// Makes the namespaces, connects them and waits until every bridge port forwards.
pub(crate) fn build(lab: &State) -> anyhow::Result<()> {
    let nodes = lab.nodes();
    netns::create(HUB)?;
    // The hub only bridges; it must not talk.
    netns::enter(HUB, || set("net/ipv6/conf/default/disable_ipv6", "1"))??;
    for &node in &nodes {
        netns::create(node.name())?;
        netns::enter(node.name(), || SETTINGS.iter().try_for_each(|(key, value)| set(key, value)))??;
    }
    ip_batch(HUB, &hub_links(lab.topology, &nodes))?;
    for &node in &nodes {
        build_node(lab.topology, node)?;
    }
    if lab.has_pass_program {
        let ports = director_ports(lab.topology);
        netns::enter(HUB, || {
            xdp_pass::attach(&ports)?;
            // XDP switches receive merging on; packets should reach the real servers as the director sent them.
            ports.iter().try_for_each(|port| offloads_off(port, &["gro"]))
        })??;
    }
    ip_batch(HUB, &hub_ports(lab.topology, &nodes))?;
    wait_for_ports(nodes.iter().map(|node| lab.topology.interfaces(*node).len()).sum())?;
    nodes.iter().try_for_each(|node| wait_for_interfaces(lab.topology, *node))
}

fn build_node(topology: Topology, node: Node) -> anyhow::Result<()> {
    ip_batch(node.name(), &node_links(topology, node))?;
    netns::enter(node.name(), || {
        if node == Node::Router {
            set("net/ipv4/ip_forward", "1")?;
            return set("net/ipv6/conf/all/forwarding", "1");
        }
        for interface in topology.interfaces(node) {
            // A checksum or segmentation left to the hardware does not survive XDP_TX on a veth: the hub would cut a
            // large packet into segments that still lack their checksums.
            offloads_off(interface.name, &["tx", "tso", "gso"])?;
        }
        Ok(())
    })?
}

/// The hub's end of a node's interface.
fn port(node: Node, interface: &str) -> String {
    format!("{node}-{interface}")
}

fn director_ports(topology: Topology) -> Vec<String> {
    let directors = Node::ALL.into_iter().filter(|node| node.is_director());
    directors
        .flat_map(|node| topology.interfaces(node).into_iter().map(move |i| port(node, i.name)))
        .collect()
}

fn hub_links(topology: Topology, nodes: &[Node]) -> String {
    let mut script = String::new();
    for net in topology.nets() {
        let bridge = net.bridge();
        line(&mut script, format_args!("link add {bridge} type bridge stp_state 0 mcast_snooping 0"));
        line(&mut script, format_args!("link set {bridge} up"));
    }
    for &node in nodes {
        for interface in topology.interfaces(node) {
            let port = port(node, interface.name);
            let mac = interface.mac().map(|byte| format!("{byte:02x}")).join(":");
            let name = interface.name;
            line(
                &mut script,
                format_args!("link add {port} type veth peer name {name} address {mac} netns {node}"),
            );
        }
    }
    script
}

/// Run when the nodes' ends are up, so that the ports have carrier when they join the bridge and forward at once.
fn hub_ports(topology: Topology, nodes: &[Node]) -> String {
    let mut script = String::new();
    for &node in nodes {
        for interface in topology.interfaces(node) {
            let port = port(node, interface.name);
            line(&mut script, format_args!("link set {port} up"));
            line(&mut script, format_args!("link set {port} master {}", interface.net.bridge()));
        }
    }
    script
}

fn node_links(topology: Topology, node: Node) -> String {
    let mut script = String::new();
    for interface in topology.interfaces(node) {
        let name = interface.name;
        line(&mut script, format_args!("link set {name} up"));
        line(&mut script, format_args!("addr add {}/24 dev {name}", interface.address(Family::V4)));
        line(&mut script, format_args!("addr add {}/64 dev {name} nodad", interface.address(Family::V6)));
    }
    for (prefix, gateway) in topology.routes(node) {
        line(&mut script, format_args!("route add {prefix} via {gateway}"));
    }
    script
}

fn line(script: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    writeln!(script, "{text}").ok();
}

fn ip_batch(name: &str, script: &str) -> anyhow::Result<()> {
    netns::enter(name, || {
        let mut ip = Command::new("ip")
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("ip does not start; install iproute2")?;
        // Dropped at the end of the statement, which ends the script. If ip ended early, its own words say more.
        ip.stdin.take().map(|mut stdin| stdin.write_all(script.as_bytes()).ok());
        let output = ip.wait_with_output()?;
        if !output.status.success() {
            bail!("{}in this script:\n{script}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    })?
    .with_context(|| format!("set up {name}"))
}

/// Sets a kernel setting of the calling thread's network namespace.
fn set(key: &str, value: &str) -> anyhow::Result<()> {
    let path = format!("/proc/sys/{key}");
    fs::write(&path, value).with_context(|| format!("write {value} to {path}"))
}

fn offloads_off(device: &str, features: &[&str]) -> anyhow::Result<()> {
    let switches = features.iter().flat_map(|feature| [feature, "off"]);
    netns::run(Command::new("ethtool").args(["-K", device]).args(switches)).map(drop)
}

#[derive(Deserialize)]
struct Port {
    state: String,
}

fn wait_for_ports(expected: usize) -> anyhow::Result<()> {
    let forwarding = || -> anyhow::Result<usize> {
        let json = netns::enter(HUB, || netns::run(Command::new("bridge").args(["-json", "link", "show"])))??;
        let ports: Vec<Port> = serde_json::from_str(&json).context("output of bridge -json link")?;
        Ok(ports.iter().filter(|port| port.state == "forwarding").count())
    };
    let mut last = Ok(0);
    let all_forward = wait_until(PORTS_FORWARD, || {
        last = forwarding();
        last.as_ref().is_ok_and(|count| *count == expected)
    });
    let count = last?;
    if !all_forward {
        bail!("{count} of {expected} bridge ports forward after {PORTS_FORWARD:?}");
    }
    Ok(())
}

#[derive(Deserialize)]
struct Link {
    ifname: String,
    operstate: String,
}

/// The node's ends came up before the hub's, so without carrier, and the kernel lets such a device send only when its
/// link watch has seen the carrier come. Until then it drops every packet, and TCP tries again only a second later.
fn wait_for_interfaces(topology: Topology, node: Node) -> anyhow::Result<()> {
    let expected = topology.interfaces(node).len();
    let up = || -> anyhow::Result<usize> {
        let json =
            netns::enter(node.name(), || netns::run(Command::new("ip").args(["-json", "link", "show"])))??;
        let links: Vec<Link> = serde_json::from_str(&json).context("output of ip -json link")?;
        Ok(links.iter().filter(|link| link.ifname.starts_with("eth") && link.operstate == "UP").count())
    };
    let mut last = Ok(0);
    let all_are_up = wait_until(PORTS_FORWARD, || {
        last = up();
        last.as_ref().is_ok_and(|count| *count == expected)
    });
    let count = last?;
    if !all_are_up {
        bail!("{count} of {expected} interfaces of {node} are operational after {PORTS_FORWARD:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_gets_its_addresses_and_routes() {
        assert_eq!(
            node_links(Topology::TwoArmed, Node::Web2),
            "link set eth0 up\n\
             addr add 192.168.4.200/24 dev eth0\n\
             addr add 2001:db8:4::200/64 dev eth0 nodad\n\
             route add 10.0.0.0/24 via 192.168.4.254\n\
             route add 2001:db8:10::/64 via 2001:db8:4::254\n"
        );
    }

    #[test]
    fn device_names_fit_the_kernel() {
        for node in Node::ALL {
            assert!(port(node, "eth1").len() < 16, "{node}");
        }
    }
}
