use super::*;
use proptest::prelude::*;

fn list(weights: &[(u8, u32)]) -> Vec<Candidate<u8>> {
    weights.iter().map(|(server, weight)| Candidate { server: *server, weight: *weight }).collect()
}

/// A service to which servers are added one by one, as ipvsadm and keepalived do.
struct Service {
    list: Vec<Candidate<u8>>,
    ring: Ring<u8>,
    cursor: u64,
}

impl Service {
    fn new() -> Self {
        Self { list: Vec::new(), ring: Ring { slots: Vec::new(), start: 0 }, cursor: 0 }
    }

    fn change(&mut self, change: impl FnOnce(&mut Vec<Candidate<u8>>)) {
        let state = WrrState::advanced(&self.list, Progress { start: self.ring.start, cursor: self.cursor });
        change(&mut self.list);
        self.ring = wrr(&self.list, state.changed(WrrBounds::of(&self.list)));
        self.cursor = self.ring.start;
    }

    fn add(&mut self, server: u8, weight: u32) {
        self.change(|list| list.insert(0, Candidate { server, weight }));
    }

    fn picks(&mut self, count: usize) -> Vec<u8> {
        (0..count)
            .map(|_| {
                let index = usize::try_from(self.cursor % self.ring.slots.len() as u64).unwrap();
                self.cursor += 1;
                self.ring.slots[index]
            })
            .collect()
    }
}

/// Sequences that IPVS 1.2.1 on Linux 6.1 gave, servers added in the order 1, 2, 3.
#[test]
fn wrr_is_ipvs_sequence() {
    for (weights, sequence) in [
        (&[1u32, 2][..], &[2u8, 1, 2, 2, 1, 2, 2, 1, 2, 2, 1, 2][..]),
        (&[5, 3, 1], &[3, 2, 1, 1, 1, 2, 1, 2, 1, 3, 2, 1, 1, 1, 2, 1, 2, 1, 3, 2, 1, 1, 1, 2]),
    ] {
        let mut service = Service::new();
        for (server, weight) in (1..).zip(weights) {
            service.add(server, *weight);
        }
        assert_eq!(service.picks(sequence.len()), sequence, "{weights:?}");
    }
}

/// A capture of the real thing: 1:2, then server 1 to weight 3, then server 3 added with 2, then 2 deleted.
#[test]
fn wrr_goes_on_where_ipvs_does_when_the_list_changes() {
    let mut service = Service::new();
    service.add(1, 1);
    service.add(2, 2);
    assert_eq!(service.picks(10), [2, 1, 2, 2, 1, 2, 2, 1, 2, 2]);
    service.change(|list| list[1].weight = 3);
    assert_eq!(service.picks(15), [2, 1, 1, 2, 1, 2, 1, 1, 2, 1, 2, 1, 1, 2, 1]);
    service.add(3, 2);
    assert_eq!(service.picks(15), [3, 2, 1, 3, 2, 1, 1, 3, 2, 1, 3, 2, 1, 1, 3]);
    service.change(|list| list.retain(|c| c.server != 2));
    assert_eq!(service.picks(15), [3, 1, 3, 1, 1, 3, 1, 3, 1, 1, 3, 1, 3, 1, 1]);
}

#[test]
fn rr_runs_from_the_last_added_and_skips_the_quiesced() {
    let ring = rr(&[], &[], None, &list(&[(3, 1), (2, 5), (1, 1)]));
    assert_eq!((ring.slots.as_slice(), ring.start), (&[3, 2, 1][..], 0));
    let ring = rr(&[], &[], None, &list(&[(3, 1), (2, 0), (1, 1)]));
    assert_eq!(ring.slots, [3, 1]);
}

#[test]
fn rr_goes_on_after_the_server_served_last() {
    let before = list(&[(3, 1), (2, 1), (1, 1)]);
    let served_two = Some(Progress { start: 0, cursor: 2 });
    // A new server comes to the head of the list; the turn stays after server 2.
    let ring = rr(&before, &[3, 2, 1], served_two, &list(&[(4, 1), (3, 1), (2, 1), (1, 1)]));
    assert_eq!(ring.slots[usize::try_from(ring.start).unwrap()], 1);
    // The served server is deleted: the pointer moves back to 3, the next is 1.
    let ring = rr(&before, &[3, 2, 1], served_two, &list(&[(3, 1), (1, 1)]));
    assert_eq!(ring.slots[usize::try_from(ring.start).unwrap()], 1);
    // The served server is quiesced: it stays in the list, the next is 1.
    let ring = rr(&before, &[3, 2, 1], served_two, &list(&[(3, 1), (2, 0), (1, 1)]));
    assert_eq!(ring.slots[usize::try_from(ring.start).unwrap()], 1);
}

/// `ip_vs_wrr.c` as it is written: the list walked with a current weight, one pick at a time.
struct Kernel {
    list: Vec<Candidate<u8>>,
    at: Option<usize>,
    current: u64,
}

impl Kernel {
    fn changed(&mut self) {
        let bounds = WrrBounds::of(&self.list);
        let (step, most) = (bounds.step(), bounds.most());
        self.at = None;
        if self.current > most || self.current == 0 {
            self.current = most;
        } else if step > 1 {
            self.current = self.current / step * step + 1;
        }
    }

    fn pick(&mut self) -> Option<u8> {
        let bounds = WrrBounds::of(&self.list);
        let (step, most) = (bounds.step(), bounds.most());
        if most == 0 {
            return None;
        }
        loop {
            let from = self.at.map_or(0, |at| at + 1);
            for (index, candidate) in self.list.iter().enumerate().skip(from) {
                if u64::from(candidate.weight) >= self.current {
                    self.at = Some(index);
                    return Some(candidate.server);
                }
            }
            self.at = None;
            self.current = if self.current <= step { most } else { self.current - step };
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Add(u32),
    Weight(usize, u32),
    Delete(usize),
    Pick(usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (0u32..12).prop_map(Change::Add),
        (0usize..8, 0u32..12).prop_map(|(i, w)| Change::Weight(i, w)),
        (0usize..8).prop_map(Change::Delete),
        (1usize..30).prop_map(Change::Pick),
    ]
}

proptest! {
    #[test]
    fn wrr_equals_the_kernels_walk_whatever_changes(changes in prop::collection::vec(change(), 1..40)) {
        let mut ours = Service::new();
        let mut kernel = Kernel { list: Vec::new(), at: None, current: 0 };
        let mut next = 0u8;
        for change in changes {
            let edit = |list: &mut Vec<Candidate<u8>>| match change {
                Change::Add(weight) => list.insert(0, Candidate { server: next, weight }),
                Change::Weight(index, weight) => {
                    let length = list.len();
                    if let Some(c) = list.get_mut(index % length.max(1)) {
                        c.weight = weight;
                    }
                }
                Change::Delete(index) => {
                    if !list.is_empty() {
                        list.remove(index % list.len());
                    }
                }
                Change::Pick(_) => {}
            };
            if let Change::Pick(count) = change {
                if ours.ring.slots.is_empty() {
                    prop_assert_eq!(kernel.pick(), None);
                } else {
                    let expected: Vec<u8> = (0..count).map(|_| kernel.pick().unwrap()).collect();
                    prop_assert_eq!(ours.picks(count), expected);
                }
                continue;
            }
            ours.change(edit);
            edit(&mut kernel.list);
            kernel.changed();
            next = next.wrapping_add(1);
        }
    }

    #[test]
    fn scaled_weights_fit_and_keep_their_shares(weights in prop::collection::vec(0u32..=u32::MAX, 1..50)) {
        let small = scaled(&weights);
        let divisor = small.iter().fold(0, |g, w| gcd(g, u64::from(*w))).max(1);
        prop_assert!(small.iter().map(|w| u64::from(*w) / divisor).sum::<u64>() <= MAX_SLOTS);
        for (old, new) in weights.iter().zip(&small) {
            prop_assert_eq!(*old == 0, *new == 0);
        }
    }
}
