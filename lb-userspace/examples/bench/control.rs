//! What is not about packets: how long the control plane takes for many real servers and many connections.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use lb_common::conn::{BUCKET_ENTRIES, Key, Key4, Part, State, Value, buckets_for};
use lb_common::layout::{DestinationRef, SchedulerCode};
use lb_common::net::{Be16, Be32, protocol};
use lb_userspace::dataplane::loader::{self, Capacity};
use lb_userspace::dataplane::tables::Tables;
use lb_userspace::list::{self, Beside, ListArgs, Source as _};
use lb_userspace::plane::applied::Applied;
use lb_userspace::plane::apply::{Hop, Hops, apply};
use lb_userspace::plane::desired::{Desired, DesiredServer, DesiredService, ServerKey, ServiceKey};
use lb_userspace::plane::plan::{Limits, plan};
use lb_userspace::plane::store::Store as _;

/// A time that has a budget.
#[derive(Debug)]
pub(crate) struct ControlTime {
    /// What was timed, as in xtask's list of budgets.
    pub(crate) name: &'static str,
    pub(crate) seconds: f64,
}

const REAL_SERVERS: u32 = 10_000;
const CONNECTIONS: u32 = 1_000_000;
const PORT: u16 = 80;

/// Times of the control plane, on tables in the kernel.
pub(crate) fn control_plane() -> Result<Vec<ControlTime>> {
    let mut tables = loader::load(None, Capacity { ipv4: CONNECTIONS, ipv6: 1024, full_nat: 256 })?.tables;
    let key = ServiceKey { protocol: protocol::TCP, address: [10, 255, 0, 1].into(), port: PORT };
    let servers: Vec<_> = (0..REAL_SERVERS).map(|n| DesiredServer::new(server(n), n % 5 + 1)).collect();
    let link = Hop::Link { to: [2; 6], from: [4; 6], interface: 1, vlan: 0 };
    let hops: Hops = servers.iter().map(|server| (server.key.address, link)).collect();
    let service = DesiredService::new(SchedulerCode::Wrr, servers);
    let desired = Desired { services: [(key, service)].into(), ..Desired::default() };

    let apply_all = timed("apply 10,000 real servers", || reach(&mut tables, &desired, &hops))?;
    let apply_none =
        timed("find that nothing changed, 10,000 real servers", || reach(&mut tables, &desired, &hops))?;
    fill(&tables, &key)?;
    let args = ListArgs { connections: true, ..ListArgs::default() };
    let list_all = timed("list 1,000,000 connections", || {
        Ok(list::run(&args, &tables, &Beside::default(), &mut io::sink(), &mut io::sink())?)
    })?;
    Ok(vec![apply_all, apply_none, list_all])
}

fn timed(name: &'static str, work: impl FnOnce() -> Result<()>) -> Result<ControlTime> {
    let start = Instant::now();
    work()?;
    Ok(ControlTime { name, seconds: start.elapsed().as_secs_f64() })
}

fn server(number: u32) -> ServerKey {
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 1).to_bits() + number);
    ServerKey { address: IpAddr::V4(address), port: PORT }
}

fn reach(tables: &mut Tables, desired: &Desired, hops: &Hops) -> Result<()> {
    let limits = Limits {
        servers: tables.destinations().len(),
        services: usize::from(u16::MAX),
        ring_words: u32::try_from(tables.rings().len())?,
    };
    let steps = plan(&Applied::read(tables), desired, limits, 0)?;
    apply(tables, &steps, hops)?;
    Ok(())
}

/// Fills the main part of the table with connections, in the first free slots.
fn fill(tables: &Tables, key: &ServiceKey) -> Result<()> {
    let main = Part::main(buckets_for(CONNECTIONS));
    tables.settings().parts[0].store(main.to_word());
    let applied = Applied::read(tables);
    let service = applied.services.get(key).context("the service was applied")?;
    let slots = main
        .of(tables.connections4())
        .iter()
        .flat_map(|bucket| (0..BUCKET_ENTRIES).map(move |slot| (bucket, slot)));
    let mut filled = 0;
    for ((number, (bucket, slot)), reference) in (0..CONNECTIONS).zip(slots).zip(service.slots.iter().cycle())
    {
        let client = Be32::from_wire((number / 32_768 + 0x0b00_0001).to_be_bytes());
        let port = Be16::new(u16::try_from(number % 32_768)? + 1024);
        let value = Value::new(
            DestinationRef::from_word(*reference),
            State::ESTABLISHED,
            tables.now(),
            Be16::new(PORT),
        );
        Key4::new(client, port, service.id).publish(bucket, slot, value);
        filled += 1;
    }
    ensure!(filled == CONNECTIONS, "the table has room for {filled} only");
    Ok(())
}
