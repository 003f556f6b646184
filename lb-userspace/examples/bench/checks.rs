//! What 10,000 health checks every 6 seconds cost, and whether any of them is late.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_userspace::config::Config;
use lb_userspace::health::Health;
use lb_userspace::health::report::Report;
use lb_userspace::notify;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Virtual servers, and real servers of each.
const SERVICES: u32 = 100;
const SERVERS: u32 = 100;
const INTERVAL: Duration = Duration::from_secs(6);
/// How long it is measured, after all have run and their second runs have spread them.
const MEASURED: Duration = Duration::from_secs(30);
/// Clock ticks in a second, `USER_HZ` of every Linux.
const TICKS: f64 = 100.0;

/// TCP and HTTP checks, one after the other.
///
/// # Errors
///
/// There is no server to be had, or not every check passes.
pub(crate) fn run() -> Result<Vec<Value>> {
    // The server answers from another thread, whose time does not count.
    let (ready, port) = std::sync::mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || runtime.block_on(serve(&ready)));
    let port = port.recv().context("there is no server")?;
    ["tcp", "http"].into_iter().map(|kind| measure(kind, port)).collect()
}

/// Answers every request with an empty page, on every local address, and says on which port.
async fn serve(ready: &std::sync::mpsc::Sender<u16>) -> Result<()> {
    let listener = TcpListener::bind("0.0.0.0:0").await?;
    ready.send(listener.local_addr()?.port())?;
    // A connection that was reset before it was taken is no error of the listener's.
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        tokio::spawn(async move {
            let mut request = [0; 1024];
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            if stream.read(&mut request).await.is_ok_and(|count| count > 0) {
                // Who does not read it is gone.
                drop(stream.write_all(answer).await);
            }
        });
    }
}

fn configuration(kind: &str, port: u16) -> Result<Config> {
    let mut text = String::from("director = { interfaces = [\"lo\"], router_id = \"bench\" }\n");
    for service in 0..SERVICES {
        writeln!(
            text,
            "[[virtual_server]]\naddress = \"192.0.2.{service}:80\"\ncheck_interval = \"6s\"\n\
             check = [{{ type = \"{kind}\", connect = \"127.0.1.{service}:{port}\" }}]\nreal_server = ["
        )?;
        for server in 0..SERVERS {
            writeln!(text, "{{ address = \"198.51.{service}.{server}\" }},")?;
        }
        text.push_str("]\n");
    }
    Config::parse("bench", &text).context("the configuration of the measurement")
}

fn measure(kind: &str, port: u16) -> Result<Value> {
    let config = configuration(kind, port)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let service = notify::Service::start(&config);
        let health = Health::start(service.notifier().clone(), None)?;
        health.configure(&config, None).await;
        let mut news = health.news();
        while !health.ready() {
            news.changed().await;
        }
        tokio::time::sleep(INTERVAL * 2).await;
        let before = (processor_time()?, std::time::Instant::now());
        tokio::time::sleep(MEASURED).await;
        let (seconds, wall) = (processor_time()? - before.0, before.1.elapsed().as_secs_f64());
        let (answer, report) = oneshot::channel();
        health.report(answer);
        let report = report.await.context("no report of the checks")?;
        health.stop().await;
        service.close(Duration::ZERO).await;
        let down =
            report.virtual_servers.iter().flat_map(|it| &it.real_servers).filter(|it| it.state != "up");
        let down = down.count();
        anyhow::ensure!(down == 0, "{down} {kind} checks do not pass: {}", example(&report));
        Ok(json!({
            "kind": kind, "checks": SERVICES * SERVERS, "interval_seconds": INTERVAL.as_secs(),
            "measured_seconds": wall, "core": seconds / wall, "max_delay_seconds": report.max_delay,
        }))
    })
}

/// What the first check that does not pass says.
fn example(report: &Report) -> String {
    let servers = report.virtual_servers.iter().flat_map(|it| &it.real_servers);
    let found =
        servers.filter(|it| it.state != "up").flat_map(|it| &it.checks).find_map(|it| it.result.clone());
    found.unwrap_or_default()
}

/// Seconds of processor time that the thread of the checks has used, in and out of the kernel.
fn processor_time() -> Result<f64> {
    for task in fs::read_dir("/proc/self/task")? {
        let stat = fs::read_to_string(task?.path().join("stat"))?;
        let Some((head, rest)) = stat.rsplit_once(") ") else { continue };
        if head.ends_with("(health") {
            // Fields 14 and 15 of proc(5), counted from the one after the name, which is 3.
            let ticks = rest.split(' ').skip(11).take(2).map(str::parse::<u64>);
            let ticks = ticks.sum::<Result<u64, _>>().context("/proc/self/task: not understood")?;
            return Ok(ticks as f64 / TICKS);
        }
    }
    anyhow::bail!("the thread of the checks is not there")
}
