//! Tasks that find out how tracked scripts, processes and files are. They run beside the daemon's loop, not on the
//! protocol's thread: a look at `/proc` or the start of a program takes its time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Observer;
use super::track::Observation;
use crate::config::vrrp::{TrackFile, TrackProcess, TrackScript, Vrrp};
use crate::process::Run;
use crate::vrrp::priority::Health;

/// How often processes are counted and files are read.
const LOOK: Duration = Duration::from_millis(250);
/// A longer text is no number.
const MAX_NUMBER: usize = 32;

/// The running tasks; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Observers {
    config: Vrrp,
    tasks: JoinSet<()>,
}

impl Observers {
    pub(super) fn start(config: &Vrrp, observer: &Observer) -> Self {
        let mut tasks = JoinSet::new();
        for script in &config.scripts {
            tasks.spawn(follow_script(script.clone(), observer.clone()));
        }
        if !config.processes.is_empty() {
            tasks.spawn(follow_processes(config.processes.clone(), observer.clone()));
        }
        for file in &config.files {
            tasks.spawn(follow_file(file.clone(), observer.clone()));
        }
        Self { config: config.clone(), tasks }
    }

    /// Begins anew if something else is tracked now.
    pub(super) fn configure(&mut self, config: &Vrrp, observer: &Observer) {
        let of = |config: &Vrrp| (config.scripts.clone(), config.processes.clone(), config.files.clone());
        if of(&self.config) != of(config) {
            self.tasks.abort_all();
            *self = Self::start(config, observer);
        }
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// Successes and failures in a row.
#[derive(Debug)]
struct Streak {
    health: Health,
    is_good: bool,
    length: u32,
}

impl Streak {
    /// keepalived's rule (`vrrp_script_child_thread`): the first result counts at once, later ones when they have
    /// come `rise` or `fall` times in a row.
    fn count(&mut self, script: &TrackScript, is_good: bool) -> Health {
        self.length = if self.is_good == is_good { self.length.saturating_add(1) } else { 1 };
        self.is_good = is_good;
        let needed = if is_good { script.rise } else { script.fall };
        if self.health == Health::Unknown || self.length >= needed {
            self.health = if is_good { Health::Up } else { Health::Down };
        }
        self.health
    }
}

async fn follow_script(script: TrackScript, observer: Observer) {
    let health = if script.init_fail { Health::Down } else { Health::Unknown };
    let mut streak = Streak { health, is_good: false, length: 0 };
    if script.init_fail {
        observer.tell(Observation::Script(script.name.clone(), health));
    }
    let mut ticks = ticks(script.interval);
    loop {
        ticks.tick().await;
        let run = Run {
            script: &script.command,
            arguments: Vec::new(),
            environment: Vec::new(),
            timeout: script.timeout,
        };
        let (is_good, why) = match run.to_end().await {
            Ok(outcome) => (outcome.is_success(), outcome.to_string()),
            Err(error) => (false, format!("was not run: {error}")),
        };
        let before = streak.health;
        let health = streak.count(&script, is_good);
        if before != health {
            match health {
                Health::Up => tracing::info!("script {}: good", script.name),
                Health::Down | Health::Unknown => tracing::warn!("script {}: failed: it {why}", script.name),
            }
        }
        if !observer.tell(Observation::Script(script.name.clone(), health)) {
            return;
        }
    }
}

async fn follow_processes(processes: Vec<TrackProcess>, observer: Observer) {
    // What was seen last, and since when.
    let mut seen: BTreeMap<String, (Health, Instant)> = BTreeMap::new();
    let mut told: BTreeMap<String, Health> = BTreeMap::new();
    let mut ticks = ticks(LOOK);
    loop {
        ticks.tick().await;
        let wanted: Vec<String> = processes.iter().map(|process| process.process.clone()).collect();
        let Ok(counts) = tokio::task::spawn_blocking(move || count_processes(&wanted)).await else {
            continue;
        };
        for (process, count) in processes.iter().zip(counts) {
            let health = if count >= process.quorum { Health::Up } else { Health::Down };
            let entry = seen.entry(process.name.clone()).or_insert_with(|| (health, Instant::now()));
            if entry.0 != health {
                *entry = (health, Instant::now());
            }
            let is_first = !told.contains_key(&process.name);
            if !is_first && entry.1.elapsed() < process.delay {
                continue;
            }
            if told.insert(process.name.clone(), health) != Some(health) {
                let (name, quorum) = (&process.process, process.quorum);
                match health {
                    Health::Up => tracing::info!("process {name}: {count} run"),
                    Health::Down | Health::Unknown => {
                        tracing::warn!("process {name}: {count} run, {quorum} are needed");
                    }
                }
                if !observer.tell(Observation::Process(process.name.clone(), health)) {
                    return;
                }
            }
        }
    }
}

/// How many processes there are of each name; zombies have ended.
fn count_processes(names: &[String]) -> Vec<u32> {
    let mut counts = vec![0; names.len()];
    let Ok(entries) = fs::read_dir("/proc") else { return counts };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(|first: char| first.is_ascii_digit()) {
            continue;
        }
        let directory = entry.path();
        for (count, name) in counts.iter_mut().zip(names) {
            if is_of(&directory, name) {
                *count += 1;
            }
        }
    }
    counts
}

/// Is the process in this directory of `/proc` one of this name, or of this path?
fn is_of(directory: &Path, name: &str) -> bool {
    if name.contains('/') {
        return fs::read_link(directory.join("exe")).is_ok_and(|path| path == Path::new(name));
    }
    // The name that `ps -C` compares: at most 15 bytes.
    let Ok(comm) = fs::read_to_string(directory.join("comm")) else { return false };
    let cut = name.get(..15).unwrap_or(name);
    if comm.trim_end_matches('\n') != cut {
        return false;
    }
    // A zombie has the name, but runs nothing.
    let state = fs::read_to_string(directory.join("stat")).unwrap_or_default();
    !state.rsplit(')').next().unwrap_or_default().trim_start().starts_with(['Z', 'X'])
}

async fn follow_file(file: TrackFile, observer: Observer) {
    if let Some(init) = file.init
        && !file.file.exists()
        && let Err(error) = fs::write(&file.file, format!("{init}\n"))
    {
        tracing::error!("file {}: cannot be written: {error}", file.file.display());
    }
    let mut last = None;
    let mut ticks = ticks(LOOK);
    loop {
        ticks.tick().await;
        let value = read_number(&file.file);
        if last.replace(value) != Some(value) {
            tracing::info!("file {}: {value}", file.file.display());
            if !observer.tell(Observation::File(file.name.clone(), value)) {
                return;
            }
        }
    }
}

/// The number in a file; 0 if there is none, as keepalived has it.
fn read_number(path: &Path) -> i64 {
    use std::io::Read as _;
    let read = || -> std::io::Result<String> {
        let mut text = String::new();
        fs::File::open(path)?.take(MAX_NUMBER as u64).read_to_string(&mut text)?;
        Ok(text)
    };
    read().ok().and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Script;

    #[test]
    fn the_first_result_counts_at_once_and_later_ones_in_rows() {
        let script = TrackScript {
            name: "s".to_owned(),
            command: Script { words: vec!["true".to_owned()], user: None },
            interval: LOOK,
            timeout: LOOK,
            rise: 2,
            fall: 3,
            weight: 0,
            init_fail: false,
        };
        let mut streak = Streak { health: Health::Unknown, is_good: false, length: 0 };
        let results = [true, false, false, true, false, false, false, true, true];
        let healths: Vec<_> = results.iter().map(|good| streak.count(&script, *good)).collect();
        use Health::{Down, Up};
        assert_eq!(healths, [Up, Up, Up, Up, Up, Up, Down, Down, Up]);
    }

    #[test]
    fn a_file_without_a_number_is_zero() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        assert_eq!(read_number(&path), 0);
        for (text, number) in [("", 0), ("7\n", 7), (" -30 \n", -30), ("down", 0), ("5 apples", 5)] {
            fs::write(&path, text).unwrap();
            assert_eq!(read_number(&path), number, "{text:?}");
        }
    }

    #[test]
    fn processes_are_counted_by_name_or_path() {
        let own = fs::read_to_string("/proc/self/comm").unwrap().trim().to_owned();
        let path = std::env::current_exe().unwrap().display().to_string();
        let counts = count_processes(&[own, path, "no-such-process-here".to_owned()]);
        assert!(counts[0] >= 1 && counts[1] >= 1 && counts[2] == 0, "{counts:?}");
    }
}
