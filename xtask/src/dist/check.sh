# check.sh ROOT PACKAGE: see check.rs.
root=$1
package=$2

say() { echo "check: $*" >&2; }
fail() { say "$*"; exit 1; }

# A root with a shell, what the maintainer scripts call, the C library, and an empty package database.
mkdir -p "$root"
cd "$root"
mkdir -p bin lib64 usr/lib/x86_64-linux-gnu usr/bin etc tmp run sys proc dev
mkdir -p var/lib/dpkg/info var/lib/dpkg/updates var/lib/dpkg/triggers var/log
: >var/lib/dpkg/status
ln -s usr/lib lib
for program in sh rm rmdir basename dirname ls cat; do
    path=$(command -v "$program")
    cp "$(readlink -f "$path")" "bin/$program"
    ldd "$path" | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p ".$(dirname "$library")"
        cp -n "$(readlink -f "$library")" ".$library"
    done
done
for library in libgcc_s.so.1 libm.so.6 libc.so.6; do
    cp -n "$(readlink -f /lib/x86_64-linux-gnu/$library)" "usr/lib/x86_64-linux-gnu/$library"
done
mkdir -p lib64
cp -n "$(readlink -f /lib64/ld-linux-x86-64.so.2)" lib64/ld-linux-x86-64.so.2
mknod -m 666 dev/null c 1 3
mount -t proc proc proc
mount -t sysfs sysfs sys
mkdir -p sys/fs/bpf
mount -t bpf bpf sys/fs/bpf

files() { find . -xdev -path ./var/lib/dpkg -prune -o -path ./var/log -prune -o -path ./proc -prune \
    -o -path ./sys -prune -o -print | sort; }
dpkg_in() { dpkg --root="$root" --force-depends --force-not-root "$@"; }
in_root() { chroot "$root" "$@"; }

files >/tmp/check-before.$$
ip link show >/dev/null 2>&1 || fail "no ip"

say "installing"
dpkg_in --install "$package"
dpkg_in --verify lbctl >/tmp/check-verify.$$
[ ! -s /tmp/check-verify.$$ ] || fail "files differ from the package: $(cat /tmp/check-verify.$$)"

say "running"
in_root lbctl --version
in_root ls /usr/share/man/man8/lbctl.8.gz /usr/share/man/man8/lbctl-ipvsadm.8.gz \
    /usr/share/bash-completion/completions/lbctl /usr/lib/systemd/system/lbctl.service
for example in usr/share/doc/lbctl/examples/*.toml; do
    in_root lbctl check -c "/$example" >/dev/null || fail "$example"
done
ip link set lo up
ip link add eth0 type veth peer name eth1
ip address add 192.168.4.1/24 dev eth0
ip link set eth0 up
ip link set eth1 up
cat >etc/lbctl/lbctl.toml <<'EOF'
[director]
router_id = "check"
interfaces = ["eth0"]
xdp_mode = "generic"
[[virtual_server]]
address = "192.168.4.15:80"
[[virtual_server.real_server]]
address = "192.168.4.100"
EOF
in_root lbctl up -d
in_root lbctl list | grep -q "TCP  192.168.4.15:80 wrr" || fail "not in the listing"
ip address show dev eth0 | grep -q 192.168.4.15 || fail "no virtual address"

say "upgrading"
dpkg_in --install "$package"
in_root lbctl list | grep -q "TCP  192.168.4.15:80 wrr" || fail "the upgrade took the director down"

say "removing"
dpkg_in --remove lbctl
ip address show dev eth0 | grep -q 192.168.4.15 && fail "the virtual address is still there"
ls sys/fs/bpf/lbctl 2>/dev/null && fail "the datapath is still there"
[ -e etc/lbctl/lbctl.toml ] || fail "the configuration is gone before a purge"

say "purging"
dpkg_in --purge lbctl
[ -e etc/lbctl/lbctl.toml ] || fail "the administrator's own file is gone"
rm -r etc/lbctl
files >/tmp/check-after.$$
diff /tmp/check-before.$$ /tmp/check-after.$$ || fail "files are left behind"
rm /tmp/check-before.$$ /tmp/check-after.$$ /tmp/check-verify.$$
umount sys/fs/bpf sys proc
