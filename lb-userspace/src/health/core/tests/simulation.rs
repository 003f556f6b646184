//! Thousands of real servers on a virtual clock.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

/// `services` virtual servers of `servers` real servers each.
fn many(services: u32, servers: u32, options: &str) -> String {
    let mut text = String::new();
    for service in 0..services {
        let vip = std::net::Ipv4Addr::from(0x0a00_0000 + service);
        writeln!(
            text,
            "[[virtual_server]]\naddress = \"{vip}:80\"\ncheck = [{{ type = \"tcp\" }}]\n{options}\nreal_server = ["
        )
        .unwrap();
        for server in 0..servers {
            let address = std::net::Ipv4Addr::from(0x0b00_0000 + server);
            writeln!(text, "  {{ address = \"{address}\" }},").unwrap();
        }
        text.push_str("]\n");
    }
    text
}

/// A number that looks random.
fn hash(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |sum, part| {
        (sum ^ part).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(31)
    })
}

#[test]
fn ten_thousand_checks_are_spread_and_none_is_late() {
    let mut world = World::new(&many(20, 500, "check_interval = \"6s\""));
    world.run(Duration::from_secs(12), |_| Verdict::Passed);
    assert!(world.view.is_ready);
    // From then on, how many start in each tenth of a second.
    let mut starts = [0u32; 600];
    let begin = world.now;
    let before = world.probed;
    for tenth in &mut starts {
        let mut count = 0;
        world.run(ms(100), |_| {
            count += 1;
            Verdict::Passed
        });
        *tenth = count;
    }
    let seconds = (world.now - begin).as_secs();
    let rate = (world.probed - before) / seconds;
    // 10,000 in 6 s, up to a twentieth more.
    assert!((1660..1760).contains(&rate), "{rate} a second");
    let (least, most) = (starts.iter().min().unwrap(), starts.iter().max().unwrap());
    assert!(
        *most < 260 && *least > 80,
        "from {least} to {most} in a tenth of a second, where 170 are the average"
    );
    assert_eq!(world.core.max_delay(), ms(0));
    assert_eq!(world.published.len(), 2, "nothing changed but that all have run");
}

#[test]
fn all_go_down_at_once_and_the_tables_change_a_few_times() {
    let mut world = World::new(&many(20, 500, "check_interval = \"6s\"\ncheck_retries = 0"));
    world.run(Duration::from_secs(12), |_| Verdict::Passed);
    let (changes, begin) = (world.published.len(), world.now);
    world.run(Duration::from_secs(7), |_| Verdict::Failed);
    let down =
        world.view.services.values().flat_map(|service| service.servers.values()).filter(|it| !it.is_up);
    assert_eq!(down.count(), 10_000);
    // Ten thousand changes in six seconds are sixty of the tables.
    let changes = world.published.len() - changes;
    assert!(changes <= 62, "{changes} changes");
    assert!(world.published.windows(2).all(|pair| pair[1] - pair[0] >= GATHER));
    let events = world.told.iter().filter(|(at, _)| *at > begin).count();
    assert_eq!(events, 10_000 + 20, "each real server and each quorum once");
}

#[test]
fn flapping_makes_no_storm() {
    let options =
        "check_interval = \"1s\"\ncheck_retries = 1\ncheck_retry_delay = \"100ms\"\nfall = 3\nrise = 3";
    let mut world = World::new(&many(10, 200, options));
    world.run(Duration::from_secs(10), |_| Verdict::Passed);
    let (changes, told) = (world.published.len(), world.told.len());
    // Every second answer of each is wrong: never three runs in a row.
    let mut turns: BTreeMap<(ServiceKey, ServerKey), u64> = BTreeMap::new();
    world.run(Duration::from_secs(120), |target| {
        let turn = turns.entry((target.service, target.server)).or_default();
        *turn += 1;
        if turn.is_multiple_of(2) { Verdict::Failed } else { Verdict::Passed }
    });
    assert_eq!(world.told.len() - told, 0);
    assert_eq!(world.published.len() - changes, 0);
    // Up and down for 10 s each, and out of step: still no more than ten changes of the tables in a second.
    let begin = world.published.len();
    for _ in 0..120 {
        let now = world.now.as_secs();
        world.run(Duration::from_secs(1), |target| {
            let phase =
                hash(&[u64::from(last(target.server.address)), u64::from(last(target.service.address))]);
            match ((now + phase % 20) / 10).is_multiple_of(2) {
                true => Verdict::Passed,
                false => Verdict::Failed,
            }
        });
    }
    assert!(world.published.len() - begin <= 1201, "{}", world.published.len() - begin);
    assert!(world.published.windows(2).all(|pair| pair[1] - pair[0] >= GATHER));
}

#[test]
fn hung_ones_delay_nobody() {
    // A probe of a hung real server takes the whole timeout; here, all are as slow as that.
    let mut world = World::new(&many(4, 250, "check_interval = \"6s\"\ncheck_retries = 0"));
    world.latency = Duration::from_secs(5);
    world.run(Duration::from_secs(60), |target| match last(target.server.address).is_multiple_of(2) {
        true => Verdict::Failed,
        false => Verdict::Passed,
    });
    assert_eq!(world.core.max_delay(), ms(0));
    let up = world.view.services.values().flat_map(|service| &service.servers);
    assert!(up.into_iter().all(|(key, server)| server.is_up != last(key.address).is_multiple_of(2)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the answers and whatever the reloads: the tables have exactly those that are up, each published
    /// view is of that moment, and what is told alternates.
    #[test]
    fn the_tables_have_who_is_up(
        answers in proptest::collection::vec((0u64..8, any::<u64>()), 1..40),
        seed: u64,
    ) {
        let text = |servers| many(2, servers, "check_interval = \"1s\"\ncheck_retry_delay = \"200ms\"\nrise = 2\nfall = 2");
        let mut world = World::new(&text(6));
        let mut told: BTreeMap<ServerKey, BTreeMap<ServiceKey, bool>> = BTreeMap::new();
        for (step, (kind, salt)) in answers.into_iter().enumerate() {
            if kind == 0 {
                world.configure(&text(3 + u32::try_from(salt % 6).unwrap()));
            } else {
                world.run(ms(300 * kind), |target| {
                    match hash(&[seed, salt, step as u64, u64::from(last(target.server.address))]) % 5 {
                        0 | 1 => Verdict::Failed,
                        2 => Verdict::Inconclusive,
                        _ => Verdict::Passed,
                    }
                });
            }
            // The answers to what was asked before, then the view with them.
            world.run(2 * GATHER, |_| Verdict::Inconclusive);
            prop_assert_eq!(&*world.view, &world.core.view());
            for (_, event) in world.told.drain(..) {
                let Told::RealServer(event) = event else { continue };
                let of = told.entry(event.real_server).or_default();
                // One that was removed and comes again begins anew.
                let before = of.insert(event.virtual_server, event.up);
                prop_assert!(before != Some(event.up) || !event.up, "told twice: {:?}", event);
            }
            let mut desired = Desired::from_config(&world.config);
            world.view.apply(&world.config, &mut desired);
            for (key, service) in &world.core.services {
                let up: Vec<ServerKey> = service.config.real_servers.iter().map(server_key)
                    .filter(|name| service.servers[name].state.is_up()).collect();
                let listed: Vec<ServerKey> = desired.services[key].servers.iter().map(|it| it.key).collect();
                prop_assert_eq!(up, listed);
            }
        }
    }
}
