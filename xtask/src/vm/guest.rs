//! What runs inside the guest: two stages of boot, and the command.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::Guest;

/// In the initramfs, by busybox: puts the root together and goes there.
pub(super) const FIRST_STAGE: &str = r#"#!/bin/sh
export PATH=/bin
fail() { echo "lbctl-vm: $*" >/dev/console; sleep 1; reboot -f; }
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in $(cat /modules.list); do insmod "/modules/$m.ko" || fail "cannot load $m"; done
o=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o ro,cache=loose,$o root /lower || fail "cannot mount the host's root"
mount -t tmpfs -o mode=755,size=75% rw /rw && mkdir /rw/upper /rw/work || fail "cannot mount a tmpfs"
mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work root /new || fail "cannot mount the overlay"
for d in proc sys dev run tmp mnt media var/tmp usr/lib/modules; do mkdir -p /new/$d; done
for d in run mnt media; do mount -t tmpfs -o mode=755 none /new/$d; done
for d in tmp var/tmp; do mount -t tmpfs -o mode=1777 none /new/$d; done
mkdir -p /new/run/lbctl-vm
mount -t 9p -o $o control /new/run/lbctl-vm || fail "cannot mount the control directory"
mount -t 9p -o ro,cache=loose,$o modules /new/usr/lib/modules || fail "cannot mount the modules"
umount /sys /proc
mount -o move /dev /new/dev
exec switch_root /new /bin/sh /run/lbctl-vm/init </dev/console >/dev/console 2>&1
fail "cannot start the second stage"
"#;

/// On the root, by the host's shell, as process 1: mounts the rest, runs the command with its output in the serial
/// ports, and leaves its exit code in the control directory.
const SECOND_STAGE: &str = r#"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb
here=/run/lbctl-vm
end() { echo "$1" >$here/$2.new; mv $here/$2.new $here/$2; sync; exec busybox reboot -f; }
cd /
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm /run/lock /run/netns
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf -o mode=700 bpf /sys/fs/bpf
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
ln -sfn /proc/self/fd /dev/fd
ln -sfn /proc/self/fd/0 /dev/stdin
ln -sfn /proc/self/fd/1 /dev/stdout
ln -sfn /proc/self/fd/2 /dev/stderr
ln -sfn /proc/self/mounts /etc/mtab
echo lbctl-vm >/proc/sys/kernel/hostname
ip link set lo up
mount_shares || end "cannot mount the shared directories" trouble
port() {
  for p in /sys/class/virtio-ports/*; do
    if [ "$(cat "$p/name")" = "$1" ]; then echo "/dev/${p##*/}"; return; fi
  done
}
out=$(port out) err=$(port err)
[ -n "$out" ] && [ -n "$err" ] || end "no ports for the output" trouble
: >$here/booted
mkfifo /run/out /run/err
cat </run/out >"$out" & out_relay=$!
cat </run/err >"$err" & err_relay=$!
setsid -w sh $here/command </dev/null >/run/out 2>/run/err
code=$?
# The rest of the output; but a daemon that was left running holds the pipes open.
n=0
while [ $n -lt 20 ] && { kill -0 $out_relay || kill -0 $err_relay; } 2>/dev/null; do sleep .1; n=$((n + 1)); done
end $code code
"#;

/// Where the scripts are, and where what became of the command is written. The names that the guest writes are
/// relative to the control directory.
#[derive(Debug)]
pub(super) struct Control<'a>(pub(super) &'a Path);

impl Control<'_> {
    /// Writes the scripts for a guest.
    pub(super) fn write(
        &self,
        guest: &Guest,
        command: &[OsString],
        merges_output: bool,
    ) -> std::io::Result<()> {
        let mut init = String::from("mount_shares() {\n  o=trans=virtio,version=9p2000.L,msize=512000\n");
        let mut paths = Vec::new();
        for (index, share) in guest.shares.iter().enumerate() {
            let mode = if share.is_writable { "rw" } else { "ro" };
            // mmap: what is written reaches the host at once, and programs can be run.
            let options = format!("{mode},cache=mmap,$o");
            writeln!(init, "  d=$(cat $here/share{index}) && mkdir -p \"$d\" || return")
                .and_then(|()| writeln!(init, "  mount -t 9p -o {options} share{index} \"$d\" || return"))
                .unwrap_or_default();
            paths.push(share.path.as_os_str());
        }
        init.push_str("  return 0\n}\n");
        init.push_str(SECOND_STAGE);
        fs::write(self.0.join("init"), init)?;
        for (index, path) in paths.into_iter().enumerate() {
            fs::write(self.0.join(format!("share{index}")), path.as_bytes())?;
        }

        let mut script = Vec::new();
        for (name, value) in &guest.environment {
            script.extend_from_slice(format!("export {name}=").as_bytes());
            quote(value, &mut script);
            script.push(b'\n');
        }
        script.extend_from_slice(b"cd ");
        quote(guest.directory.as_os_str(), &mut script);
        script.extend_from_slice(b" 2>/dev/null || cd /\nexec");
        for argument in command {
            script.push(b' ');
            quote(argument, &mut script);
        }
        script.extend_from_slice(if merges_output { b" 2>&1\n" } else { b"\n" });
        fs::write(self.0.join("command"), script)
    }

    /// Did the guest get as far as the command?
    pub(super) fn has_booted(&self) -> bool {
        self.0.join("booted").exists()
    }

    /// Why the guest gave up before the command.
    pub(super) fn trouble(&self) -> Option<String> {
        Some(fs::read_to_string(self.0.join("trouble")).ok()?.trim().to_owned())
    }

    /// The command's exit code, once it has ended.
    pub(super) fn code(&self) -> Option<u8> {
        fs::read_to_string(self.0.join("code")).ok()?.trim().parse().ok()
    }
}

/// One word for a shell, whatever it contains.
fn quote(word: &OsStr, out: &mut Vec<u8>) {
    out.push(b'\'');
    for byte in word.as_bytes() {
        match byte {
            b'\'' => out.extend_from_slice(b"'\\''"),
            other => out.push(*other),
        }
    }
    out.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_quoted_word_is_one_word_to_a_shell() {
        for word in ["plain", "two words", "it's", "$HOME `x` \"y\" \\", "line\nbreak", ""] {
            let mut script = b"printf '%s.' ".to_vec();
            quote(OsStr::new(word), &mut script);
            let output = Command::new("sh").arg("-c").arg(OsStr::from_bytes(&script)).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{word}."));
        }
    }
}
