//! `lbctl ipvsadm`, `lbctl service` and `lbctl server` on a running director: what they change carries traffic,
//! outlives a restart and a reload, and is refused in ipvsadm's words.

mod as_root {
    use std::fs;
    use std::net::{IpAddr, SocketAddr};
    use std::os::unix::fs::symlink;
    use std::process::Output;

    use anyhow::Context;
    use lb_tests::director::{
        self, Configuration, Director, VirtualServer, patience, run_lbctl, start_real_servers,
    };
    use lb_tests::{Family, Lab, Node, isolated, wait_until};

    /// `ipvsadm` on the first director, by a symbolic link as an operator would make it.
    struct Ipvsadm<'lab> {
        lab: &'lab Lab,
        link: std::path::PathBuf,
    }

    impl<'lab> Ipvsadm<'lab> {
        fn new(lab: &'lab Lab) -> anyhow::Result<Self> {
            let link = lab.dir().join("ipvsadm");
            symlink(director::lbctl()?, &link)?;
            Ok(Self { lab, link })
        }

        fn run(&self, line: &str) -> anyhow::Result<Output> {
            Ok(self.lab.command(Node::Lvs1, &self.link).args(line.split_whitespace()).output()?)
        }

        /// Runs what must succeed; returns what it printed.
        fn ok(&self, line: &str) -> anyhow::Result<String> {
            let output = self.run(line)?;
            anyhow::ensure!(output.status.success(), "ipvsadm {line}: {output:?}");
            Ok(String::from_utf8(output.stdout)?)
        }

        /// Runs what must be refused; returns the exit code and what it said.
        fn refused(&self, line: &str) -> anyhow::Result<(i32, String)> {
            let output = self.run(line)?;
            let code = output.status.code().context("killed")?;
            Ok((code, String::from_utf8(output.stderr)?.trim_end().to_owned()))
        }
    }

    fn text(output: &Output) -> String {
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    fn web(lab: &Lab, node: Node) -> anyhow::Result<IpAddr> {
        lab.address(node, Family::V4).context("no such node")
    }

    /// Who answers, in the order of the answers.
    fn answers(lab: &Lab, address: SocketAddr, requests: usize) -> anyhow::Result<Vec<String>> {
        let url = format!("http://{address}/");
        let one = || Ok(lab.exec(Node::Client, ["curl", "-sS", "--max-time", "20", &url])?.trim().to_owned());
        (0..requests).map(|_| one()).collect()
    }

    #[test]
    fn ipvsadm_makes_virtual_servers_that_carry_traffic() {
        isolated("as_root::ipvsadm_makes_virtual_servers_that_carry_traffic", || {
            let lab = Lab::builder().up()?;
            let vip = lab.web(Family::V4);
            let (web1, web2) = (web(&lab, Node::Web1)?, web(&lab, Node::Web2)?);
            start_real_servers(&lab, &[vip.ip()])?;
            let mut director = Director::up(&lab, Node::Lvs1, &Configuration::new(&["eth0"]))?;
            let ipvsadm = Ipvsadm::new(&lab)?;
            ipvsadm.ok(&format!("-A -t {vip} -s wrr"))?;
            ipvsadm.ok(&format!("-a -t {vip} -r {web1} -g -w 1"))?;
            ipvsadm.ok(&format!("-a -t {vip} -r {web2} -g -w 2"))?;
            let listing = ipvsadm.ok("-Ln")?;
            let lines: Vec<_> = listing.lines().skip(1).collect();
            let (first, second) = (format!("{web1}:80"), format!("{web2}:80"));
            assert_eq!(
                lines,
                [
                    "Prot LocalAddress:Port Scheduler Flags".to_owned(),
                    "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn".to_owned(),
                    format!("TCP  {vip} wrr"),
                    format!("  -> {first:<28} Route   1      0          0         "),
                    format!("  -> {second:<28} Route   2      0          0         "),
                ]
            );
            let six = answers(&lab, vip, 6)?;
            let names = ["web2", "web1", "web2", "web2", "web1", "web2"];
            assert_eq!(six, names, "the order of ipvsadm -A and two -a under wrr 1:2");

            // What was asked for is there after a crash, and after a reload.
            director.kill()?;
            director.up_again()?;
            assert!(director.said().contains("run-time edits"), "{}", director.said());
            answers(&lab, vip, 1)?;
            director.reload(&Configuration::new(&["eth0"]).option("router_id = \"again\""))?;
            answers(&lab, vip, 1)?;

            ipvsadm.ok(&format!("-e -t {vip} -r {web2} -w 0"))?;
            assert_eq!(answers(&lab, vip, 3)?, ["web1"; 3]);
            ipvsadm.ok(&format!("-d -t {vip} -r {web1}"))?;
            ipvsadm.ok("-C")?;
            assert!(!ipvsadm.ok("-Ln")?.contains("TCP"));
            director.down()?;
            assert!(!fs::exists("/run/lbctl/lvs1")?, "down leaves nothing");
            lab.down()
        });
    }

    #[test]
    fn ipvsadm_refuses_in_its_own_words() {
        isolated("as_root::ipvsadm_refuses_in_its_own_words", || {
            let lab = Lab::builder().nginx(false).up()?;
            let director = Director::up(&lab, Node::Lvs1, &Configuration::new(&["eth0"]))?;
            let ipvsadm = Ipvsadm::new(&lab)?;
            // As captured from ipvsadm 1.31 on Linux 6.1: line, exit code, message.
            for (line, code, message) in [
                ("-A -t 192.168.4.15:80 -s wrr", 0, ""),
                ("-A -t 192.168.4.15:80 -s wrr", 255, "Service already exists"),
                ("-a -t 192.168.4.15:80 -r 192.168.4.100:80 -g -w 1", 0, ""),
                ("-a -t 192.168.4.15:80 -r 192.168.4.100:80 -g -w 1", 255, "Destination already exists"),
                ("-e -t 192.168.4.15:80 -r 192.168.4.200:80 -g -w 1", 255, "No such destination"),
                ("-d -t 192.168.4.15:80 -r 192.168.4.200:80", 255, "No such destination"),
                ("-a -t 192.168.4.15:81 -r 192.168.4.200:81 -g", 255, "Service not defined"),
                ("-E -t 192.168.4.15:81 -s rr", 255, "No such service"),
                ("-D -t 192.168.4.15:81", 255, "No such service"),
                ("-A -t 192.168.4.15:82 -s nosuch", 255, "Scheduler or persistence engine not found"),
                ("-A -t 192.168.4.15:82 -s wrr -b sh-port", 2, "incompatible scheduler flag `sh-port'"),
                ("-A -t 192.168.4.15", 2, "Zero port specified for non-persistent service"),
                ("-a -t 192.168.4.15:80 -r 192.168.4.200:81 -g", 0, ""),
                (
                    "-a -t 192.168.4.15:80 -r 192.168.4.150:80 -x 5 -y 10",
                    255,
                    "Numerical result out of range",
                ),
                ("-Ln -t 192.168.4.15:85", 1, "No such service"),
                ("-Z -t 192.168.4.15:85", 255, "No such service"),
                ("-L extra", 2, "unexpected argument extra"),
                ("-E -t 192.168.4.15:80 -s rr", 0, ""),
                ("-e -t 192.168.4.15:80 -r 192.168.4.100:80 -g -w 0", 0, ""),
            ] {
                assert_eq!(ipvsadm.refused(line)?, (code, message.to_owned()), "ipvsadm {line}");
            }
            let listing = ipvsadm.ok("-Ln")?;
            assert_eq!(
                listing.lines().skip(3).collect::<Vec<_>>(),
                [
                    "TCP  192.168.4.15:80 rr",
                    "  -> 192.168.4.100:80             Route   0      0          0         ",
                    "  -> 192.168.4.200:80             Route   1      0          0         ",
                ]
            );
            for line in [
                "-d -t 192.168.4.15:80 -r 192.168.4.100:80",
                "-D -t 192.168.4.15:80",
                "-C",
                "-Z",
                "--help",
                "--version",
            ] {
                ipvsadm.ok(line)?;
            }
            // What a director cannot do says so.
            for (line, word) in [
                ("-A -f 3 -s rr", "firewall mark 3"),
                ("-A --sctp-service 192.168.4.15:9000 -s rr", "SCTP"),
                ("--start-daemon master", "synchronised"),
                ("-A -t 127.0.0.1:80 -s rr", "loopback"),
            ] {
                let (code, message) = ipvsadm.refused(line)?;
                assert!(code == 255 && message.contains(word), "ipvsadm {line}: {code} {message}");
            }
            director.down()?;
            lab.down()
        });
    }

    #[test]
    fn rules_are_restored_at_once() {
        isolated("as_root::rules_are_restored_at_once", || {
            let lab = Lab::builder().nginx(false).up()?;
            let director = Director::up(&lab, Node::Lvs1, &Configuration::new(&["eth0"]))?;
            let ipvsadm = Ipvsadm::new(&lab)?;
            let rules = "-A -t 192.168.4.15:80 -s wrr\n-a -t 192.168.4.15:80 -r 192.168.4.100:80 -g -w 1\n\
                         \n-a -t 192.168.4.15:81 -r 192.168.4.100:81 -g\n\
                         ipvsadm -a -t 192.168.4.15:80 -r 192.168.4.200:80 -g -w 2\n";
            let rules = lab.write("rules", rules)?;
            let output =
                lab.command(Node::Lvs1, &ipvsadm.link).arg("-R").stdin(fs::File::open(rules)?).output()?;
            // The one that is wrong is said, the others are done.
            assert_eq!((output.status.code(), text(&output).trim_end()), (Some(255), "Service not defined"));
            assert_eq!(
                ipvsadm.ok("-Ln")?.lines().skip(3).collect::<Vec<_>>(),
                [
                    "TCP  192.168.4.15:80 wrr",
                    "  -> 192.168.4.100:80             Route   1      0          0         ",
                    "  -> 192.168.4.200:80             Route   2      0          0         ",
                ]
            );
            director.down()?;
            lab.down()
        });
    }

    #[test]
    fn own_verbs_change_what_the_file_says_until_lifted() {
        isolated("as_root::own_verbs_change_what_the_file_says_until_lifted", || {
            let lab = Lab::builder().up()?;
            let vip = lab.web(Family::V4);
            let (web1, web2) = (web(&lab, Node::Web1)?, web(&lab, Node::Web2)?);
            let config = Configuration::new(&["eth0"]).with(VirtualServer::new(vip).real_server(web1, 1));
            let director = Director::start(&lab, Node::Lvs1, &config)?;
            let lbctl = |line: &str| -> anyhow::Result<Output> {
                run_lbctl(&lab, Node::Lvs1, line.split_whitespace())
            };
            let ok = |line: &str| -> anyhow::Result<String> {
                let output = lbctl(line)?;
                anyhow::ensure!(output.status.success(), "lbctl {line}: {output:?}");
                Ok(text(&output))
            };
            ok(&format!("server add {vip} {web2} --weight 3"))?;
            ok(&format!("server edit {vip} {web1} --weight 0"))?;
            assert_eq!(answers(&lab, vip, 2)?, ["web2"; 2]);
            let again = lbctl(&format!("server add {vip} {web2}"))?;
            assert!(!again.status.success() && text(&again).contains("exists already"), "{again:?}");
            let wrong = lbctl(&format!("server add {vip} {}", vip.ip()))?;
            assert!(text(&wrong).contains("is the address of the virtual server"), "{wrong:?}");
            ok("zero")?;
            let stats = || ok(&format!("list --stats {vip}"));
            assert!(stats()?.contains(&format!("TCP  {vip:<28}        0        0")), "{}", stats()?);
            answers(&lab, vip, 1)?;
            assert!(
                wait_until(patience(5), || stats().is_ok_and(|text| text.contains("        1 "))),
                "{}",
                stats()?
            );
            ok("clear --edits")?;
            assert_eq!(answers(&lab, vip, 2)?, ["web1"; 2], "the file counts again");
            director.down()?;
            lab.down()
        });
    }

    /// `--set` is kept apart from the file, outlives the daemon and is lifted with the other edits.
    #[test]
    fn timeouts_are_set_until_lifted() {
        isolated("as_root::timeouts_are_set_until_lifted", || {
            let lab = Lab::builder().nginx(false).up()?;
            let ipvsadm = Ipvsadm::new(&lab)?;
            let config = Configuration::new(&["eth0"]).with(VirtualServer::new(lab.web(Family::V4)));
            let mut director = Director::start(&lab, Node::Lvs1, &config)?;
            let timeouts = || ipvsadm.ok("-L --timeout");
            let usual = "Timeout (tcp tcpfin udp): 900 120 300\n";
            let set = "Timeout (tcp tcpfin udp): 900 60 120\n";
            assert_eq!(timeouts()?, usual);
            ipvsadm.ok("--set 0 60 120")?;
            assert_eq!(timeouts()?, set);
            let (code, message) = ipvsadm.refused("--set 86401 0 0")?;
            assert_eq!(code, 255);
            assert!(message.starts_with("tcp_timeout: out of range"), "{message}");

            let listed = run_lbctl(&lab, Node::Lvs1, ["list", "--timeout"])?;
            assert_eq!(text(&listed).lines().next(), set.lines().next());
            assert!(text(&listed).contains("tcp_fin_timeout was set to 60 s at run time"), "{listed:?}");
            let saved = || run_lbctl(&lab, Node::Lvs1, ["save", "--format", "ipvsadm"]);
            assert!(text(&saved()?).starts_with("--set 900 60 120\n-A -t "), "{:?}", saved()?);

            director.kill()?;
            assert_eq!(timeouts()?, set, "without a daemon");
            director.up_again()?;
            assert_eq!(timeouts()?, set, "with the next daemon");
            let lifted = run_lbctl(&lab, Node::Lvs1, ["clear", "--edits"])?;
            anyhow::ensure!(lifted.status.success(), "{lifted:?}");
            assert_eq!(timeouts()?, usual);
            assert_eq!(ipvsadm.ok("-L --daemon")?, "");
            director.down()?;
            lab.down()
        });
    }
}
