//! What `lbctl` refuses: with the cause, the remedy and exit code 1, and without changing anything.

mod as_root {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Output};

    use anyhow::Context;
    use lb_tests::director::{Configuration, Director, lbctl, run_lbctl, stderr, web};
    use lb_tests::{Family, Lab, Node, Snapshot, isolated};
    use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

    fn lab() -> anyhow::Result<(Lab, Configuration)> {
        let lab = Lab::builder().nginx(false).up()?;
        let config = web(&lab, Family::V4, &[(Node::Web1, 1), (Node::Web2, 2)])?;
        Ok((lab, config))
    }

    /// Both `up` and `up -d` must refuse this configuration in these words, and nothing must have changed.
    fn is_refused(lab: &Lab, config: &str, words: &[&str]) -> anyhow::Result<()> {
        let path = lab.write("refused.toml", config)?.display().to_string();
        let before = Snapshot::take(lab, Node::Lvs1)?;
        for arguments in [vec!["up", "-c", &path], vec!["up", "-d", "-c", &path]] {
            let output = run_lbctl(lab, Node::Lvs1, &arguments)?;
            says(&output, words);
            let changes = before.changes(&Snapshot::take(lab, Node::Lvs1)?);
            assert!(changes.is_empty(), "{arguments:?} changed\n{changes}");
        }
        Ok(())
    }

    fn says(output: &Output, words: &[&str]) {
        let said = stderr(output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in:\n{said}");
        }
    }

    #[test]
    fn unknown_interface_is_refused() {
        isolated("as_root::unknown_interface_is_refused", || {
            let (lab, _) = lab()?;
            let config = Configuration::new(&["eth0", "eth9"]).to_string();
            is_refused(&lab, &config, &["eth9", "none of this name", "eth0"])?;
            lab.down()
        });
    }

    #[test]
    fn interface_that_is_down_is_refused() {
        isolated("as_root::interface_that_is_down_is_refused", || {
            let (lab, config) = lab()?;
            lab.exec(Node::Lvs1, ["ip", "link", "set", "dev", "eth0", "down"])?;
            is_refused(&lab, &config.to_string(), &["eth0", "is down", "ip link set dev eth0 up"])?;
            lab.down()
        });
    }

    /// Only where the kernel has 802.1Q devices; where it has none, nobody can name one either.
    #[test]
    fn vlan_device_is_refused() {
        isolated("as_root::vlan_device_is_refused", || {
            let (lab, _) = lab()?;
            let add = ["ip", "link", "add", "link", "eth0", "name", "eth0.5", "type", "vlan", "id", "5"];
            let added = lab.output(Node::Lvs1, add)?;
            if stderr(&added).contains("Unknown device type") {
                eprintln!("SKIPPED: this kernel has no VLAN devices");
                return lab.down();
            }
            assert!(added.status.success(), "{}", stderr(&added));
            lab.exec(Node::Lvs1, ["ip", "link", "set", "dev", "eth0.5", "up"])?;
            let config = Configuration::new(&["eth0.5"]).to_string();
            is_refused(&lab, &config, &["eth0.5", "VLAN device", "name the device it is on"])?;
            lab.down()
        });
    }

    /// Another instance's program: `up` must neither replace it nor run beside it.
    #[test]
    fn interface_with_another_program_is_refused() {
        isolated("as_root::interface_with_another_program_is_refused", || {
            let (lab, config) = lab()?;
            let path = lab.write("other.toml", &config.to_string())?;
            let other = |word: &str| {
                let mut command = lab.command(Node::Lvs1, lbctl()?);
                command.env("LBCTL_INSTANCE", "other").arg(word);
                anyhow::Ok(command)
            };
            for mode in ["native", "generic"] {
                let other_config = config.clone().option(&format!("xdp_mode = \"{mode}\""));
                fs::write(&path, other_config.to_string())?;
                let up = other("up")?.args(["-d", "-c"]).arg(&path).output()?;
                assert!(up.status.success(), "{}", stderr(&up));
                let words = ["eth0", "another XDP program", "lbctl down"];
                is_refused(&lab, &config.to_string(), &words).with_context(|| format!("over {mode}"))?;
                assert!(other("down")?.status()?.success());
            }
            lab.down()
        });
    }

    #[test]
    fn second_up_is_refused() {
        isolated("as_root::second_up_is_refused", || {
            let (lab, config) = lab()?;
            let director = Director::up(&lab, Node::Lvs1, &config)?;
            let pid = format!("process {}", director.pid()?);
            let before = director.program("eth0")?;
            let words = ["lvs1", "running already", &pid, "lbctl reload", "lbctl down"];
            is_refused(&lab, &config.to_string(), &words)?;
            assert_eq!(director.program("eth0")?, before);
            assert!(director.log().contains("forwarding"), "its log is kept: {}", director.log());
            lab.down()
        });
    }

    #[test]
    fn all_errors_of_a_configuration_are_told_at_once() {
        isolated("as_root::all_errors_of_a_configuration_are_told_at_once", || {
            let (lab, config) = lab()?;
            let config = config.option("xdp_mod = \"auto\"").option("max_connections = 3").to_string();
            let config = config.replace("\"wrr\"", "\"wr\"");
            let words = ["xdp_mod", "xdp_mode", "max_connections", "wr", "refused.toml:"];
            is_refused(&lab, &config, &words)?;
            let missing = run_lbctl(&lab, Node::Lvs1, ["up", "-c", "/no/such/file.toml"])?;
            says(&missing, &["/no/such/file.toml"]);
            lab.down()
        });
    }

    /// Root without capabilities, as in a container, and an ordinary user.
    #[test]
    fn missing_capabilities_are_named() {
        isolated("as_root::missing_capabilities_are_named", || {
            let (lab, config) = lab()?;
            // Where an ordinary user can read them; the lab's directory and the sources may be root's alone.
            let (binary, path) = ("/run/lbctl-of-all", "/run/of-all.toml");
            fs::copy(lbctl()?, binary)?;
            fs::write(path, config.to_string())?;
            for file in [binary, path, "/run"] {
                fs::set_permissions(file, fs::Permissions::from_mode(0o755))?;
            }
            let root: &[&str] = &["--bounding-set=-all", "--inh-caps=-all"];
            let user = &["--reuid=65534", "--regid=65534", "--clear-groups"];
            let before = Snapshot::take(&lab, Node::Lvs1)?;
            for (who, arguments) in
                [(root, &["up"][..]), (root, &["up", "-d"]), (user, &["up"]), (user, &["up", "-d"])]
            {
                let mut command: Command = lab.command(Node::Lvs1, "setpriv");
                let output =
                    command.args(who).arg("--").arg(binary).args(arguments).args(["-c", path]).output()?;
                says(&output, &["CAP_NET_ADMIN", "CAP_BPF", "run it as root"]);
                let changes = before.changes(&Snapshot::take(&lab, Node::Lvs1)?);
                assert!(changes.is_empty(), "{who:?} {arguments:?} changed\n{changes}");
            }
            lab.down()
        });
    }

    /// What is missing but can be made is made.
    #[test]
    fn bpf_file_system_is_mounted_where_it_is_missing() {
        isolated("as_root::bpf_file_system_is_mounted_where_it_is_missing", || {
            let (lab, config) = lab()?;
            let umount = Command::new("umount").arg("/sys/fs/bpf").output()?;
            assert!(umount.status.success(), "{}", stderr(&umount));
            let is_bpf =
                || -> anyhow::Result<bool> { Ok(statfs("/sys/fs/bpf")?.filesystem_type() == BPF_FS_MAGIC) };
            assert!(!is_bpf()?);
            let director = Director::up(&lab, Node::Lvs1, &config)?;
            assert!(is_bpf()?);
            assert!(director.program("eth0")?.is_some());
            director.down()?;
            lab.down()
        });
    }

    #[test]
    fn reload_without_daemon_says_so() {
        isolated("as_root::reload_without_daemon_says_so", || {
            let (lab, _) = lab()?;
            let output = run_lbctl(&lab, Node::Lvs1, ["reload"])?;
            says(&output, &["lvs1", "no daemon", "lbctl up -d"]);
            lab.down()
        });
    }
}
