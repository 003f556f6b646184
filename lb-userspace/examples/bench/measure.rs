//! Times of single runs, compared in one interleaved series.
//!
//! The kernel reads its clock before and after each run. One run per call leaves the packet as it came in, lets
//! every call be another flow, and pays each time for what the system call in between took out of the caches
//! nearest to the CPU; the clock's own cost is in the empty program's time too and so falls out. A series is
//! rounds of a batch of the empty program, one of ours, one of the baseline's. A program's time is the median over
//! the rounds of its batch's time less that round's empty one.

use anyhow::{Result, ensure};
use aya::programs::Xdp;

use crate::frames::Frame;
use crate::subjects::run;

/// The programs in the order in which a round runs them.
#[derive(Debug)]
pub(crate) struct Programs<'p> {
    pub(crate) empty: &'p Xdp,
    pub(crate) ours: &'p Xdp,
    pub(crate) baseline: &'p Xdp,
}

/// How a series is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series {
    /// Rounds.
    pub(crate) rounds: u32,
    /// Runs in a batch.
    pub(crate) batch: u32,
    /// What our program and the baseline must return (`XDP_PASS`, `XDP_TX`): else it was not what is measured.
    pub(crate) verdict: u32,
}

pub(crate) const XDP_PASS: u32 = 2;
pub(crate) const XDP_TX: u32 = 3;

/// Nanoseconds of a run, net of the empty program's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) ours: f64,
    pub(crate) baseline: f64,
    /// Not net of anything.
    pub(crate) empty: f64,
}

/// Runs a series. `flow` gives the flow of the n-th run of each program.
pub(crate) fn series(
    programs: &Programs<'_>,
    series: Series,
    frame: &mut Frame,
    flow: impl Fn(u32) -> u32,
) -> Result<Times> {
    let (mut empty, mut ours, mut baseline) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..series.rounds {
        let start = round * series.batch;
        let mut batch = |program: &Xdp, verdict: u32| -> Result<f64> {
            let mut times = Vec::with_capacity(series.batch as usize);
            for run_number in start..start + series.batch {
                let (returned, time) = run(program, frame.of_flow(flow(run_number)))?;
                ensure!(returned == verdict, "the program returned {returned}, not {verdict}");
                times.push(u32::try_from(time.as_nanos()).unwrap_or(u32::MAX));
            }
            Ok(typical(&mut times))
        };
        let nothing = batch(programs.empty, XDP_PASS)?;
        empty.push(nothing);
        ours.push(batch(programs.ours, series.verdict)? - nothing);
        baseline.push(batch(programs.baseline, series.verdict)? - nothing);
    }
    Ok(Times { ours: median(&mut ours), baseline: median(&mut baseline), empty: median(&mut empty) })
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
