//! The lab itself: addresses, web servers, load, and that nothing of it is left behind. All tests need root.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use anyhow::Context;
use lb_tests::{
    Connections, Echo, Family, LAB_DIR, Lab, Load, LoadPlan, Node, Remains, Topology, isolated,
    may_run_privileged, wait_until,
};

const SOON: Duration = Duration::from_secs(20);

fn url(lab: &Lab, node: Node, family: Family) -> anyhow::Result<String> {
    Ok(format!("http://{}/", SocketAddr::new(lab.address(node, family).context("no such node")?, 80)))
}

fn web_servers_answer(lab: &Lab) -> anyhow::Result<()> {
    for node in lab.nodes().into_iter().filter(|node| node.is_web()) {
        for family in [Family::V4, Family::V6] {
            let url = url(lab, node, family)?;
            assert_eq!(lab.curl_sequence(&url, 3)?, [node.name(); 3], "{url}");
        }
    }
    Ok(())
}

#[test]
fn one_armed_web_servers_answer() {
    isolated("one_armed_web_servers_answer", || {
        let lab = Lab::builder().web3(true).up()?;
        assert_eq!(lab.nodes().len(), 6);
        web_servers_answer(&lab)?;
        let unused = url(&lab, Node::Lvs1, Family::V4)?;
        let answer = &lab.curl_sequence(&unused, 1)?[0];
        assert!(answer.starts_with("failed: curl: (7)"), "nobody listens there: {answer}");
        lab.down()
    });
}

/// Direct routing by hand: the director routes the virtual address to a real server that has it on its loopback device,
/// whose replies take the router.
#[test]
fn two_armed_replies_reach_the_client() {
    isolated("two_armed_replies_reach_the_client", || {
        let lab = Lab::builder().topology(Topology::TwoArmed).up()?;
        web_servers_answer(&lab)?;
        lab.exec(Node::Lvs1, ["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])?;
        lab.exec(Node::Lvs1, ["sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"])?;
        for (family, node) in [(Family::V4, Node::Web1), (Family::V6, Node::Web2)] {
            let vip = &lab.vip(family).to_string();
            let director = &lab.address(Node::Lvs1, family).context("lvs1")?.to_string();
            let server = &lab.address(node, family).context("real server")?.to_string();
            lab.exec(node, ["ip", "addr", "add", vip, "dev", "lo"])?;
            lab.exec(Node::Lvs1, ["ip", "route", "add", vip, "via", server])?;
            lab.exec(Node::Client, ["ip", "route", "add", vip, "via", director])?;
            let url = format!("http://{}/", lab.web(family));
            assert_eq!(lab.curl_sequence(&url, 3)?, [node.name(); 3], "{url}");
        }
        lab.down()
    });
}

#[test]
fn nodes_have_their_macs_and_no_tentative_addresses() {
    isolated("nodes_have_their_macs_and_no_tentative_addresses", || {
        let lab = Lab::builder().up()?;
        let show = lab.exec(Node::Web2, ["ip", "addr", "show", "dev", "eth0"])?;
        for part in ["02:00:00:00:04:c8", "192.168.4.200/24", "2001:db8:4::200/64", "fe80::ff:fe00:4c8/64"] {
            assert!(show.contains(part), "{part} in {show}");
        }
        assert!(!show.contains("tentative"), "{show}");
        let features = lab.exec(Node::Client, ["ethtool", "-k", "eth0"])?;
        for feature in
            ["tx-checksumming: off", "tcp-segmentation-offload: off", "generic-segmentation-offload: off"]
        {
            assert!(features.contains(feature), "{features}");
        }
        let devices = Command::new("ip").args(["-brief", "link"]).output()?.stdout;
        assert_eq!(String::from_utf8(devices)?.lines().count(), 1, "only lo outside the lab's namespaces");
        let devices = lab.enter(Node::Lvs1, || fs::read_to_string("/proc/thread-self/net/dev"))??;
        assert!(devices.contains("eth0"), "{devices}");
        lab.down()
    });
}

/// What a node sends right after `up` is sent; a device that still waits for its carrier would drop it.
#[test]
fn first_packets_are_not_lost() {
    isolated("first_packets_are_not_lost", || {
        for round in 0..25 {
            let lab = Lab::builder().nginx(false).up()?;
            for node in lab.nodes() {
                let dropped = lab.enter(node, || -> anyhow::Result<u64> {
                    // Transmit drops of eth0: the twelfth number of its line.
                    let dropped = || -> anyhow::Result<u64> {
                        let devices = fs::read_to_string("/proc/thread-self/net/dev")?;
                        let line = devices.lines().find_map(|line| line.trim().strip_prefix("eth0:"));
                        Ok(line.and_then(|line| line.split_whitespace().nth(11)).context("eth0")?.parse()?)
                    };
                    let before = dropped()?;
                    let socket = UdpSocket::bind("0.0.0.0:0")?;
                    socket.set_broadcast(true)?;
                    for _ in 0..20 {
                        socket.send_to(b"?", "192.168.4.255:9")?;
                    }
                    Ok(dropped()? - before)
                })??;
                assert_eq!(dropped, 0, "{node} in round {round}");
            }
            lab.down()?;
        }
        Ok(())
    });
}

/// The peer of a director's interface has a native program, and the option leaves it out.
#[test]
fn pass_program_is_native_and_optional() {
    isolated("pass_program_is_native_and_optional", || {
        let port = ["ip", "netns", "exec", "lbhub", "ip", "link", "show", "dev", "lvs1-eth0"];
        for is_wanted in [true, false] {
            let lab = Lab::builder().pass_program(is_wanted).nginx(false).up()?;
            let show = Command::new(port[0]).args(&port[1..]).output()?;
            let show = String::from_utf8(show.stdout)?;
            assert_eq!(show.contains(" xdp ") && show.contains("prog/xdp id"), is_wanted, "{show}");
            lab.down()?;
        }
        Ok(())
    });
}

#[test]
fn load_counts_answers_and_failures() {
    isolated("load_counts_answers_and_failures", || {
        let lab = Lab::builder().up()?;
        let address = SocketAddr::new(lab.address(Node::Web1, Family::V4).context("web1")?, 80);
        for connections in [Connections::New, Connections::KeepAlive] {
            let plan = LoadPlan { connections, pause: Duration::ZERO, ..LoadPlan::new(address) };
            let load = Load::start(&lab, Node::Client, plan)?;
            assert!(load.pass(5000, SOON), "{:?}", load.so_far());
            let report = load.stop()?;
            assert_eq!((report.failed, &report.errors), (0, &vec![]));
            assert_eq!(report.by_server.keys().collect::<Vec<_>>(), ["web1"]);
            assert_eq!(report.by_server["web1"], report.ok);
            assert!(report.max_latency > Duration::ZERO);
        }
        let load = Load::start(&lab, Node::Client, LoadPlan::new(address))?;
        assert!(load.pass(100, SOON));
        lab.exec(Node::Web1, ["ip", "link", "set", "eth0", "down"])?;
        assert!(wait_until(SOON, || load.so_far().failed > 0), "a dead server is seen");
        let report = load.stop()?;
        assert!(report.errors[0].contains("at "), "{report:?}");
        lab.down()
    });
}

#[test]
fn big_file_comes_whole() {
    isolated("big_file_comes_whole", || {
        let lab = Lab::builder().up()?;
        let url = url(&lab, Node::Web2, Family::V6)? + "big";
        let size = ["curl", "-sg", "--output", "/dev/null", "--write-out", "%{size_download}", &url];
        assert_eq!(lab.exec(Node::Client, size)?, (64 << 20).to_string());
        lab.down()
    });
}

#[test]
fn echo_servers_answer() {
    isolated("echo_servers_answer", || {
        let lab = Lab::builder().nginx(false).up()?;
        for family in [Family::V4, Family::V6] {
            let address = lab.address(Node::Web1, family).context("web1")?;
            let _echo = Echo::start(&lab, Node::Web1, address)?;
            lab.enter(Node::Client, || -> anyhow::Result<()> {
                let mut tcp = TcpStream::connect((address, 7))?;
                tcp.set_read_timeout(Some(SOON))?;
                tcp.write_all(b"over tcp")?;
                let mut reply = [0; 13];
                tcp.read_exact(&mut reply)?;
                assert_eq!(&reply, b"web1\nover tcp");
                let own = lab.address(Node::Client, family).context("client")?;
                let udp = UdpSocket::bind((own, 0))?;
                udp.set_read_timeout(Some(SOON))?;
                udp.send_to(b"over udp", (address, 7))?;
                let (count, from) = udp.recv_from(&mut reply)?;
                assert_eq!((&reply[..count], from), (&b"web1 over udp"[..], SocketAddr::new(address, 7)));
                Ok(())
            })??;
        }
        lab.down()
    });
}

#[test]
fn commands_and_processes() {
    isolated("commands_and_processes", || {
        let lab = Lab::builder().nginx(false).up()?;
        assert_eq!(lab.exec(Node::Lvs2, ["sh", "-c", "echo $LBCTL_INSTANCE"])?, "lvs2\n");
        let error = lab.exec(Node::Client, ["sh", "-c", "echo why >&2; exit 3"]).unwrap_err();
        assert!(format!("{error:#}").contains("why"), "{error:#}");
        assert_eq!(lab.output(Node::Client, ["sh", "-c", "exit 3"])?.status.code(), Some(3));

        let mut process = lab.spawn(Node::Client, ["sh", "-c", "echo ready; exec sleep 1000"])?;
        assert!(wait_until(SOON, || process.log() == "ready\n"));
        assert!(process.is_running());
        assert!(process.wait(Duration::ZERO).is_err());
        process.kill()?;
        assert!(!process.is_running());
        lab.down()
    });
}

/// `down` ends what runs in the lab, removes what instances left, and keeps what others made.
#[test]
fn down_removes_what_the_lab_made_and_no_more() {
    isolated("down_removes_what_the_lab_made_and_no_more", || {
        assert!(Command::new("ip").args(["netns", "add", "other"]).status()?.success());
        fs::create_dir_all("/run/lbctl/default")?;
        let lab = Lab::builder().up()?;
        let mut process = lab.spawn(Node::Lvs1, ["sh", "-c", "trap '' TERM; echo ready; sleep 1000"])?;
        assert!(wait_until(SOON, || process.log() == "ready\n"));
        fs::create_dir_all("/run/lbctl/lvs1")?;
        fs::create_dir_all("/sys/fs/bpf/lbctl/lvs1/maps")?;
        // Pins without a runtime directory in this /run can be somebody else's, who shares the bpffs only.
        fs::create_dir_all("/sys/fs/bpf/lbctl/lvs2/maps")?;
        lab.keep();

        let found = Remains::look()?;
        assert_eq!(found.namespaces.len(), 6, "{found:?}");
        found.remove()?;
        assert!(!process.is_running());
        assert!(Remains::look()?.is_empty());
        let left: Vec<_> = fs::read_dir("/run/netns")?.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["other"]);
        assert!(fs::exists("/run/lbctl/default")? && !fs::exists("/run/lbctl/lvs1")?);
        assert!(!fs::exists("/sys/fs/bpf/lbctl/lvs1")? && !fs::exists(LAB_DIR)?);
        assert!(fs::exists("/sys/fs/bpf/lbctl/lvs2/maps")?, "not proven to be the lab's");
        let error = Lab::builder().up().unwrap_err().to_string();
        assert!(error.contains("/sys/fs/bpf/lbctl/lvs2"), "{error}");
        Ok(())
    });
}

#[test]
fn names_of_others_are_refused() {
    isolated("names_of_others_are_refused", || {
        assert!(Command::new("ip").args(["netns", "add", "web1"]).status()?.success());
        let error = Lab::builder().up().unwrap_err().to_string();
        assert!(error.contains("ip netns delete web1"), "{error}");
        assert!(Remains::look()?.is_empty() && fs::exists("/run/netns/web1")?);
        assert!(Command::new("ip").args(["netns", "delete", "web1"]).status()?.success());

        fs::create_dir_all("/run/lbctl/lvs2")?;
        let error = Lab::builder().up().unwrap_err().to_string();
        assert!(error.contains("/run/lbctl/lvs2"), "{error}");
        fs::remove_dir("/run/lbctl/lvs2")?;

        let lab = Lab::builder().nginx(false).up()?;
        let error = Lab::builder().up().unwrap_err().to_string();
        assert!(error.contains("already up"), "{error}");
        assert_eq!(Lab::attach()?.context("the lab is up")?.topology(), Topology::OneArmed);
        lab.down()?;
        assert!(Lab::attach()?.is_none());
        Ok(())
    });
}

/// Builds a lab in a process that is killed as soon as a certain file appears; the next lab comes up whatever was left,
/// and removal leaves nothing.
#[test]
fn interrupted_labs_are_cleaned_up() {
    let test = "interrupted_labs_are_cleaned_up";
    if env::var_os("LBCTL_TEST_BUILD_AND_WAIT").is_some() {
        Lab::builder().up().unwrap().keep();
        return;
    }
    isolated(test, || {
        let landmarks = [
            "/run/lbctl-lab/state.json",
            "/run/netns/lbhub",
            "/run/netns/client",
            "/run/netns/lvs2",
            "/run/netns/web2",
            "/run/lbctl-lab/web1/nginx.conf",
            "/run/lbctl-lab/web1/nginx.pid",
            "/run/lbctl-lab/web2/nginx.conf",
        ];
        let mut were_partial = 0;
        for landmark in landmarks {
            for is_rebuilt in [true, false] {
                let mut builder = Command::new(env::current_exe()?)
                    .args(["--exact", test])
                    .env("LBCTL_TEST_BUILD_AND_WAIT", "1")
                    .stdout(Stdio::null())
                    .spawn()?;
                while !fs::exists(landmark)? && builder.try_wait()?.is_none() {
                    std::thread::yield_now();
                }
                builder.kill()?;
                builder.wait()?;
                if Lab::attach()?.is_none() {
                    were_partial += 1;
                    if is_rebuilt {
                        Lab::builder().nginx(false).up()?.keep();
                        assert!(Lab::attach()?.is_some(), "after {landmark}");
                    }
                }
                assert!(!Remains::look()?.is_empty());
                Remains::look()?.remove()?;
                assert!(Remains::look()?.is_empty(), "after {landmark}");
            }
        }
        assert!(were_partial > landmarks.len(), "hit while building: {were_partial}");
        Ok(())
    });
}

/// Two sandboxes at once, each with a whole lab of the same names; the one that is killed with SIGKILL leaves no process,
/// and nothing that the machine, or the other one, could see.
#[test]
fn killed_test_leaves_nothing() {
    let test = "killed_test_leaves_nothing";
    if env::var_os("LBCTL_TEST_HANG").is_some() {
        return isolated(test, || {
            let lab = Lab::builder().up()?;
            let mark = env::var("LBCTL_TEST_HANG")?;
            let _sleeper = lab.spawn(Node::Lvs1, ["sleep", &mark])?;
            // The name of a file outside says that all is up.
            fs::write(env::var("LBCTL_TEST_READY")?, "")?;
            loop {
                std::thread::park();
            }
        });
    }
    if !may_run_privileged(test) {
        return;
    }
    // An argument of sleep that nobody else uses, to find the process by.
    let mark = format!("9{}.25", std::process::id());
    let ready = env::temp_dir().join(format!("lbctl-ready-{mark}"));
    let names_before = names_outside();
    let mut outer = Command::new(env::current_exe().unwrap())
        .args(["--exact", test])
        .env("LBCTL_TEST_HANG", &mark)
        .env("LBCTL_TEST_READY", &ready)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert!(wait_until(SOON, || ready.exists()), "the sandboxed lab comes up");
    fs::remove_file(&ready).unwrap();
    assert!(wait_until(SOON, || sleepers(&mark) == 1));
    let beside = Command::new(env::current_exe().unwrap())
        .args(["--exact", "one_armed_web_servers_answer"])
        .output()
        .unwrap();
    assert!(beside.status.success(), "{}", String::from_utf8_lossy(&beside.stdout));
    assert_eq!(names_outside(), names_before, "the lab cannot be seen from outside");

    outer.kill().unwrap();
    outer.wait().unwrap();
    assert!(wait_until(SOON, || sleepers(&mark) == 0), "the kernel ended everything inside");
    assert_eq!(names_outside(), names_before);
}

fn names_outside() -> BTreeSet<String> {
    let list = |dir: &str| fs::read_dir(dir).into_iter().flatten().flatten();
    let names = ["/run", "/run/netns", "/run/lbctl", LAB_DIR, "/sys/fs/bpf"];
    names.into_iter().flat_map(|dir| list(dir).map(|entry| entry.path().display().to_string())).collect()
}

fn sleepers(mark: &str) -> usize {
    let is_sleeper = |pid: &str| {
        let Ok(file) = fs::File::open(format!("/proc/{pid}/cmdline")) else { return false };
        let words: Vec<_> = BufReader::new(file).split(0).map_while(Result::ok).collect();
        words == [b"sleep".to_vec(), mark.as_bytes().to_vec()]
    };
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_sleeper)).count()
}

/// A name that is no test must not pass by running nothing.
#[test]
fn misspelled_name_fails() {
    if !may_run_privileged("misspelled_name_fails") {
        return;
    }
    let result = std::panic::catch_unwind(|| isolated("no_such_test", || Ok(())));
    let message = *result.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("names no test"), "{message}");
}

#[test]
fn failure_inside_is_a_failure_outside() {
    let test = "failure_inside_is_a_failure_outside";
    if !may_run_privileged(test) {
        return;
    }
    let result = std::panic::catch_unwind(|| isolated(test, || anyhow::bail!("on purpose")));
    if env::var_os("LBCTL_TEST_ISOLATED").is_some() {
        std::panic::resume_unwind(result.unwrap_err());
    }
    let message = *result.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("on purpose"), "{message}");
}
