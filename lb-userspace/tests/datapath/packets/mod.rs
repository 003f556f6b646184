//! The packet cases: a sentence, a packet, the tables it meets, and what must come of it, to the byte and to
//! the counter. The tables are those of [`crate::harness::world::world`], then what a case says of before.

mod admission;
mod connections;
mod direct;
mod failed;
mod full_nat;
mod icmp;
mod locality;
mod nat;
mod nat_parts;
mod parts;
mod passed;
mod persistence;
mod tunnel;
mod virtual_macs;
mod vlan;

use crate::harness::case::{BUCKETS, Case};
use crate::harness::sides::{Host, Kernel, Side};

fn all() -> Vec<Case> {
    [
        direct::cases(),
        connections::cases(),
        failed::cases(),
        admission::cases(),
        persistence::cases(),
        passed::cases(),
        vlan::cases(),
        virtual_macs::cases(),
        parts::cases(),
        icmp::cases(),
        locality::cases(),
        nat::cases(),
        nat_parts::cases(),
        full_nat::cases(),
        tunnel::cases(),
    ]
    .concat()
}

fn check(side: &mut impl Side) {
    let cases = all();
    assert!(cases.len() >= 60, "{}", cases.len());
    let wrong: Vec<_> = cases.iter().filter_map(|case| case.check(side).err()).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn cases_on_the_host() {
    check(&mut Host::new(BUCKETS));
}

#[test]
fn cases_under_every_kernel() {
    let Some(mut kernel) = Kernel::new(BUCKETS) else { return };
    check(&mut kernel);
}
