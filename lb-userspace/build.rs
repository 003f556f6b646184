//! Compiles the BPF programs of `lb-ebpf`, which are embedded into the binary: `$OUT_DIR/{director,pass,baseline}.o`.

#[path = "../xtask/src/toolchain.rs"]
mod toolchain;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use toolchain::{Core, TARGET, Toolchain};

/// The binaries of `lb-ebpf`.
const PROGRAMS: [&str; 3] = ["director", "pass", "baseline"];

/// What the objects are made of, relative to this package. Dependencies are pinned in these manifests' workspace.
const INPUTS: [&str; 5] = [
    "../lb-ebpf/src",
    "../lb-ebpf/Cargo.toml",
    "../lb-common/src",
    "../lb-common/Cargo.toml",
    "../xtask/src/toolchain.rs",
];

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report("error", &error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<()> {
    let mut out = io::stdout().lock();
    for input in INPUTS {
        writeln!(out, "cargo::rerun-if-changed={input}")?;
    }
    drop(out);

    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let mut installed = Vec::new();
    let toolchain = toolchain::find_or_install(&mut installed);
    report("warning", &String::from_utf8_lossy(&installed));
    let objects = compile(&toolchain?, &target_dir(&out_dir))?;
    for program in PROGRAMS {
        let (from, to) = (objects.join(program), out_dir.join(program).with_extension("o"));
        fs::copy(&from, &to)
            .map_err(|error| format!("{} cannot be copied to {}: {error}", from.display(), to.display()))?;
    }
    Ok(())
}

/// A target directory of its own, because this cargo holds the lock of the outer one; but one for all profiles and
/// features, because the objects do not depend on them.
fn target_dir(out_dir: &Path) -> PathBuf {
    let outer = out_dir.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
    outer.unwrap_or(out_dir).join("bpf")
}

/// Compiles the programs and returns the directory they are in.
fn compile(toolchain: &Toolchain, target_dir: &Path) -> Result<PathBuf> {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("../lb-ebpf/Cargo.toml");
    let flags = [
        format!("--cfg=bpf_target_arch=\"{}\"", variable("CARGO_CFG_TARGET_ARCH")?),
        format!("-Clinker={}", toolchain.linker.display()),
        "-Clink-arg=--btf".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        // Headers are not aligned in a frame, and the kernel lets programs load from there (x86-64, arm64).
        "-Clink-arg=--cpu-features=+allows-misaligned-mem-access".to_owned(),
        // Atomics that return the old value, 32-bit jumps: kernel 5.12.
        "-Ctarget-cpu=v3".to_owned(),
    ];
    let mut cargo = Command::new(&toolchain.cargo);
    toolchain::clean_environment(&mut cargo, false);
    cargo.args(["build", "--release", "--bins", "--locked", "--color=never", "--target", TARGET]);
    cargo.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(target_dir);
    cargo.env("RUSTC", &toolchain.rustc).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    // bpf-linker sees the whole program anyway.
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "off");
    match toolchain.core {
        Core::BuiltFromSource => cargo.arg("-Zbuild-std=core"),
        Core::Prebuilt => cargo.env("RUSTC_BOOTSTRAP", "1"),
    };

    let output = cargo
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{} cannot be run: {error}", toolchain.cargo.display()))?;
    let messages = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("the BPF programs do not compile ({toolchain}):\n{messages}").into());
    }
    if messages.lines().any(|line| line.starts_with("warning")) {
        report("warning", &messages);
    }
    Ok(target_dir.join(TARGET).join("release"))
}

fn variable(name: &str) -> Result<String> {
    env::var(name).map_err(|error| format!("{name}: {error}; this program is run by cargo").into())
}

/// Has cargo show these lines: a build script's own output is shown only when it fails.
fn report(kind: &str, lines: &str) {
    let mut out = io::stdout().lock();
    for line in lines.lines() {
        writeln!(out, "cargo::{kind}={line}").unwrap_or_default();
    }
}
