use super::*;
use crate::ipvsadm::NoNames;
use crate::save::Saved;

/// `ipvsadm -Sn` of a kernel that has a virtual server of every kind.
const ALL_KINDS: &str = "\
-A -t 192.168.4.15:0 -s rr -p 360
-a -t 192.168.4.15:0 -r 192.168.4.100:0 -i -w 1 --tun-type gre --tun-nocsum
-A -t 192.168.4.15:80 -s wrr -p 300
-a -t 192.168.4.15:80 -r 192.168.4.100:80 -g -w 1
-a -t 192.168.4.15:80 -r 192.168.4.200:80 -g -w 2
-A -t 192.168.4.15:443 -s sh -b sh-fallback,sh-port
-a -t 192.168.4.15:443 -r 192.168.4.100:443 -g -w 1
-A -t 192.168.4.15:8443 -s mh -b mh-fallback,mh-port
-a -t 192.168.4.15:8443 -r 192.168.4.100:8443 -g -w 65535
-A -u 192.168.4.15:53 -s rr -o
-a -u 192.168.4.15:53 -r 192.168.4.100:53 -m -w 3
-A -u 192.168.4.15:5060 -s rr -p 60 --pe sip
-a -u 192.168.4.15:5060 -r 192.168.4.200:5060 -i -w 0 --tun-type gue --tun-port 6080 --tun-nocsum
-A --sctp-service 192.168.4.15:3868 -s rr
-a --sctp-service 192.168.4.15:3868 -r 192.168.4.100:3868 -m -w 1
-A -t [fd00:4::15]:80 -s wrr
-a -t [fd00:4::15]:80 -r [fd00:4::100]:80 -g -w 1
-a -t [fd00:4::15]:80 -r [fd00:4::200]:80 -g -w 2
-A -f 7 -s wlc -p 600 -M 255.255.255.0
-a -f 7 -r 192.168.4.100:0 -g -w 1
-a -f 7 -r 192.168.4.200:0 -i -w 5 --tun-type ipip
";

/// `iptables-save -t mangle` beside it.
const MARKS: &str = "\
*mangle
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d 192.168.4.15/32 -p tcp -m multiport --dports 8080,9000:9010 -j MARK --set-xmark 0x7/0xffffffff
COMMIT
";

fn marks(text: &str) -> [Source; 1] {
    [Source { name: "marks.rules".to_owned(), text: text.to_owned() }]
}

#[test]
fn rules_of_every_kind_are_read_and_printed_alike() {
    let printed: String = ALL_KINDS
        .lines()
        .map(|line| match parse_rule(line, &NoNames).unwrap().unwrap() {
            Rule::Service(service) => format!("{service}\n"),
            Rule::Server(key, server) => format!("{}\n", server.rule(&key, false)),
            Rule::Timeouts(_) => panic!("{line}"),
        })
        .collect();
    assert_eq!(printed, ALL_KINDS);
}

#[test]
fn what_is_imported_is_saved_alike_and_the_rest_is_reported() {
    let imported = import_text("rules", ALL_KINDS, &["eth0".to_owned()], &marks(MARKS), &NoNames);
    let config = imported.config.as_ref().unwrap_or_else(|error| panic!("{error}"));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let saved = Saved::of(config, config).rules(false);
    let lines: Vec<&str> = ALL_KINDS.lines().collect();
    let not_supported: Vec<&str> = imported
        .report
        .findings
        .iter()
        .filter(|finding| finding.fate == Fate::NotSupported)
        .map(|finding| lines[finding.place.line as usize - 1])
        .collect();
    assert_eq!(
        not_supported,
        [lines[1], lines[11], lines[12], lines[13], lines[14]],
        "a GRE tunnel, SIP calls, SCTP"
    );
    // Of the real server behind GRE the tunnel is another one.
    let expected: Vec<String> = lines
        .iter()
        .filter(|line| **line == lines[1] || !not_supported.contains(line))
        .map(|line| line.replace("gre --tun-nocsum", "ipip"))
        .collect();
    assert_eq!(saved, expected);
    assert_eq!(
        imported.report.findings.len(),
        lines.len() + 1,
        "every rule has a fate, and the one that marks"
    );
}

#[test]
fn a_mark_is_the_group_that_the_firewall_marks() {
    let rules = "-A -f 7 -s wlc -p 600 -M 255.255.255.0\n\
                 -a -f 7 -r 192.168.4.100:0 -g -w 1\n\
                 -a -f 7 -r 192.168.4.200:0 -i -w 5 --tun-type ipip\n\
                 -A -f 7 -6 -s rr -p 60 -M 64\n\
                 -a -f 7 -6 -r [fd00:4::100]:0 -g -w 1\n\
                 -A -f 8 -s rr -o\n\
                 -a -f 8 -r 192.168.4.100:0 -m -w 1\n\
                 -a -f 8 -r 192.168.4.200:5353 -m -w 1\n";
    let firewall = format!(
        "{MARKS}-A PREROUTING -d fd00:4::15/128 -p tcp -m tcp --dport 80 -j MARK --set-xmark 0x7/0xffffffff\n\
         -A PREROUTING -d 192.168.4.15/32 -p udp -m udp --dport 53 -j MARK --set-xmark 0x8/0xffffffff\n"
    );
    let imported = import_text("rules", rules, &["eth0".to_owned()], &marks(&firewall), &NoNames);
    assert_eq!(imported.report.worst(), Fate::Taken, "{:#?}", imported.report.findings);
    let config = imported.config.as_ref().unwrap_or_else(|error| panic!("{error}\n{}", imported.toml.text));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let groups: Vec<_> = config
        .virtual_servers
        .iter()
        .map(|server| (server.scheduling.group.as_ref().unwrap(), server.protocol.as_str()))
        .map(|(group, protocol)| {
            (group.name.as_str(), group.fwmark.unwrap().get(), group.addresses.len(), protocol)
        })
        .collect();
    assert_eq!(groups, [("mark-7", 7, 12, "tcp"), ("mark-7-ipv6", 7, 1, "tcp"), ("mark-8", 8, 1, "udp")]);
    let saved = Saved::of(config, config);
    assert_eq!(saved.rules(false).join("\n"), rules.trim_end());
    // As TOML it means the same too.
    let again =
        crate::config::Config::parse("saved", &saved.toml()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(Saved::of(&again, &again), saved);
}

#[test]
fn a_mark_without_its_rules_names_the_remedy() {
    let rules = "-A -f 7 -s rr\n-a -f 7 -r 192.168.4.100:0 -g -w 1\n";
    let imported = import_text("rules", rules, &["eth0".to_owned()], &[], &NoNames);
    let said = |imported: &Imported| -> Vec<String> {
        imported.report.findings.iter().map(|finding| imported.report.sentence(finding)).collect()
    };
    let all = said(&imported);
    assert!(all[0].starts_with("rules:1:1: -A -f 7 -s rr: ") && all[0].contains("--marks FILE"), "{all:#?}");
    assert!(all[1].contains("its virtual server is not supported"), "{all:#?}");
    // The firewall's rule is named too if it cannot be taken over.
    let firewall = MARKS.replace("-A PREROUTING", "-A PREROUTING -i eth0");
    let all = said(&import_text("rules", rules, &["eth0".to_owned()], &marks(&firewall), &NoNames));
    assert!(all[0].contains("no rule in marks.rules gives mark 7"), "{all:#?}");
    assert!(all[2].starts_with("marks.rules:3:1: ") && all[2].contains("`-i`"), "{all:#?}");
}

#[test]
fn what_a_mark_cannot_have_is_reported() {
    let rules = "-A -f 7 -s rr\n-a -f 7 -r 192.168.4.100:80 -g -w 1\n-a -f 7 -r 192.168.4.200:81 -m -w 1\n-A -f 7 -s wrr\n";
    let imported = import_text("rules", rules, &["eth0".to_owned()], &marks(MARKS), &NoNames);
    let fates: Vec<_> = imported.report.findings.iter().map(|f| (f.place.line, f.fate)).collect();
    assert_eq!(
        fates,
        [
            (1, Fate::Taken),
            (2, Fate::Changed),
            (3, Fate::Taken),
            // The group has several ports: which one is to become 81?
            (3, Fate::NotSupported),
            (3, Fate::NotSupported),
            (4, Fate::NotSupported),
            (3, Fate::Taken)
        ],
        "{:#?}",
        imported.report.findings
    );
    assert_eq!(imported.config.unwrap().virtual_servers[0].real_servers.len(), 1);
}

/// A group without a mark is one rule for each address: all that ipvsadm can say.
#[test]
fn a_group_without_a_mark_is_saved_by_address() {
    let text = "[director]\ninterfaces = [\"eth0\"]\n[[virtual_server_group]]\nname = \"web\"\n\
                addresses = [\"192.168.4.15:80\", \"192.168.4.15:443\"]\n[[virtual_server]]\ngroup = \"web\"\n\
                scheduler = \"rr\"\nreal_server = [{ address = \"192.168.4.100\" }]\n";
    let config = crate::config::Config::parse("lbctl.toml", text).unwrap();
    let saved = Saved::of(&config, &config);
    let rules = saved.rules(false);
    assert_eq!(
        rules,
        [
            "-A -t 192.168.4.15:80 -s rr",
            "-a -t 192.168.4.15:80 -r 192.168.4.100:80 -g -w 1",
            "-A -t 192.168.4.15:443 -s rr",
            "-a -t 192.168.4.15:443 -r 192.168.4.100:443 -g -w 1"
        ]
    );
    let again =
        crate::config::Config::parse("saved", &saved.toml()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again.virtual_servers[0].scheduling.group, config.virtual_servers[0].scheduling.group);
}

#[test]
fn what_is_saved_as_toml_means_the_same() {
    let rules = "--set 900 60 120\n\
                 -A -t 10.0.0.1:80 -s wlc -p 50 -M 255.255.255.0\n\
                 -a -t 10.0.0.1:80 -r 10.0.0.2:8080 -m -w 4 -x 100 -y 50\n\
                 -a -t 10.0.0.1:80 -r 10.0.0.3:80 -g -w 0\n\
                 -A -t [2001:db8::1]:443 -s mh -p 120 -M 64 -b mh-port\n\
                 -a -t [2001:db8::1]:443 -r [2001:db8::2]:443 -i -w 1 --tun-type ipip\n";
    let config = import_text("rules", rules, &["eth1".to_owned()], &[], &NoNames).config.unwrap();
    let saved = Saved::of(&config, &config);
    assert_eq!(saved.rules(true).join("\n"), rules.trim_end());
    assert!(!saved.rules(false).concat().contains("-x 100"), "ipvsadm -S leaves thresholds out");
    let toml = saved.toml();
    let again = crate::config::Config::parse("saved", &toml).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(Saved::of(&again, &again), saved);
}

#[test]
fn lines_that_are_no_rules_are_reported() {
    let text = "# a comment\n\nipvsadm -A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.9:80 -r 10.0.0.2:80 -g -w 1\n-C\n-A -t 10.0.0.1:80 -s rr\nnonsense\n";
    let imported = import_text("rules", text, &[], &[], &NoNames);
    let fates: Vec<_> = imported.report.findings.iter().map(|f| (f.place.line, f.fate)).collect();
    assert_eq!(
        fates,
        [
            (1, Fate::Changed),
            (3, Fate::Taken),
            (4, Fate::NotSupported),
            (5, Fate::NotSupported),
            (6, Fate::NotSupported),
            (7, Fate::NotSupported)
        ]
    );
    assert_eq!(imported.config.unwrap().virtual_servers.len(), 1);
}
