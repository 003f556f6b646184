//! Times of single runs, compared in one interleaved series.
//!
//! The kernel reads its clock before and after each run. One run per call leaves the packet as it came in, lets
//! every call be another flow, and pays each time for what the system call in between took out of the caches
//! nearest to the CPU; the clock's own cost is in the empty program's time too and so falls out. A series is
//! rounds of a batch of the empty program and one of each subject. A subject's time is the median over
//! the rounds of its batch's time less that round's empty one.

use anyhow::{Result, ensure};
use aya::programs::Xdp;

use crate::frames::Frame;
use crate::subjects::run;

/// What takes its turn in a round: a program on frames of flows.
#[derive(Debug)]
pub(crate) struct Subject<'p> {
    pub(crate) program: &'p Xdp,
    pub(crate) frame: Frame,
    /// What the program must return (`XDP_PASS`, `XDP_TX`): else it was not what is measured.
    pub(crate) verdict: u32,
}

/// How a series is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series {
    /// Rounds.
    pub(crate) rounds: u32,
    /// Runs in a batch.
    pub(crate) batch: u32,
}

pub(crate) const XDP_PASS: u32 = 2;
pub(crate) const XDP_TX: u32 = 3;

/// Nanoseconds of a run.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    /// The empty program's.
    pub(crate) empty: f64,
    /// Of each subject, net of the empty program's.
    pub(crate) net: Vec<f64>,
}

/// Runs a series. `flow` gives the flow of the n-th run of each program; after each round `between` does what is done
/// beside forwarding.
pub(crate) fn series(
    empty: &Xdp,
    subjects: &mut [Subject<'_>],
    series: Series,
    flow: impl Fn(u32) -> u32,
    mut between: impl FnMut(),
) -> Result<Times> {
    let mut nothing = Subject { program: empty, frame: Frame::arp(), verdict: XDP_PASS };
    let mut floors = Vec::new();
    let mut times = vec![Vec::new(); subjects.len()];
    for round in 0..series.rounds {
        let start = round * series.batch;
        let batch = |subject: &mut Subject<'_>| -> Result<f64> {
            let mut times = Vec::with_capacity(series.batch as usize);
            for run_number in start..start + series.batch {
                let frame = subject.frame.of_flow(flow(run_number));
                let (returned, time) = run(subject.program, frame)?;
                let expected = subject.verdict;
                ensure!(returned == expected, "the program returned {returned}, not {expected}");
                times.push(u32::try_from(time.as_nanos()).unwrap_or(u32::MAX));
            }
            Ok(typical(&mut times))
        };
        let floor = batch(&mut nothing)?;
        floors.push(floor);
        for (subject, times) in subjects.iter_mut().zip(&mut times) {
            times.push(batch(subject)? - floor);
        }
        between();
    }
    Ok(Times { empty: median(&mut floors), net: times.iter_mut().map(|times| median(times)).collect() })
}

/// The time of a batch: the mean without the tenth of the runs that took longest (interrupts are among them) and
/// the tenth that took shortest. The clock may go in steps as long as the empty program (10 ns have been seen):
/// a median would jump by a step, a mean sees through it.
fn typical(times: &mut [u32]) -> f64 {
    times.sort_unstable();
    let tenth = times.len() / 10;
    let middle = times.get(tenth..times.len() - tenth).unwrap_or_default();
    middle.iter().map(|time| f64::from(*time)).sum::<f64>() / middle.len() as f64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
