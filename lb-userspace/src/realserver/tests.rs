//! The helper against the kernel, in private network namespaces.

use std::net::{SocketAddr, TcpListener, TcpStream};

use clap::Parser;
use tempfile::TempDir;

use super::*;
use crate::net::{
    neighbours::{Neighbours, Reason, Resolution},
    testing::{Namespace, PATIENCE, director_and_web, skip_without_root},
};

mod records;
mod tunnels;

fn vips(text: &str) -> BTreeSet<IpAddr> {
    text.split_whitespace().map(|vip| vip.parse().unwrap()).collect()
}

fn options(run_dir: &TempDir, vips_text: &str) -> Options {
    Options {
        instance: "web".into(),
        run_dir: run_dir.path().to_owned(),
        vips: vips(vips_text),
        tunnel: None,
    }
}

/// Everything the helper may change.
fn snapshot(namespace: &Namespace) -> Vec<String> {
    let mut all: Vec<String> =
        host::SETTINGS.iter().map(|(name, _)| format!("{name} {}", namespace.sysctl(name))).collect();
    all.extend(namespace.ip("-o addr show").lines().map(str::to_owned));
    all
}

fn start_in(namespace: &Namespace, options: &Options) -> Result<Report, RealserverError> {
    namespace.block_on(|| start(options))
}

fn stop_in(namespace: &Namespace, options: &Options) -> Result<Report, RealserverError> {
    namespace.block_on(|| stop(options))
}

fn status_in(namespace: &Namespace, options: &Options) -> Status {
    namespace.block_on(|| status(options)).unwrap()
}

/// A web node that somebody has set up a little already.
fn lived_in() -> Namespace {
    let web = Namespace::new();
    web.set_sysctl("net/ipv4/conf/lo/arp_ignore", "2");
    web.set_sysctl("net/ipv4/conf/all/arp_announce", "1");
    web.set_sysctl("net/ipv4/conf/all/arp_ignore", "1");
    web.ip("addr add 192.168.4.16/32 dev lo label lo:0");
    web
}

#[test]
fn privileged_stop_restores_exactly_what_start_found() {
    if skip_without_root("privileged_stop_restores_exactly_what_start_found") {
        return;
    }
    let (web, run_dir) = (lived_in(), TempDir::new().unwrap());
    let found = snapshot(&web);
    let options = options(&run_dir, "192.168.4.15 192.168.4.16 2001:db8::15");

    let report = start_in(&web, &options).unwrap();
    assert_eq!(
        report.done,
        [
            "net.ipv4.conf.lo.arp_ignore: 2 -> 1",
            "net.ipv4.conf.all.arp_announce: 1 -> 2",
            "net.ipv4.conf.lo.arp_announce: 0 -> 2",
            "192.168.4.15/32: added to lo as lo:vip0",
            "2001:db8::15/128: added to lo",
        ]
    );
    let shown = web.ip("addr show dev lo");
    assert!(shown.contains("inet 192.168.4.15/32 scope host lo:vip0"), "{shown}");
    assert!(status_in(&web, &options).ok);

    let started = snapshot(&web);
    assert_eq!(start_in(&web, &options).unwrap(), Report::default(), "the second start does nothing");
    assert_eq!(snapshot(&web), started);

    let more = Options { vips: vips("192.168.4.17"), ..options.clone() };
    assert_eq!(start_in(&web, &more).unwrap().done, ["192.168.4.17/32: added to lo as lo:vip1"]);
    let all = Options { vips: BTreeSet::new(), ..options };
    assert_eq!(status_in(&web, &all).items.iter().filter(|item| item.found == "on lo").count(), 4);

    assert_eq!(stop_in(&web, &more).unwrap().done, ["192.168.4.17/32: removed from lo"]);
    assert_eq!(snapshot(&web), started, "the others stay");
    stop_in(&web, &all).unwrap();
    assert_eq!(snapshot(&web), found);
    assert_eq!(stop_in(&web, &all).unwrap().done, [""; 0], "the second stop does nothing");
    assert_eq!(snapshot(&web), found);
    assert!(!run_dir.path().join("web").exists(), "no record is left");
    assert!(!status_in(&web, &all).ok);
}

#[test]
fn privileged_a_crash_at_any_step_loses_nothing() {
    if skip_without_root("privileged_a_crash_at_any_step_loses_nothing") {
        return;
    }
    /// Lets `left` steps pass, then ends.
    fn killed_after(mut left: usize) -> impl FnMut(&Step) -> Result<(), RealserverError> + Send {
        move |_| {
            left = left.checked_sub(1).ok_or(RealserverError::Killed)?;
            Ok(())
        }
    }
    let crash_start = |web: &Namespace, options: &Options, left| {
        web.block_on(
            || async move { start_with(options, &Netlink::open().unwrap(), killed_after(left)).await },
        )
    };
    let crash_stop = |web: &Namespace, options: &Options, left| {
        web.block_on(
            || async move { stop_with(options, &Netlink::open().unwrap(), killed_after(left)).await },
        )
    };
    let (web, run_dir) = (lived_in(), TempDir::new().unwrap());
    let options = options(&run_dir, "192.168.4.15 192.168.4.16 2001:db8::15");
    let found = snapshot(&web);
    start_in(&web, &options).unwrap();
    let started = snapshot(&web);
    stop_in(&web, &options).unwrap();

    let mut crashes = 0;
    for left in 0.. {
        let first = crash_start(&web, &options, left);
        stop_in(&web, &options).unwrap();
        assert_eq!(snapshot(&web), found, "start killed after {left} steps, then stop");

        let second = crash_start(&web, &options, left);
        start_in(&web, &options).unwrap();
        assert_eq!(snapshot(&web), started, "start killed after {left} steps, then start");

        let third = crash_stop(&web, &options, left);
        start_in(&web, &options).unwrap();
        assert_eq!(snapshot(&web), started, "stop killed after {left} steps, then start");

        let fourth = crash_stop(&web, &options, left);
        stop_in(&web, &options).unwrap();
        assert_eq!(snapshot(&web), found, "stop killed after {left} steps, then stop");

        let killed = [first, second, third, fourth]
            .iter()
            .filter(|r| matches!(r, Err(RealserverError::Killed)))
            .count();
        crashes += killed;
        if killed == 0 {
            break;
        }
    }
    assert!(crashes >= 4 * 5, "only {crashes} crashes: the plans are longer than that");
}

#[test]
fn privileged_a_value_changed_by_somebody_else_is_left() {
    if skip_without_root("privileged_a_value_changed_by_somebody_else_is_left") {
        return;
    }
    let (web, run_dir) = (Namespace::new(), TempDir::new().unwrap());
    let options = options(&run_dir, "192.168.4.15");
    start_in(&web, &options).unwrap();
    web.set_sysctl("net/ipv4/conf/all/arp_ignore", "2");
    web.ip("addr del 192.168.4.15/32 dev lo");
    let wrong: Vec<String> =
        status_in(&web, &options).items.into_iter().filter(|item| !item.ok).map(|item| item.item).collect();
    assert_eq!(wrong, ["192.168.4.15/32", "net.ipv4.conf.all.arp_ignore"]);
    let report = stop_in(&web, &options).unwrap();
    assert_eq!(
        report.notes,
        ["net.ipv4.conf.all.arp_ignore: is 2, which is not ours; left so (it was 0 before start)"]
    );
    assert_eq!(web.sysctl("net/ipv4/conf/all/arp_ignore"), "2");
    assert_eq!(web.sysctl("net/ipv4/conf/all/arp_announce"), "0");
}

#[test]
fn privileged_only_the_own_address_answers_arp_and_the_vip_serves() {
    if skip_without_root("privileged_only_the_own_address_answers_arp_and_the_vip_serves") {
        return;
    }
    let (director, web) = director_and_web();
    for family in ["ipv4", "ipv6"] {
        director.set_sysctl(&format!("net/{family}/neigh/d0/retrans_time_ms"), "50");
    }
    let until = |address: &str, is_it: fn(&Resolution) -> bool| {
        let address: IpAddr = address.parse().unwrap();
        director.block_on(|| async move {
            let keeper = Neighbours::start().unwrap();
            keeper.set_wanted([address].into());
            let mut seen = keeper.resolutions();
            let reached = seen.wait_for(|all| all.get(&address).is_some_and(is_it));
            assert!(tokio::time::timeout(PATIENCE, reached).await.is_ok(), "{address}: not as wanted");
        });
    };
    let answers = |r: &Resolution| matches!(r, Resolution::Resolved { .. });
    let is_silent = |r: &Resolution| *r == Resolution::Unresolved { reason: Reason::NoAnswer };
    // Without the helper the web node takes the VIP: the problem to solve.
    web.ip("addr add 192.168.4.15/32 dev lo");
    until("192.168.4.15", answers);
    web.ip("addr del 192.168.4.15/32 dev lo");
    director.ip("neigh flush dev d0");

    let run_dir = TempDir::new().unwrap();
    start_in(&web, &options(&run_dir, "192.168.4.15 fd00:4::15")).unwrap();
    for (vip, own) in [("192.168.4.15", "192.168.4.100"), ("fd00:4::15", "fd00:4::100")] {
        until(own, answers);
        until(vip, is_silent);
        director.ip(&format!("neigh replace {vip} lladdr 02:00:00:00:00:64 dev d0 nud permanent"));
        let address = SocketAddr::new(vip.parse().unwrap(), 80);
        let listener = web.run(|| TcpListener::bind(address)).unwrap();
        let stream = director.run(|| TcpStream::connect_timeout(&address, PATIENCE)).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        drop(listener);
        // Its own connections do not carry the VIP, though it is the only address of lo.
        let own_source: IpAddr = own.parse().unwrap();
        let peer: SocketAddr =
            if own_source.is_ipv4() { "192.168.4.1:9".parse() } else { "[fd00:4::1]:9".parse() }.unwrap();
        let source = web.run(|| {
            let socket =
                std::net::UdpSocket::bind(if own_source.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
            socket.connect(peer).unwrap();
            socket.local_addr().unwrap().ip()
        });
        assert_eq!(source, own_source);
    }
}

#[test]
fn privileged_everything_in_the_way_is_named_at_once() {
    if skip_without_root("privileged_everything_in_the_way_is_named_at_once") {
        return;
    }
    let (_director, web) = director_and_web();
    let run_dir = TempDir::new().unwrap();
    web.ip("addr add 192.168.4.15/24 dev w0");
    web.ip("addr add 192.168.5.15/24 dev lo");
    web.ip("link set lo down");
    web.set_sysctl("net/ipv6/conf/lo/disable_ipv6", "1");
    let found = snapshot(&web);
    let error = start_in(&web, &options(&run_dir, "192.168.4.15 192.168.5.15 2001:db8::15")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "real server: cannot go on, nothing was changed:\n  \
         - lo: is down, so its addresses are not used: ip link set lo up\n  \
         - 192.168.4.15: is on w0 already, where this host answers ARP for it and takes it from the director: ip address del 192.168.4.15/24 dev w0\n  \
         - 192.168.5.15: is on lo with prefix /24, which makes the whole network local to this host: ip address del 192.168.5.15/24 dev lo\n  \
         - 2001:db8::15: IPv6 is switched off on lo: sysctl -w net.ipv6.conf.lo.disable_ipv6=0"
    );
    assert_eq!(snapshot(&web), found);
    assert!(!run_dir.path().join("web").exists());
    let status = status_in(&web, &options(&run_dir, "192.168.4.15"));
    let on_w0 = status.items.iter().find(|item| item.item == "192.168.4.15/32").unwrap();
    assert_eq!(on_w0.remedy.as_deref(), Some("ip address del 192.168.4.15/24 dev w0"));
    assert!(on_w0.found.starts_with("is on w0 already"), "{on_w0:?}");
}

#[test]
fn privileged_an_interface_that_overrules_arp_ignore_is_noted() {
    if skip_without_root("privileged_an_interface_that_overrules_arp_ignore_is_noted") {
        return;
    }
    let (_director, web) = director_and_web();
    let (run_dir, name) = (TempDir::new().unwrap(), "net/ipv4/conf/w0/arp_ignore");
    let options = options(&run_dir, "192.168.4.15");
    for (value, part) in
        [("0", None), ("2", None), ("4", Some("may answer ARP")), ("8", Some("answers no ARP"))]
    {
        web.set_sysctl(name, value);
        let report = start_in(&web, &options).unwrap();
        let status = status_in(&web, &options);
        assert_eq!(status.ok, part.is_none(), "{value}: {status:?}");
        match part {
            None => assert!(report.notes.is_empty(), "{value}: {report:?}"),
            Some(part) => assert!(report.notes[0].contains(part), "{value}: {report:?}"),
        }
    }
    assert_eq!(web.sysctl(name), "8", "an interface's own setting is not ours");
}

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    realserver: cli::RealserverArgs,
}

#[test]
fn privileged_the_command_line_says_what_it_did() {
    if skip_without_root("privileged_the_command_line_says_what_it_did") {
        return;
    }
    let (web, run_dir) = (Namespace::new(), TempDir::new().unwrap());
    let run_dir = run_dir.path().to_str().unwrap();
    let run = |line: &str| {
        let cli =
            Cli::try_parse_from(format!("lbctl {line} --run-dir {run_dir}").split_whitespace()).unwrap();
        let mut out = Vec::new();
        let from_file = |_: &std::path::Path| Ok(vec!["192.168.4.15".parse().unwrap()]);
        let code = web.block_on(|| cli::run(&cli.realserver, from_file, &mut out)).unwrap();
        (code, String::from_utf8(out).unwrap())
    };
    let (code, text) = run("status");
    assert_eq!(code, 1);
    assert!(
        text.contains("WRONG  real server  not started") && text.contains("remedy: lbctl realserver start"),
        "{text}"
    );
    let (code, text) = run("start -c lbctl.toml --vip 2001:db8::15");
    assert_eq!(code, 0);
    assert!(
        text.ends_with("192.168.4.15/32: added to lo as lo:vip0\n2001:db8::15/128: added to lo\n"),
        "{text}"
    );
    assert_eq!(run("start"), (0, "nothing to do\n".to_owned()));
    let (code, text) = run("status --json");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &json["ok"]), (0, &true.into()), "{text}");
    assert_eq!(json["schema"], "lbctl/realserver/v1");
    web.ip("addr del 192.168.4.15/32 dev lo");
    let (code, text) = run("status");
    assert_eq!(code, 1);
    assert!(text.contains("WRONG  192.168.4.15/32 "), "{text}");
    assert!(text.contains("remedy: lbctl realserver start --vip 192.168.4.15\n"), "{text}");
    assert_eq!(run("stop").0, 0);
    assert!(run("stop").1.contains("nothing was started"));
}

#[test]
fn addresses_that_cannot_be_vips_and_bad_instance_names_are_refused() {
    let run_dir = TempDir::new().unwrap();
    let refused =
        "0.0.0.0 127.0.0.53 224.0.0.18 169.254.1.1 255.255.255.255 :: ::1 ff02::1 fe80::1 ::ffff:10.0.0.1";
    let problems = plan::problems_of_arguments(&options(&run_dir, refused));
    assert_eq!(problems.len(), refused.split_whitespace().count(), "{problems:?}");
    assert_eq!(plan::problems_of_arguments(&options(&run_dir, "10.0.0.1 2001:db8::1 fd00::1")), []);
    for (name, is_good) in
        [("web-1.example_b", true), ("", false), ("..", false), ("a/b", false), (".hidden", false)]
    {
        let options = Options { instance: name.into(), ..options(&run_dir, "10.0.0.1") };
        assert_eq!(plan::problems_of_arguments(&options).is_empty(), is_good, "{name:?}");
    }
}
