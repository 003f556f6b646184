//! What arrives at scripts, FIFOs and mail servers.

mod mails;
mod server;

use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use super::*;
use crate::config::UpDown;
use crate::config::notifications::Fifo as FifoSettings;
use crate::plane::desired::{ServerKey, ServiceKey};

const PATIENCE: Duration = Duration::from_secs(20);

fn service() -> ServiceKey {
    ServiceKey { protocol: 6, address: IpAddr::from([192, 168, 4, 15]), port: 80 }
}

fn real_server(up: bool, reason: &str, commands: UpDown) -> Event {
    let real_server = ServerKey { address: IpAddr::from([192, 168, 4, 100]), port: 8080 };
    let reason = reason.to_owned();
    Event::RealServer(RealServerEvent { virtual_server: service(), real_server, up, reason, commands })
}

fn quorum(up: bool, initial: bool, weight: u64) -> Event {
    Event::VirtualServer(QuorumEvent {
        virtual_server: service(),
        up,
        initial,
        quorum: 7,
        hysteresis: 2,
        weight,
        commands: UpDown::default(),
    })
}

fn vrrp(object: VrrpObject, change: VrrpChange, scripts: &Arc<VrrpScripts>) -> Event {
    let (name, scripts) = ("VI_1".to_owned(), Arc::clone(scripts));
    Event::Vrrp(VrrpEvent { object, name, change, priority: 100, scripts, mail: true })
}

fn shell(text: &str) -> Script {
    // What follows the text is $0, and the rest its arguments.
    Script { words: ["/bin/sh", "-c", text, "sh"].map(str::to_owned).to_vec(), user: None }
}

fn config() -> Config {
    let text = "director = { router_id = \"lvs1\", interfaces = [\"eth0\"] }\n";
    Config::parse("lbctl.toml", text).unwrap()
}

/// Runs scripts and all else as whoever runs the test.
fn quiet(mut config: Config) -> Config {
    let me = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap();
    config.notifications.script_user = nix::unistd::getuid().is_root().then_some(me.name);
    config
}

fn letter(event: &Event) -> (String, String) {
    event.letter().map(|letter| (letter.subject, letter.body)).unwrap_or_default()
}

#[test]
fn lines_are_keepalived_s() {
    let none = Arc::default();
    let cases = [
        (vrrp(VrrpObject::Instance, VrrpChange::Master, &none), "INSTANCE \"VI_1\" MASTER 100"),
        (vrrp(VrrpObject::Group, VrrpChange::Fault, &none), "GROUP \"VI_1\" FAULT 0"),
        (
            vrrp(VrrpObject::Instance, VrrpChange::MasterReceivedLowerPriority, &none),
            "INSTANCE \"VI_1\" MASTER_RX_LOWER_PRI 100",
        ),
        (
            vrrp(VrrpObject::Instance, VrrpChange::BackupPriority, &none),
            "INSTANCE \"VI_1\" BACKUP_PRIORITY 100",
        ),
        (quorum(true, false, 9), "VS [192.168.4.15]:tcp:80 UP"),
        (real_server(false, "", UpDown::default()), "RS [192.168.4.100]:tcp:8080 [192.168.4.15]:tcp:80 DOWN"),
    ];
    for (event, line) in cases {
        assert_eq!(event.line(), line);
    }
}

#[test]
fn letters_are_keepalived_s() {
    let none = Arc::default();
    let instance = |change| letter(&vrrp(VrrpObject::Instance, change, &none));
    assert_eq!(
        instance(VrrpChange::Master),
        (
            "VRRP Instance VI_1 - Entering MASTER state".to_owned(),
            "=> VRRP Instance is now owning VRRP VIPs <=".to_owned()
        )
    );
    assert_eq!(
        letter(&vrrp(VrrpObject::Group, VrrpChange::Stop, &none)),
        (
            "VRRP Group VI_1 - Stopping".to_owned(),
            "=> All VRRP group instances are now stopping <=".to_owned()
        )
    );
    assert_eq!(instance(VrrpChange::MasterPriority), Default::default());
    assert_eq!(
        letter(&quorum(true, false, 9)),
        ("Virtualserver [192.168.4.15]:tcp:80 - UP".to_owned(), "=> Gained quorum 7+2=9 <= 9 <=".to_owned())
    );
    assert_eq!(letter(&quorum(false, false, 4)).1, "=> Lost quorum 7-2=5 > 4 <=");
    assert_eq!(letter(&quorum(false, true, 0)).1, "=> Starting with quorum down 7-2=5 > 0 <=");
    assert_eq!(
        letter(&real_server(false, "HTTP 503 in 2 ms", UpDown::default())),
        (
            "Realserver [192.168.4.100]:tcp:8080 of virtual server [192.168.4.15]:tcp:80 - DOWN".to_owned(),
            "=> CHECK failed on service : HTTP 503 in 2 ms <=".to_owned()
        )
    );
}

#[test]
fn scripts_get_keepalived_s_arguments() {
    let scripts = Arc::new(VrrpScripts {
        master: Some(shell("master")),
        any: Some(shell("any")),
        master_received_lower_priority: Some(shell("lower")),
        ..VrrpScripts::default()
    });
    let told = |object, change| -> Vec<(String, Vec<String>)> {
        let jobs = vrrp(object, change, &scripts).jobs();
        jobs.into_iter().map(|job| (job.script.words[2].clone(), job.arguments)).collect()
    };
    let arguments = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        told(VrrpObject::Instance, VrrpChange::Master),
        [("master".to_owned(), vec![]), ("any".to_owned(), arguments("INSTANCE VI_1 MASTER 100"))]
    );
    assert_eq!(
        told(VrrpObject::Group, VrrpChange::Backup),
        [("any".to_owned(), arguments("GROUP VI_1 BACKUP 0"))]
    );
    assert_eq!(
        told(VrrpObject::Instance, VrrpChange::MasterReceivedLowerPriority),
        [("lower".to_owned(), vec![])]
    );
    assert_eq!(told(VrrpObject::Instance, VrrpChange::MasterPriority), []);
}

#[tokio::test]
async fn scripts_of_one_object_run_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let line = format!("echo \"$LBCTL_STATE $LBCTL_REAL_SERVER $LBCTL_REASON\" >> {}", log.display());
    // The first takes its time: were they not run in order, it would be last.
    let commands = UpDown {
        down: Some(shell(&format!("until [ -e {}/go ]; do sleep 0.01; done; {line}", dir.path().display()))),
        up: Some(shell(&line)),
    };
    let service = Service::start(&quiet(config()));
    service.notifier().send(real_server(false, "connection refused", commands.clone()));
    service.notifier().send(real_server(true, "connected in 1 ms", commands));
    std::fs::write(dir.path().join("go"), "").unwrap();
    service.close(PATIENCE).await;
    assert_eq!(
        std::fs::read_to_string(log).unwrap(),
        "DOWN 192.168.4.100:8080 connection refused\nUP 192.168.4.100:8080 connected in 1 ms\n"
    );
}

#[tokio::test]
async fn the_notify_script_follows_the_state_s_own() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let script = |name: &str| Some(shell(&format!("echo {name} \"$@\" >> {}", log.display())));
    let scripts = Arc::new(VrrpScripts {
        master: script("master"),
        stop: script("stop"),
        any: script("any"),
        ..VrrpScripts::default()
    });
    let service = Service::start(&quiet(config()));
    for change in [VrrpChange::Master, VrrpChange::Stop] {
        service.notifier().send(vrrp(VrrpObject::Instance, change, &scripts));
    }
    service.close(PATIENCE).await;
    let expected = "master\nany INSTANCE VI_1 MASTER 100\nstop\nany INSTANCE VI_1 STOP 100\n";
    assert_eq!(std::fs::read_to_string(log).unwrap(), expected);
}

#[tokio::test]
async fn a_script_that_hangs_delays_only_its_own_object() {
    let dir = tempfile::tempdir().unwrap();
    let done = dir.path().join("done");
    let mut config = quiet(config());
    config.notifications.script_timeout = Duration::from_secs(3600);
    let service = Service::start(&config);
    let hung = UpDown { down: Some(shell("sleep 3600")), up: None };
    service.notifier().send(real_server(false, "", hung));
    let scripts =
        VrrpScripts { any: Some(shell(&format!("echo x > {}", done.display()))), ..Default::default() };
    service.notifier().send(vrrp(VrrpObject::Instance, VrrpChange::Master, &Arc::new(scripts)));
    until(|| done.exists()).await;
    service.close(Duration::ZERO).await;
}

async fn until(condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap();
}

fn fifo(path: &Path) -> FifoSettings {
    FifoSettings { path: Some(path.to_owned()), script: None }
}

fn is_fifo(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo())
}

#[tokio::test]
async fn each_fifo_gets_its_lines() {
    let dir = tempfile::tempdir().unwrap();
    let [all, own, lvs] = ["all", "vrrp", "lvs"].map(|name| dir.path().join(name));
    let mut config = quiet(config());
    config.notifications.fifo = fifo(&all);
    config.notifications.vrrp_fifo = fifo(&own);
    config.notifications.lvs_fifo = fifo(&lvs);
    let service = Service::start(&config);
    until(|| [&all, &own, &lvs].into_iter().all(|path| is_fifo(path))).await;
    let readers = [&all, &own, &lvs].map(|path| {
        let file = std::fs::File::open(path).unwrap();
        std::thread::spawn(move || BufReader::new(file).lines().collect::<Result<Vec<_>, _>>().unwrap())
    });
    service.notifier().send(vrrp(VrrpObject::Instance, VrrpChange::Backup, &Arc::default()));
    service.notifier().send(quorum(false, false, 1));
    service.notifier().send(real_server(true, "", UpDown::default()));
    service.close(PATIENCE).await;
    let [all_lines, vrrp_lines, lvs_lines] = readers.map(|reader| reader.join().unwrap());
    let vrrp_line = "INSTANCE \"VI_1\" BACKUP 100";
    let lvs_expected =
        ["VS [192.168.4.15]:tcp:80 DOWN", "RS [192.168.4.100]:tcp:8080 [192.168.4.15]:tcp:80 UP"];
    assert_eq!(vrrp_lines, [vrrp_line]);
    assert_eq!(lvs_lines, lvs_expected);
    assert_eq!(all_lines, [vrrp_line, lvs_expected[0], lvs_expected[1]]);
    assert!(!all.exists(), "it was made, so it is removed");
}

#[tokio::test]
async fn a_fifo_that_nobody_reads_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut config = quiet(config());
    config.notifications.fifo = fifo(&path);
    let service = Service::start(&config);
    for _ in 0..5000 {
        service.notifier().send(quorum(true, false, 9));
    }
    service.close(PATIENCE).await;
    assert!(is_fifo(&path), "it was there before, so it stays");
}

#[tokio::test]
async fn a_fifo_s_script_reads_it_and_ends_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (path, log, pid) = (dir.path().join("fifo"), dir.path().join("log"), dir.path().join("pid"));
    // A shell that waits for a signal misses none; one that reads may be about to.
    let script = shell(&format!(
        "trap 'echo TERM >> {log}; exit' TERM; echo $$ > {pid}; cat \"$1\" >> {log} & while :; do wait; done",
        log = log.display(),
        pid = pid.display(),
    ));
    let mut config = quiet(config());
    config.notifications.fifo = FifoSettings { path: Some(path), script: Some(script) };
    let service = Service::start(&config);
    service.notifier().send(quorum(true, false, 9));
    let told = || std::fs::read_to_string(&log).unwrap_or_default();
    until(|| told().ends_with('\n')).await;
    service.close(PATIENCE).await;
    assert_eq!(told(), "VS [192.168.4.15]:tcp:80 UP\nTERM\n");
    let pid = std::fs::read_to_string(pid).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "the script outlives its FIFO");
}
