//! A bounded, repeatable run of the fuzz targets: mutated captures, the same ones each time.

#![expect(clippy::expect_used, reason = "helpers of a test")]

#[path = "../../../fuzz/checks/vrrp_decode.rs"]
mod vrrp_decode;

use lb_userspace::vrrp::packet::Check;

const RUNS: usize = 250_000;

macro_rules! seeds {
    ($($name:literal),*) => {
        [$(include_bytes!(concat!("../../../fuzz/seeds/vrrp_decode/", $name)).as_slice()),*]
    };
}

const SEEDS: [&[u8]; 9] = seeds![
    "v2_leaving",
    "v2_password",
    "v2_plain",
    "v2_stranger",
    "v2_unicast",
    "v3_ipv4",
    "v3_ipv6",
    "v3_ipv6_unicast",
    "v3_plain_checksum"
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.next() % length.max(1) as u64).expect("a length")
    }

    fn byte(&mut self) -> u8 {
        const EDGES: [u8; 8] = [0, 1, 2, 0x21, 0x31, 0x7f, 0x80, 0xff];
        let [any, ..] = self.next().to_le_bytes();
        if self.index(2) == 0 { EDGES[self.index(EDGES.len())] } else { any }
    }

    /// One of the things that libFuzzer does too.
    fn mutate(&mut self, input: &mut Vec<u8>) {
        let at = self.index(input.len());
        match self.index(8) {
            0 | 1 if !input.is_empty() => input[at] ^= 1 << self.index(8),
            2 | 3 if !input.is_empty() => input[at] = self.byte(),
            4 => input.truncate(at),
            5 => {
                let byte = self.byte();
                input.insert(at, byte);
            }
            6 if !input.is_empty() => {
                input.remove(at);
            }
            _ => {
                let other = SEEDS[self.index(SEEDS.len())];
                let tail = &other[self.index(other.len())..];
                input.truncate(at);
                input.extend_from_slice(tail);
            }
        }
    }
}

#[test]
fn mutated_adverts() {
    let mut random = Random(112);
    let (mut accepted, mut refused, mut remarks) = (0, [0_u32; Check::ALL.len()], 0);
    for run in 0..RUNS {
        let mut input = SEEDS[run % SEEDS.len()].to_vec();
        for _ in 0..random.index(4) {
            random.mutate(&mut input);
        }
        // In half of them the mutation is not hidden behind a wrong checksum.
        if let Some(options) = input.first_mut()
            && random.index(2) == 0
        {
            *options |= 1 << 5;
        }
        match vrrp_decode::check(&input) {
            None => {}
            Some(Ok(received)) => {
                accepted += 1;
                remarks += received.remarks.len();
            }
            Some(Err(refusal)) => refused[refusal.check().index()] += 1,
        }
    }
    // It gets everywhere, so it says something.
    assert!(accepted > RUNS / 20 && remarks > RUNS / 50, "{accepted} accepted, {remarks} remarks");
    for check in Check::ALL.into_iter().filter(|check| !check.is_accepted()) {
        assert!(refused[check.index()] > 0, "{check:?} was never reached: {refused:?}");
    }
}
