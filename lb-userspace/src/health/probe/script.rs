//! `script`: a command exits with 0; as keepalived's MISC_CHECK.

use std::time::{Duration, Instant};

use super::{Context, Found, Passed, Problem, shown, timed_out};
use crate::health::core::Target;
use crate::process::{Ended, Run, RunError, Script};

/// What a script is told beside its arguments.
fn environment(target: &Target) -> Vec<(String, String)> {
    let (service, server) = (&target.service, &target.server);
    [
        ("LBCTL_VIRTUAL_ADDRESS", service.address.to_string()),
        ("LBCTL_VIRTUAL_PORT", service.port.to_string()),
        ("LBCTL_PROTOCOL", service.protocol_name().to_lowercase()),
        ("LBCTL_REAL_ADDRESS", server.address.to_string()),
        ("LBCTL_REAL_PORT", server.port.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

pub(super) async fn ask(target: &Target, script: &Script, weight_by_exit: bool, context: &Context) -> Found {
    let timeout = target.check.timing.timeout;
    let begun = Instant::now();
    let name = format!("{} {} {:?}", target.service, target.server, script.words);
    let turn = tokio::time::timeout(timeout, context.turns.take(&name, 1)).await;
    let turn = turn.map_err(|_elapsed| Problem::failed("the last one still hangs"))?;
    let left = timeout.saturating_sub(begun.elapsed());
    let (script, environment) = (script.clone(), environment(target));
    // On a task of its own, which ends the command properly when its time is over; that is not waited for.
    let run = tokio::spawn(async move {
        let run = Run { script: &script, arguments: Vec::new(), environment, timeout: left };
        let outcome = run.to_end().await;
        drop(turn);
        outcome
    });
    let outcome = match tokio::time::timeout(left + Duration::from_millis(100), run).await {
        Err(_elapsed) => return Err(Problem::Failed(timed_out(timeout))),
        Ok(Err(gone)) => return Err(Problem::Inconclusive(gone.to_string())),
        Ok(Ok(outcome)) => outcome,
    };
    let outcome = outcome.map_err(|error| match &error {
        RunError::Start { source, .. } | RunError::Follow { source, .. } | RunError::User { source, .. } => {
            let text = format!("{error}: {}", super::words(source));
            if super::is_ours(source) { Problem::Inconclusive(text) } else { Problem::Failed(text) }
        }
        RunError::NoUser(_) | RunError::StartTimedOut { .. } => Problem::Failed(error.to_string()),
    })?;
    let last = outcome.output.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let last: String = last.trim().chars().filter(|c| !c.is_control()).take(100).collect();
    let said = if last.is_empty() { String::new() } else { format!(": {last}") };
    let took = shown(outcome.took);
    match outcome.ended {
        Ended::Exited(0) => Ok(Passed::new(format!("exit status 0 in {took}"))),
        Ended::Exited(status @ 2..) if weight_by_exit => {
            let weight = i64::from(status) - 2;
            Ok(Passed {
                text: format!("exit status {status} in {took}, weight {weight}"),
                number: Some(weight),
            })
        }
        Ended::Exited(status) => Err(Problem::Failed(format!("exit status {status} in {took}{said}"))),
        Ended::Killed(signal) => Err(Problem::Failed(format!("ended by signal {signal} after {took}{said}"))),
        Ended::TimedOut => Err(Problem::Failed(timed_out(timeout))),
    }
}
