//! What `-h` and `-v` say.

/// The version of ipvsadm whose command line this is, as scripts look for it.
pub const VERSION: &str = concat!("ipvsadm v1.31 (lbctl ", env!("CARGO_PKG_VERSION"), ")");

/// The options, in short.
pub const HELP: &str = "\
usage: lbctl ipvsadm COMMAND [OPTION ...]   (or `ipvsadm …`, by a symbolic link of that name to lbctl)

Commands; long names in brackets:
  -A SERVICE [-s SCHEDULER] [-p [SECONDS]] [-M NETMASK] [-o] [-b FLAG,...] [--pe ENGINE]
                               add a virtual server [--add-service]
  -E SERVICE ...               replace what -A gave; what is left out gets its default [--edit-service]
  -D SERVICE                   remove a virtual server [--delete-service]
  -C                           remove all virtual servers [--clear]
  -a SERVICE -r SERVER [-g|-m|-i] [-w WEIGHT] [-x CONNECTIONS] [-y CONNECTIONS] [TUNNEL]
                               add a real server [--add-server]
  -e SERVICE -r SERVER ...     replace what -a gave; what is left out gets its default [--edit-server]
  -d SERVICE -r SERVER         remove a real server [--delete-server]
  -L, -l [SERVICE] [VIEW]      list; the default without arguments [--list]
  -Z [SERVICE]                 set counters to zero [--zero]
  -S [-n]                      print the rules [--save]
  -R                           read rules from standard input [--restore]
  --set TCP FIN UDP            connection timeouts in seconds, 0 leaves one as it is
  --start-daemon master|backup, --stop-daemon master|backup
                               connection synchronisation: --mcast-interface IF, --syncid ID, --mcast-group ADDR,
                               --mcast-port PORT, --mcast-ttl TTL, --sync-maxlen BYTES
  -h [--help], -v [--version]  in the first place only

SERVICE: -t HOST[:PORT] TCP, -u HOST[:PORT] UDP, --sctp-service HOST[:PORT], -f MARK [-6] packets by mark
SERVER:  HOST[:PORT] [--real-server]
  -s [--scheduler] default wlc   -p [--persistent] default 360   -M [--netmask]   -o [--ops]   -b [--sched-flags]
  -g [--gatewaying] direct routing, the default   -m [--masquerading] NAT   -i [--ipip] tunnel
  -w [--weight] default 1   -x [--u-threshold]   -y [--l-threshold]
TUNNEL:  --tun-type ipip|gue|gre, --tun-port PORT, --tun-nocsum, --tun-csum, --tun-remcsum
VIEW:    -n [--numeric], -c [--connection], --timeout, --daemon, --stats, --rate, --thresholds, --persistent-conn,
         --tun-info, --nosort, --sort, -X [--exact]
";
