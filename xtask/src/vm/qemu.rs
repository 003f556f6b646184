//! Starts QEMU for a guest, passes its output on, and finds out what became of the command.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::guest::Control;
use super::kernel::Prepared;
use super::{Guest, Outcome};

/// mitigations: none is of use in emulation, and each costs. tsc: else the kernel calibrates it for seconds.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet loglevel=3 panic=-1 reboot=t mitigations=off nokaslr nowatchdog \
    tsc=reliable random.trust_cpu=on cryptomgr.notests raid=noautodetect";

/// Lines of the console that an error shows.
const CONSOLE_LINES: usize = 25;

pub(super) fn run(guest: &Guest, kernel: &Prepared, command: &[OsString]) -> anyhow::Result<Outcome> {
    let scratch = tempfile::Builder::new().prefix("lbctl-vm.").tempdir().context("no temporary directory")?;
    let directory = scratch.path().join("control");
    fs::create_dir(&directory)?;
    let control = Control(&directory);
    control.write(guest, command, is_one_output()).context("the guest's scripts cannot be written")?;
    let console = scratch.path().join("console");

    let mut qemu = machine(guest, kernel, &directory, &console);
    let started = Instant::now();
    let mut child = qemu.spawn().context("qemu-system-x86_64 cannot be run; run `cargo xtask setup`")?;
    let to = (output(guest, io::stdout())?, output(guest, io::stderr())?);
    let relays = [
        child.stdout.take().map(|from| relay(from, to.0)),
        child.stderr.take().map(|from| relay(from, to.1)),
    ];
    let in_time = wait(&mut child, guest.timeout.map(|timeout| started + timeout))?;
    for relay in relays.into_iter().flatten() {
        if relay.join().is_err() {
            bail!("passing on the guest's output panicked");
        }
    }

    if let Some(code) = control.code() {
        return Ok(Outcome::Exited(code));
    }
    if let Some(trouble) = control.trouble() {
        bail!("the guest gave up: {trouble}{}", end_of(&console));
    }
    match (in_time, control.has_booted()) {
        (false, true) => Ok(Outcome::TimedOut),
        (false, false) => {
            crate::progress(&format!("the guest was still booting{}", end_of(&console)));
            Ok(Outcome::TimedOut)
        }
        (true, true) => bail!("the guest ended while the command ran{}", end_of(&console)),
        (true, false) => bail!("the guest did not boot{}", end_of(&console)),
    }
}

/// The command that runs the machine. Its standard output and error are those of the guest's command.
fn machine(guest: &Guest, kernel: &Prepared, control: &Path, console: &Path) -> Command {
    let cpus = guest.cpus.unwrap_or(if guest.counts_instructions { 1 } else { 2 });
    // setpriv: the machine must not outlive this program, however that ends.
    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none"]);
    qemu.args(["-machine", "pc", "-cpu", "max,la57=off"]);
    qemu.args(["-smp", &cpus.to_string(), "-m", &guest.memory.to_string()]);
    if guest.counts_instructions {
        qemu.args(["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=on"]);
    } else {
        qemu.args(["-accel", "tcg,thread=multi"]);
    }
    qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&kernel.initramfs);
    qemu.args(["-append", KERNEL_ARGUMENTS]);
    qemu.arg("-serial").arg(joined("file:", console));

    let mut share = |tag: &str, path: &Path, is_writable: bool| {
        let rights = if is_writable { "" } else { ",readonly=on" };
        let mut device =
            joined(&format!("local,id={tag},security_model=none,multidevs=remap{rights},path="), path);
        qemu.arg("-fsdev").arg(&device);
        device = format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}").into();
        qemu.arg("-device").arg(device);
    };
    share("root", Path::new("/"), false);
    share("modules", &kernel.modules, false);
    share("control", control, true);
    for (index, directory) in guest.shares.iter().enumerate() {
        share(&format!("share{index}"), &directory.path, directory.is_writable);
    }

    qemu.args(["-device", "virtio-serial-pci"]);
    for (name, path) in [("out", "/dev/stdout"), ("err", "/dev/stderr")] {
        qemu.args(["-chardev", &format!("file,id={name},path={path},append=on")]);
        qemu.args(["-device", &format!("virtserialport,chardev={name},name={name}")]);
    }
    qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    qemu
}

fn joined(before: &str, path: &Path) -> OsString {
    let mut text = OsString::from(before);
    text.push(path);
    text
}

/// Copies until the end. A reader that goes away must not stall the guest: then the rest is thrown away.
fn output(guest: &Guest, own: impl Write + Send + 'static) -> io::Result<Box<dyn Write + Send>> {
    Ok(match &guest.log {
        Some(log) => Box::new(log.try_clone()?),
        None => Box::new(own),
    })
}

fn relay(mut from: impl Read + Send + 'static, mut to: impl Write + Send + 'static) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        let mut is_open = true;
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let bytes = buffer.get(..length).unwrap_or_default();
            is_open = is_open && to.write_all(bytes).and_then(|()| to.flush()).is_ok();
        }
    })
}

/// Waits for the machine's end; at the deadline kills it and returns false.
fn wait(child: &mut Child, deadline: Option<Instant>) -> io::Result<bool> {
    loop {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Do standard output and standard error go to the same file? Then the guest's must too, to stay in order.
fn is_one_output() -> bool {
    let file =
        |number| fs::metadata(format!("/proc/self/fd/{number}")).map(|file| (file.dev(), file.ino())).ok();
    file(1).is_some() && file(1) == file(2)
}

/// The guest's console, from the first sign of trouble, else its last lines; for an error message.
fn end_of(console: &Path) -> String {
    const TROUBLE: [&str; 5] = ["Kernel panic", "BUG:", "Oops", "general protection", "lbctl-vm:"];
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let start = lines.iter().position(|line| TROUBLE.iter().any(|trouble| line.contains(trouble)));
    let start = start.unwrap_or(lines.len().saturating_sub(CONSOLE_LINES));
    let shown: Vec<String> =
        lines.iter().skip(start).take(CONSOLE_LINES).map(|line| format!("\n  | {line}")).collect();
    if shown.is_empty() { String::new() } else { format!("; its console:{}", shown.concat()) }
}
