//! Firewall marks, with the rules that set them beside the configuration and without.

use super::*;

const FIREWALL: &str = "*mangle\n\
    -A PREROUTING -d 192.168.4.15/32 -p tcp -m multiport --dports 80,443 -j MARK --set-xmark 0x7/0xffffffff\n\
    -A PREROUTING -d fd00:4::15/128 -p udp -m udp --dport 53 -j MARK --set-xmark 0x8/0xffffffff\n\
    -A PREROUTING -d fd00:4::15/128 -p tcp -m tcp --dport 80 -j MARK --set-xmark 0x7/0xffffffff\n\
    COMMIT\n";

fn service(name: &str, inner: &str) -> String {
    format!("virtual_server {name} {{\ndelay_loop 6\nlb_algo rr\nlb_kind DR\n{inner}\n}}\n")
}

/// Name, mark, addresses and protocol of each virtual server's group.
fn groups(imported: &Imported) -> Vec<(String, Option<u32>, usize, &'static str)> {
    let config = imported.config.as_ref().unwrap_or_else(|error| panic!("{error}\n{}", imported.toml.text));
    let groups = config.virtual_servers.iter().map(|server| {
        let group = server.scheduling.group.as_ref().unwrap();
        let mark = group.fwmark.map(std::num::NonZeroU32::get);
        (group.name.clone(), mark, group.addresses.len(), server.protocol.as_str())
    });
    groups.collect()
}

#[test]
fn a_virtual_server_of_a_mark_is_a_group_with_that_mark() {
    let text = service(
        "fwmark 7",
        "protocol TCP\npersistence_timeout 600\nreal_server 192.168.4.100 80 {\nweight 1\n}",
    ) + &service("fwmark 8", "protocol UDP\nreal_server fd00:4::100 53 {\nweight 1\n}");
    let imported = marked(&text, FIREWALL);
    assert_eq!(said(&imported, Fate::Changed), [""; 0]);
    assert_eq!(said(&imported, Fate::NotSupported), [""; 0]);
    assert_eq!(
        groups(&imported),
        [("mark-7".to_owned(), Some(7), 2, "tcp"), ("mark-8-ipv6".to_owned(), Some(8), 1, "udp")]
    );
    assert!(imported.toml.text.contains("# marks.rules:2"), "the group says where its addresses come from");
    // The other family of a mark is another virtual server.
    let both = service("fwmark 7", "protocol TCP\nreal_server 192.168.4.100 80 {\n}")
        + &service("fwmark 7", "protocol TCP\nip_family inet6\nreal_server fd00:4::100 80 {\n}");
    // keepalived cannot tell them apart either.
    assert_said(&marked(&both, FIREWALL), Fate::NotSupported, &["fwmark 7/tcp already"]);
}

#[test]
fn the_protocol_is_that_of_the_marked_packets() {
    let text = service("fwmark 7", "protocol UDP\nreal_server 192.168.4.100 80 {\nweight 1\n}");
    let imported = marked(&text, FIREWALL);
    assert_said(&imported, Fate::Changed, &["protocol UDP", "packets of tcp have its mark"]);
    assert_eq!(groups(&imported)[0].3, "tcp");
}

#[test]
fn a_group_takes_in_what_its_marks_stand_for() {
    let server = "protocol TCP\nreal_server 192.168.4.100 80 {\nweight 1\n}";
    let alone = marked(
        &format!("virtual_server_group web {{\nfwmark 7\n}}\n{}", service("group web", server)),
        FIREWALL,
    );
    assert_eq!(groups(&alone), [("web".to_owned(), Some(7), 2, "tcp")]);
    let text = format!(
        "virtual_server_group web {{\n192.168.4.16 80\nfwmark 7\n}}\n{}",
        service("group web", server)
    );
    let with_more = marked(&text, FIREWALL);
    assert_eq!(groups(&with_more), [("web".to_owned(), None, 3, "tcp")]);
    assert_said(&with_more, Fate::Changed, &["fwmark 7", "the group has no mark of its own"]);
    let without_rules = marked(&text, "");
    assert_said(&without_rules, Fate::NotSupported, &["fwmark 7", "--marks FILE"]);
    assert_eq!(without_rules.config.unwrap().virtual_servers[0].endpoints().len(), 1);
    for wrong in ["fwmark 0", "fwmark", "fwmark web"] {
        let text = format!(
            "virtual_server_group web {{\n192.168.4.16 80\n{wrong}\n}}\n{}",
            service("group web", server)
        );
        assert_said(&marked(&text, FIREWALL), Fate::NotSupported, &[wrong, "is not a mark"]);
    }
}
