//! Tunnels: what is decided, on a host that is only thought of; and what this kernel makes of it.

use std::collections::BTreeMap;

use super::*;
use crate::net::netlink::Link;
use crate::realserver::{plan, record::Record, tunnel};

fn link(index: u32, name: &str, kind: Option<&str>) -> Link {
    Link {
        index,
        name: name.to_owned(),
        mac: None,
        mtu: 1500,
        up: name == "lo",
        carrier: true,
        loopback: name == "lo",
        kind: kind.map(str::to_owned),
        vlan: None,
        lower: None,
        peer_netnsid: None,
        xdp: None,
    }
}

/// Two interfaces, one of which is filtered loosely, and a filter for all.
fn thought_of() -> Host {
    let rp_filter = |name: &str, value: &str| (format!("net/ipv4/conf/{name}/rp_filter"), value.to_owned());
    let arp = host::SETTINGS.map(|(name, _)| (name.to_owned(), "0".to_owned()));
    let filters = [("all", "1"), ("lo", "0"), ("eth0", "0"), ("eth1", "2")];
    Host {
        loopback: link(1, "lo", None),
        names: BTreeMap::new(),
        tunnels: BTreeMap::new(),
        addresses: Vec::new(),
        settings: filters.map(|(name, value)| rp_filter(name, value)).into_iter().chain(arp).collect(),
        arp_ignore: BTreeMap::new(),
        ipv6_disabled: false,
    }
}

/// Does what the steps say, and returns the record that they leave.
fn carry_out(host: &mut Host, steps: &[Step]) -> Option<Record> {
    let mut recorded = None;
    for step in steps {
        match step {
            Step::Record(record) => recorded = Some(record.clone()),
            Step::Set { name, value } => drop(host.settings.insert(name.clone(), value.clone())),
            Step::AddTunnel(device) => {
                host.tunnels.insert(*device, link(7, device.name(), Some(device.kind())));
            }
            Step::Up(device) => host.tunnels.get_mut(device).unwrap().up = true,
            Step::RemoveTunnel { device, .. } => {
                host.tunnels.remove(device);
                host.settings.retain(|name, _| !name.contains(device.name()));
            }
            Step::RecordOther { .. } | Step::Add(_) | Step::Remove { .. } | Step::Forget => {}
        }
    }
    recorded
}

#[test]
fn a_filter_for_all_is_given_to_the_others_and_comes_back() {
    let (mut host, blank, list) = (thought_of(), Record::new().unwrap(), vips("10.0.0.15"));
    let found = host.settings.clone();
    let plan = plan::start(&host, None, &blank, &list, Some(Outer::Same)).unwrap();
    let set: Vec<String> = plan
        .steps
        .iter()
        .filter_map(
            |step| if let Step::Set { name, value } = step { Some(format!("{name}={value}")) } else { None },
        )
        .filter(|line| line.contains("rp_filter"))
        .collect();
    assert_eq!(
        set,
        [
            "net/ipv4/conf/eth0/rp_filter=1",
            "net/ipv4/conf/lo/rp_filter=1",
            "net/ipv4/conf/all/rp_filter=0",
            "net/ipv4/conf/lbctl-ipip/rp_filter=0",
        ],
        "eth1 is filtered more loosely by itself"
    );
    let record = carry_out(&mut host, &plan.steps).unwrap();
    assert!(status::status(&host, Some(&record), &BTreeSet::new(), None).items.iter().all(|item| {
        // Addresses are not thought of here.
        item.ok || item.item == "10.0.0.15/32"
    }));
    let again = plan::start(&host, Some(&record), &blank, &list, None).unwrap();
    assert!(again.steps.iter().all(|step| matches!(step, Step::Add(_))), "{:?}", again.steps);

    let stop = plan::stop(&host, &record, &BTreeSet::new(), &BTreeMap::new());
    carry_out(&mut host, &stop.steps);
    assert_eq!((host.settings, host.tunnels.len()), (found, 0));
    assert_eq!(stop.notes, [""; 0]);
}

#[test]
fn another_instance_inherits_what_it_needs() {
    let (mut host, blank) = (thought_of(), Record::new().unwrap());
    let found = host.settings.clone();
    let start = |host: &mut Host, list: &str| {
        let plan = plan::start(host, None, &blank, &vips(list), Some(Outer::Same)).unwrap();
        carry_out(host, &plan.steps).unwrap()
    };
    let one = start(&mut host, "10.0.0.15 2001:db8::15");
    let two = start(&mut host, "10.0.0.16");
    let stop = plan::stop(&host, &one, &BTreeSet::new(), &[("two".to_owned(), two)].into());
    let heir = stop.steps.iter().find_map(|step| {
        if let Step::RecordOther { record, .. } = step { Some(record.clone()) } else { None }
    });
    carry_out(&mut host, &stop.steps);
    let left: Vec<_> = host.tunnels.keys().copied().collect();
    assert_eq!(left, [Device::Ipip], "IPv6 needs none any more");
    assert!(stop.notes.contains(&"lbctl-ipip: stays for instance two".to_owned()), "{:?}", stop.notes);
    let stop = plan::stop(&host, &heir.unwrap(), &BTreeSet::new(), &BTreeMap::new());
    carry_out(&mut host, &stop.steps);
    assert_eq!((host.settings, host.tunnels.len()), (found, 0));
}

#[test]
fn devices_are_those_of_the_addresses() {
    let of = |outer, list| tunnel::needed(outer, &vips(list)).into_iter().collect::<Vec<_>>();
    assert_eq!(of(Outer::Same, "10.0.0.1"), [Device::Ipip]);
    assert_eq!(of(Outer::Same, "10.0.0.1 2001:db8::1"), Device::ALL);
    assert_eq!(of(Outer::Ipv6, "10.0.0.1 2001:db8::1"), [Device::Ip6tnl]);
    let mut host = thought_of();
    host.tunnels.insert(Device::Ipip, link(9, "lbctl-ipip", Some("dummy")));
    let blank = Record::new().unwrap();
    let problems = plan::start(&host, None, &blank, &vips("10.0.0.1"), Some(Outer::Same)).unwrap_err();
    let text = problems[0].to_string();
    assert_eq!(text, "lbctl-ipip: is a device of kind dummy, not ipip: ip link delete lbctl-ipip");
}

/// Where the kernel has the modules this sets tunnels up and takes them down; where not, it must be refused without a
/// trace.
#[test]
fn privileged_a_kernel_without_the_module_is_refused_and_nothing_is_changed() {
    if skip_without_root("privileged_a_kernel_without_the_module_is_refused_and_nothing_is_changed") {
        return;
    }
    let (web, run_dir) = (lived_in(), TempDir::new().unwrap());
    let found = snapshot(&web);
    let options = Options { tunnel: Some(Outer::Same), ..options(&run_dir, "192.168.4.15 2001:db8::15") };
    match start_in(&web, &options) {
        Ok(_) => {
            assert!(status_in(&web, &options).ok, "{:?}", status_in(&web, &options));
            stop_in(&web, &options).unwrap();
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("this kernel makes no device of kind ip"), "{text}");
            assert!(text.contains("modprobe ip"), "{text}");
            let missing = status_in(&web, &options);
            assert!(missing.items.iter().any(|item| item.item == "lbctl-ipip" && !item.ok), "{missing:?}");
        }
    }
    assert!(!web.ip("link").contains("lbctl-"), "no device is left");
    assert_eq!(snapshot(&web), found);
    assert!(!run_dir.path().join("web").exists(), "no record is left");
}
