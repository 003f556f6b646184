# check.sh DIRECTORY PACKAGE [TARBALL]: see check.rs. Everything is made in DIRECTORY and in new namespaces.
work=$1
package=$2
tarball=${3-}
director=$work/director
web=$work/web
vip=192.168.4.15

say() { echo "check: $*" >&2; }
fail() { say "$*"; exit 1; }

# until_true WHAT COMMAND...: tries again for half a minute.
until_true() {
    what=$1
    shift
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ "$tries" -lt 150 ] || fail "$what"
        sleep 0.2
    done
}

# What the kernel gives to every system.
kernel_files() {
    mkdir -p "$1/proc" "$1/sys" "$1/dev" "$1/run" "$1/tmp"
    mknod -m 666 "$1/dev/null" c 1 3
    mknod -m 666 "$1/dev/zero" c 1 5
    mknod -m 666 "$1/dev/random" c 1 8
    mknod -m 666 "$1/dev/urandom" c 1 9
    mount -t proc proc "$1/proc"
    mount -t sysfs sysfs "$1/sys"
    mkdir -p "$1/sys/fs/bpf"
    mount -t bpf bpf "$1/sys/fs/bpf"
}

# A root with a shell, what the maintainer scripts call, the C library, and an empty package database.
make_root() {
    mkdir -p "$1/lib64" "$1/usr/lib/x86_64-linux-gnu" "$1/usr/bin" "$1/etc"
    mkdir -p "$1/var/lib/dpkg/info" "$1/var/lib/dpkg/updates" "$1/var/lib/dpkg/triggers" "$1/var/log"
    : >"$1/var/lib/dpkg/status"
    echo check >"$1/etc/hostname"
    ln -s usr/lib "$1/lib"
    ln -s usr/bin "$1/bin"
    for program in sh rm rmdir basename dirname ls cat; do
        path=$(command -v "$program")
        cp "$(readlink -f "$path")" "$1/usr/bin/$program"
        ldd "$path" | grep -o '/[^ ]*' | while read -r library; do
            mkdir -p "$1$(dirname "$library")"
            cp -n "$(readlink -f "$library")" "$1$library"
        done
    done
    for library in libgcc_s.so.1 libm.so.6 libc.so.6; do
        cp -n "$(readlink -f /lib/x86_64-linux-gnu/$library)" "$1/usr/lib/x86_64-linux-gnu/$library"
    done
    cp -n "$(readlink -f /lib64/ld-linux-x86-64.so.2)" "$1/lib64/ld-linux-x86-64.so.2"
    kernel_files "$1"
}

# Every file of a root but dpkg's own and the kernel's.
files() {
    (cd "$1" && find . -xdev -path ./var/lib/dpkg -prune -o -path ./var/log -prune -o -path ./proc -prune \
        -o -path ./sys -prune -o -print | sort)
}

# dpkg_in ROOT ARGUMENT...: what the package depends on was copied and not installed.
dpkg_in() {
    root=$1
    shift
    dpkg --root="$root" --force-depends --force-not-root "$@" >"$work/dpkg.log" 2>&1 || {
        cat "$work/dpkg.log" >&2
        fail "dpkg $*"
    }
}

# A network namespace; its process is in $made.
node() {
    unshare --net sleep infinity &
    made=$!
    until_true "no namespace" [ ! "/proc/$made/ns/net" -ef /proc/self/ns/net ]
    nsenter --target "$made" --net ip link set lo up
}

# port NAME PROCESS: plugs eth0 of a node into the switch.
port() {
    ip link add "$1" type veth peer name eth0 netns "$2"
    ip link set "$1" master switch up
}

on() {
    process=$1
    shift
    nsenter --target "$process" --net "$@"
}

# The director's own `lbctl`, in its namespace and root.
lbctl() { on "$lvs1" chroot "$director" lbctl "$@"; }
listed() { lbctl list -n | grep -q "TCP  $vip:80 wrr"; }
answered() {
    [ "$(on "$client" curl --silent --max-time 2 "http://$vip/" 2>"$work/curl.log")" = "served by web1" ]
}
has_vip() { on "$lvs1" ip address show dev eth0 | grep -q "inet $vip/"; }

ip link set lo up
ip link add switch type bridge
ip link set switch up
node && lvs1=$made && port lvs1 "$lvs1"
node && web1=$made && port web1 "$web1"
node && client=$made && port client "$client"
on "$lvs1" ip address add 192.168.4.1/24 dev eth0
on "$web1" ip address add 192.168.4.100/24 dev eth0
on "$client" ip address add 192.168.4.10/24 dev eth0
for process in "$lvs1" "$web1" "$client"; do on "$process" ip link set eth0 up; done
# Generic XDP sees unfinished checksums, which a network card would have finished.
on "$client" ethtool --offload eth0 tx off >/dev/null
mkdir "$work/nginx"
cat >"$work/nginx/nginx.conf" <<END
daemon on;
master_process off;
user root;
pid $work/nginx/pid;
error_log $work/nginx/error.log;
events {}
http {
    access_log off;
    client_body_temp_path $work/nginx;
    proxy_temp_path $work/nginx;
    fastcgi_temp_path $work/nginx;
    uwsgi_temp_path $work/nginx;
    scgi_temp_path $work/nginx;
    server { listen 80; location / { return 200 "served by web1"; } }
}
END
on "$web1" nginx -p "$work/nginx" -c "$work/nginx/nginx.conf" -e "$work/nginx/error.log"

say "installing"
for root in "$director" "$web"; do
    make_root "$root"
    files "$root" >"$root.before"
    dpkg_in "$root" --install "$package"
    dpkg_in "$root" --verify lbctl
    [ ! -s "$work/dpkg.log" ] || fail "files differ from the package: $(cat "$work/dpkg.log")"
done

say "running"
lbctl --version
chroot "$director" ls /usr/share/man/man8/lbctl.8.gz /usr/share/man/man8/lbctl-ipvsadm.8.gz \
    /usr/share/bash-completion/completions/lbctl /usr/lib/systemd/system/lbctl.service \
    /usr/lib/systemd/system/lbctl-realserver.service >"$work/ls.log" || fail "a file is missing"
for example in "$director"/usr/share/doc/lbctl/examples/*.toml; do
    lbctl check -c "${example#"$director"}" >"$work/check.log" 2>&1 || fail "$(cat "$work/check.log")"
done
cat >"$director/etc/lbctl/lbctl.toml" <<END
[director]
router_id = "check"
interfaces = ["eth0"]
xdp_mode = "generic"
[[virtual_server]]
address = "$vip:80"
[[virtual_server.check]]
type = "tcp"
interval = "1s"
[[virtual_server.real_server]]
address = "192.168.4.100"
END
on "$web1" chroot "$web" lbctl realserver start --vip "$vip"
lbctl up -d
listed || fail "not in the listing: $(lbctl list -n)"
has_vip || fail "no virtual address"
until_true "no answer through the director: $(lbctl list -n)" answered

say "upgrading"
dpkg_in "$director" --install "$package"
listed || fail "the upgrade took the director down"
answered || fail "no answer after the upgrade"

say "removing"
dpkg_in "$director" --remove lbctl
if has_vip; then fail "the virtual address is still there"; fi
if on "$lvs1" ip -details link show dev eth0 | grep -q xdp; then fail "the program is still attached"; fi
if [ -e "$director/sys/fs/bpf/lbctl" ]; then fail "the datapath is still there"; fi
[ -e "$director/etc/lbctl/lbctl.toml" ] || fail "the configuration is gone before a purge"
# prerm runs in the namespace of whoever runs dpkg.
nsenter --target "$web1" --net dpkg --root="$web" --force-depends --force-not-root --remove lbctl \
    >"$work/dpkg.log" 2>&1 || fail "$(cat "$work/dpkg.log")"
if on "$web1" ip address show dev lo | grep -q "$vip"; then fail "the VIP is still on the real server's lo"; fi

say "purging"
for root in "$director" "$web"; do
    dpkg_in "$root" --purge lbctl
    if [ "$root" = "$director" ]; then
        [ -e "$root/etc/lbctl/lbctl.toml" ] || fail "the administrator's own file is gone"
        rm -r "$root/etc/lbctl"
    fi
    files "$root" >"$root.after"
    diff "$root.before" "$root.after" || fail "files are left behind"
done

if [ -n "$tarball" ]; then
    say "the tarball's program in a root without any other file"
    empty=$work/empty
    mkdir -p "$empty"
    tar --extract --gzip --file "$tarball" --directory "$work" --strip-components 1 --wildcards '*/bin/lbctl' \
        '*/examples/*'
    mv "$work/bin/lbctl" "$work/examples" "$empty/"
    kernel_files "$empty"
    bare() { on "$lvs1" chroot "$empty" /lbctl "$@"; }
    bare --version
    for example in "$empty"/examples/*.toml; do
        bare check -c "${example#"$empty"}" >"$work/check.log" 2>&1 || fail "$(cat "$work/check.log")"
    done
    printf '[director]\ninterfaces = ["eth0"]\nxdp_mode = "generic"\n[[virtual_server]]\naddress = "%s:80"\n' \
        "$vip" >"$empty/lbctl.toml"
    printf '[[virtual_server.real_server]]\naddress = "192.168.4.100"\n' >>"$empty/lbctl.toml"
    on "$web1" ip address add "$vip/32" dev lo
    on "$web1" sh -c 'echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore; echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce'
    bare up -d -c /lbctl.toml
    until_true "no answer through the director of the tarball" answered
    bare down
fi
