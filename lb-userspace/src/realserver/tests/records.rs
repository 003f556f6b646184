//! Records: of several instances, of other places, of nobody.

use std::fs;

use super::*;

#[test]
fn privileged_what_another_instance_needs_is_handed_over() {
    if skip_without_root("privileged_what_another_instance_needs_is_handed_over") {
        return;
    }
    for stopped_first in ["one", "two"] {
        let (web, run_dir) = (lived_in(), TempDir::new().unwrap());
        let found = snapshot(&web);
        let of =
            |instance: &str, list: &str| Options { instance: instance.into(), ..options(&run_dir, list) };
        let (one, two) = (of("one", "192.168.4.15 192.168.4.20"), of("two", "192.168.4.15 192.168.4.30"));
        start_in(&web, &one).unwrap();
        start_in(&web, &two).unwrap();
        let (first, last) = if stopped_first == "one" { (&one, &two) } else { (&two, &one) };
        stop_in(&web, first).unwrap();
        assert!(status_in(&web, last).ok, "{stopped_first} stopped first: {:?}", status_in(&web, last));
        stop_in(&web, last).unwrap();
        assert_eq!(snapshot(&web), found, "{stopped_first} stopped first");
    }
}

#[test]
fn privileged_a_record_of_elsewhere_is_not_taken_for_ours() {
    if skip_without_root("privileged_a_record_of_elsewhere_is_not_taken_for_ours") {
        return;
    }
    let (web, run_dir) = (Namespace::new(), TempDir::new().unwrap());
    let options = options(&run_dir, "192.168.4.15");
    // The test program itself lives in another network namespace.
    Directory::new(&options).unwrap().write(&record::Record::new().unwrap()).unwrap();
    for result in [start_in(&web, &options), stop_in(&web, &options)] {
        let error = result.unwrap_err().to_string();
        assert!(error.contains("another network namespace") && error.contains("--instance NAME"), "{error}");
    }
    let file = run_dir.path().join("web/realserver.json");
    let text = fs::read_to_string(&file).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["netns"] = 1.into();
    fs::write(&file, json.to_string()).unwrap();
    assert!(stop_in(&web, &options).unwrap().done.is_empty());
    assert!(!file.exists(), "a namespace that is gone needs no record");

    for (wrong, part) in [("{", "EOF"), (r#"{"version":2}"#, "version 2, not 1")] {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, wrong).unwrap();
        let error = start_in(&web, &options).unwrap_err();
        assert!(error.to_string().contains("realserver.json: is not a record"), "{error}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(part), "{cause}");
    }
}

#[test]
fn privileged_without_the_capability_it_says_so() {
    if skip_without_root("privileged_without_the_capability_it_says_so") {
        return;
    }
    let (web, run_dir) = (Namespace::new(), TempDir::new().unwrap());
    let options = options(&run_dir, "192.168.4.15 127.0.0.1");
    let error = web.run(|| {
        // SAFETY: the system call takes three numbers. Made directly it changes only this thread, which ends
        // with this closure.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        assert_eq!(result, 0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(start(&options)).unwrap_err().to_string()
    });
    assert_eq!(
        error,
        "real server: cannot go on, nothing was changed:\n  \
         - 127.0.0.1: is a loopback address, which cannot be a VIP; give the unicast address that clients connect to\n  \
         - not permitted to change addresses and settings: run as root (sudo), or grant CAP_NET_ADMIN"
    );
}
