use std::io::{self, Write};

use clap::error::ErrorKind;
use lb_common::verdict::Reason;

use super::super::ListError;
use super::*;

#[test]
fn options_that_exclude_each_other_are_refused() {
    <Command as clap::CommandFactory>::command().debug_assert();
    for (arguments, kind) in [
        (&["--stats", "--rate"][..], ErrorKind::ArgumentConflict),
        (&["-c", "--stats"], ErrorKind::ArgumentConflict),
        (&["192.168.4.15:80", "--drops"], ErrorKind::ArgumentConflict),
        (&["--udp"], ErrorKind::MissingRequiredArgument),
        (&["web:80"], ErrorKind::ValueValidation),
        (&["192.168.4.15:99999"], ErrorKind::ValueValidation),
    ] {
        let error = <Command as clap::Parser>::try_parse_from([&["list"], arguments].concat()).unwrap_err();
        assert_eq!(error.kind(), kind, "{arguments:?}");
    }
    assert_eq!(args(&["fd00::15"]).virtual_server, Some("[fd00::15]:0".parse().unwrap()));
}

#[test]
fn what_cannot_be_listed_says_why() {
    let mut director = Director::new();
    lab(&mut director, &[80]);
    let error = |arguments: &[&str]| {
        run(&args(arguments), &director.tables, &Beside::default(), &mut Vec::new(), &mut Vec::new())
            .unwrap_err()
            .to_string()
    };
    let unknown = error(&["192.168.4.15:80", "--udp"]);
    assert!(unknown.starts_with("virtual server 192.168.4.15:80/udp: no such virtual server"), "{unknown}");
    assert_eq!(unknown, error(&["192.168.4.15:80", "--udp", "-c"]));
    assert!(error(&["--rate"]).contains("--stats"));
}

#[test]
fn drops_hide_zeros() {
    let director = Director::new();
    for _ in 0..3 {
        director.tables.count(Reason::NoVirtualServer);
    }
    director.tables.count(Reason::Evicted);
    let expected = "\
Reason                   Effect              Packets
no-virtual-server        pass                      3
evicted-unconfirmed      note                      1
";
    assert_eq!(director.list(&["--drops"]), expected);
    assert_eq!(director.list(&["--drops", "--all"]).lines().count(), 1 + Reason::ALL.len());
}

/// Takes `left` bytes, then fails.
struct Closing {
    left: usize,
    kind: io::ErrorKind,
}

impl Write for Closing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(self.kind.into());
        }
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_is_success_and_a_full_disk_is_not() {
    let mut director = Director::new();
    lab(&mut director, &[80]);
    director.connect_many(HTTP[0], State::ESTABLISHED, 100);
    for arguments in [&["-n"][..], &["-c"], &["-c", "--json"], &["--json"], &["--drops", "--json"]] {
        for left in [0, 60] {
            let list = |kind| {
                let mut out = Closing { left, kind };
                run(&args(arguments), &director.tables, &Beside::default(), &mut out, &mut Vec::new())
            };
            assert!(list(io::ErrorKind::BrokenPipe).is_ok(), "{arguments:?}");
            let error = list(io::ErrorKind::StorageFull);
            assert!(matches!(error, Err(ListError::Output(_))), "{arguments:?}: {error:?}");
        }
    }
}
