//! Loads the program, with new tables or with those that are pinned.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::programs::{ProgramError, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader};
use lb_common::conn::{Key as _, Key4, Key6, Part, buckets_for};
use lb_common::layout::Settings;
use lb_common::lease::slots_for;
use lb_common::{maps, memory};

use super::tables::{Tables, TablesError};

/// The director's program, compiled by build.rs.
pub static DIRECTOR: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/director.o"));
/// A program that passes every frame, for the other end of a veth.
pub static PASS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/pass.o"));
/// What a plain design would do, for benchmarks.
pub static BASELINE: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/baseline.o"));

/// Why the program or its tables cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The directory for the pins cannot be made.
    #[error("{path} cannot be created; is a BPF file system mounted there (`mount -t bpf bpf /sys/fs/bpf`)?")]
    Directory {
        /// Which.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The object or its maps are refused.
    #[error("the kernel refuses the BPF maps")]
    Object(#[source] Box<EbpfError>),
    /// The verifier refuses the program.
    #[error("the kernel refuses the BPF program")]
    Program(#[source] Box<ProgramError>),
    /// The tables.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// The kernel's clocks cannot be compared.
    #[error("the kernel's clocks cannot be compared")]
    Clock(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The seed of the connection table's hash.
    #[error("no random numbers")]
    Random(#[source] io::Error),
}

/// How large new connection tables are.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Connections of IPv4.
    pub ipv4: u32,
    /// Connections of IPv6.
    pub ipv6: u32,
    /// Connections of both by full NAT.
    pub full_nat: u32,
}

/// A loaded program and its tables.
#[derive(Debug)]
pub struct Loaded {
    /// Holds the program.
    pub ebpf: Ebpf,
    /// Its tables.
    pub tables: Tables,
}

impl Loaded {
    /// The program.
    pub fn program(&mut self) -> Result<&mut Xdp, LoadError> {
        director(&mut self.ebpf)
    }
}

/// The director's program among those that were loaded.
pub fn director(ebpf: &mut Ebpf) -> Result<&mut Xdp, LoadError> {
    let program = ebpf.program_mut(maps::PROGRAM).ok_or(TablesError::Missing { name: maps::PROGRAM })?;
    program.try_into().map_err(|source| LoadError::Program(Box::new(source)))
}

/// Loads the director's program. With `pins`, tables that are pinned in that directory are used and new ones
/// are pinned there; without, the tables live as long as the result.
///
/// # Errors
///
/// Pins of another layout are refused before anything is changed; tables that were new are unpinned again when
/// a later step fails.
pub fn load(pins: Option<&Path>, capacity: Capacity) -> Result<Loaded, LoadError> {
    let Some(directory) = pins else { return load_into(None, capacity) };
    if directory.join(maps::SETTINGS).exists() {
        // Refuses another layout.
        Tables::open(directory)?;
        return load_into(Some(directory), capacity);
    }
    fs::create_dir_all(directory)
        .map_err(|source| LoadError::Directory { path: directory.to_owned(), source })?;
    load_into(Some(directory), capacity).inspect_err(|_| unpin_tables(directory))
}

fn load_into(pins: Option<&Path>, capacity: Capacity) -> Result<Loaded, LoadError> {
    let paths: Vec<_> =
        pins.into_iter().flat_map(|dir| maps::ALL.map(|name| (name, dir.join(name)))).collect();
    let new = paths.iter().all(|(_, path)| !path.exists());
    let mut loader = EbpfLoader::new();
    for (name, path) in &paths {
        loader.map_pin_path(name, path.as_path());
    }
    let buckets = [buckets_for(capacity.ipv4), buckets_for(capacity.ipv6)];
    let leases = slots_for(capacity.full_nat);
    loader
        .map_max_entries(maps::CONNECTIONS4, Part::table(buckets[0], Key4::NEAR))
        .map_max_entries(maps::CONNECTIONS6, Part::table(buckets[1], Key6::NEAR));
    loader.map_max_entries(maps::LEASES, leases);
    let mut ebpf = loader.load(DIRECTOR).map_err(|source| LoadError::Object(Box::new(source)))?;
    director(&mut ebpf)?.load().map_err(|source| LoadError::Program(Box::new(source)))?;
    if new {
        clock(&mut ebpf)?.load().map_err(|source| LoadError::Program(Box::new(source)))?;
    }
    let mut tables = match pins {
        None => Tables::take(&mut ebpf)?,
        Some(directory) if !new => Tables::open(directory)?,
        Some(directory) => Tables::open_new(directory)?,
    };
    tables.learn_networks()?;
    if new {
        let mut seed = [0; 8];
        fill_random(&mut seed).map_err(LoadError::Random)?;
        set_clock(&mut ebpf, tables.settings())?;
        memory::initialise(tables.settings(), u64::from_ne_bytes(seed), buckets, leases);
    }
    Ok(Loaded { ebpf, tables })
}

fn clock(ebpf: &mut Ebpf) -> Result<&mut Xdp, LoadError> {
    let program =
        ebpf.program_mut(maps::CLOCK_PROGRAM).ok_or(TablesError::Missing { name: maps::CLOCK_PROGRAM })?;
    program.try_into().map_err(|source| LoadError::Program(Box::new(source)))
}

/// Has the program's clock, which counts jiffies, agree with the monotonic one to within a jiffy. The kernel derives
/// the one from the other (`kernel/time/tick-sched.c`), so they do not drift.
fn set_clock(ebpf: &mut Ebpf, settings: &Settings) -> Result<(), LoadError> {
    let frame = [0; 64];
    let options = TestRunOptions { data_in: Some(&frame), ..Default::default() };
    clock(ebpf)?.test_run(options).map_err(|source| LoadError::Clock(source.into()))?;
    let jiffy = nix::time::clock_getres(nix::time::ClockId::CLOCK_MONOTONIC_COARSE)
        .map_err(|source| LoadError::Clock(source.into()))?;
    let jiffy = u64::try_from(jiffy.tv_nsec()).unwrap_or(0);
    let (jiffies, now) = (settings.epoch.load(), settings.jiffy.load());
    settings.epoch.store(now.wrapping_sub(jiffies.wrapping_mul(jiffy)));
    settings.jiffy.store(jiffy);
    Ok(())
}

fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, bytes)
}

/// Removes the pins of all tables.
pub fn unpin_tables(directory: &Path) {
    for name in maps::ALL {
        // What is not there need not be removed.
        fs::remove_file(directory.join(name)).unwrap_or_default();
    }
    fs::remove_dir(directory).unwrap_or_default();
}
