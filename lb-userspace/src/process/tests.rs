use std::path::Path;
use std::time::Duration;

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn shell(text: &str) -> Script {
    Script { words: ["/bin/sh", "-c", text].map(str::to_owned).to_vec(), user: None }
}

fn run(script: &Script, timeout: Duration) -> Run<'_> {
    Run { script, arguments: Vec::new(), environment: Vec::new(), timeout }
}

/// Whether a process is there and not only waiting for its parent to look.
fn lives(pid: &str) -> bool {
    std::fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")).is_ok_and(|stat| {
        stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X']))
    })
}

async fn until(condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(LONG, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap();
}

#[test]
fn words_are_split_as_a_shell_does() {
    let cases: [(&str, &[&str]); 4] = [
        ("/bin/check", &["/bin/check"]),
        ("/bin/check  -p 80 ", &["/bin/check", "-p", "80"]),
        (r#"check "a b" 'c "d"' e\ f"#, &["check", "a b", "c \"d\"", "e f"]),
        ("check $HOME *", &["check", "$HOME", "*"]),
    ];
    for (text, words) in cases {
        assert_eq!(Script::parse(text, None).unwrap().words, words, "{text}");
    }
    assert_eq!(Script::parse(" ", None), Err(ScriptError::Empty));
    assert_eq!(Script::parse("''", None), Err(ScriptError::Empty));
    assert_eq!(Script::parse("check \"a", None), Err(ScriptError::Unbalanced));
    assert_eq!(Script::parse("check\0", None), Err(ScriptError::Nul));
    assert_eq!(Script::parse("/usr/lib/x/check -v", None).unwrap().name(), "check");
}

#[tokio::test]
async fn status_output_arguments_and_environment() {
    let script = shell("echo \"$0 $1 $WHAT\"; echo oops >&2; exit 42");
    let run = Run {
        arguments: vec!["first".to_owned(), "second one".to_owned()],
        environment: vec![("WHAT".to_owned(), "known".to_owned())],
        ..run(&script, LONG)
    };
    let outcome = run.to_end().await.unwrap();
    assert_eq!(outcome.ended, Ended::Exited(42));
    assert_eq!(outcome.output, "first second one known\noops\n");
}

#[tokio::test]
async fn a_signal_is_not_an_exit() {
    let outcome = run(&shell("kill -9 $$"), LONG).to_end().await.unwrap();
    assert_eq!(outcome.ended, Ended::Killed(9));
}

#[tokio::test]
async fn much_output_is_read_and_little_kept() {
    let outcome = run(&shell("head -c 1000000 /dev/zero; exit 3"), LONG).to_end().await.unwrap();
    assert_eq!((outcome.ended, outcome.output.len()), (Ended::Exited(3), MAX_OUTPUT));
}

#[tokio::test]
async fn a_child_left_behind_is_not_waited_for() {
    let outcome = run(&shell("sleep 600 & echo $!"), LONG).to_end().await.unwrap();
    assert_eq!(outcome.ended, Ended::Exited(0));
    let pid = Pid::from_raw(outcome.output.trim().parse().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn out_of_time_ends_the_whole_group() {
    let script = shell("sleep 600 & echo $!; echo $$; wait");
    let outcome = run(&script, Duration::from_millis(300)).to_end().await.unwrap();
    assert_eq!(outcome.ended, Ended::TimedOut);
    let pids: Vec<&str> = outcome.output.lines().collect();
    assert_eq!(pids.len(), 2, "{outcome:?}");
    until(|| pids.iter().all(|pid| !lives(pid))).await;
}

#[tokio::test]
async fn who_does_not_listen_is_killed() {
    let script = shell("trap '' TERM; echo $$; while :; do sleep 600; done");
    let outcome = run(&script, Duration::from_millis(300)).to_end().await.unwrap();
    assert_eq!(outcome.ended, Ended::TimedOut);
    until(|| !lives(&outcome.output)).await;
}

#[tokio::test]
async fn a_run_given_up_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let script = shell(&format!("echo $$ > {}; exec sleep 600", file.display()));
    let running = tokio::spawn(async move { run(&script, LONG).to_end().await });
    until(|| std::fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n'))).await;
    let pid = std::fs::read_to_string(&file).unwrap();
    assert!(lives(&pid));
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    until(|| !lives(&pid)).await;
}

#[tokio::test]
async fn what_cannot_be_started_is_named() {
    let missing = Script { words: vec!["/nonexistent/check".to_owned()], user: None };
    let error = run(&missing, LONG).to_end().await.unwrap_err();
    assert_eq!(error.to_string(), "/nonexistent/check: cannot be started");
    let nobody = Script { user: Some("no-such-user-here".to_owned()), ..shell("true") };
    let error = run(&nobody, LONG).to_end().await.unwrap_err();
    assert_eq!(error.to_string(), "user no-such-user-here: there is none of this name");
}

#[tokio::test]
async fn as_root_the_user_is_changed_and_groups_dropped() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let script = Script { user: Some("nobody".to_owned()), ..shell("id -un; id -G") };
    let outcome = run(&script, LONG).to_end().await.unwrap();
    assert_eq!(outcome.output, "nobody\n65534\n");
}
