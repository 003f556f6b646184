//! What the health checks of 10,000 real servers every 6 seconds cost, and whether any of them is late: TCP alone, HTTP
//! alone, and TCP together with the path check of direct routing.

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_userspace::config::Config;
use lb_userspace::health::Health;
use lb_userspace::health::probe::PathProbe;
use lb_userspace::health::report::Report;
use lb_userspace::notify;
use lb_userspace::path::Prober;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use crate::segment::{Segment, enter};

/// Virtual servers, and real servers of each.
const SERVICES: u32 = 100;
const SERVERS: u32 = 100;
const INTERVAL: Duration = Duration::from_secs(6);
/// How long it is measured, after all have run and their second runs have spread them.
const MEASURED: Duration = Duration::from_secs(30);
/// Clock ticks in a second, `USER_HZ` of every Linux.
const TICKS: f64 = 100.0;

/// All three, one after the other.
///
/// # Errors
///
/// There is no server to be had, or not every check passes.
pub(crate) fn run() -> Result<Vec<Value>> {
    // The server answers from another thread, whose time does not count.
    let port = server(0)?;
    let rows = ["tcp", "http"].into_iter().map(|kind| {
        let connect = |service| format!("{{ type = \"{kind}\", connect = \"127.0.1.{service}:{port}\" }}");
        measure(kind, &configuration(connect)?, None)
    });
    let mut rows = rows.collect::<Result<Vec<_>>>()?;
    rows.push(paths()?);
    Ok(rows)
}

/// Each real server is asked as a client would, and as its own.
fn paths() -> Result<Value> {
    let segment = Segment::new(SERVICES)?;
    enter(&segment.servers, || server(80))??;
    let config = configuration(|_| "{ type = \"tcp\" }, { type = \"path\" }".to_owned())?;
    let (_kept, resolutions) = watch::channel(segment.resolutions(SERVICES, SERVERS)?);
    let prober = Arc::new(Prober::new(resolutions));
    enter(&segment.director, || measure("tcp and path", &config, Some(prober)))?
}

/// Answers every request with an empty page, on every address of the calling thread's network namespace. Returns the
/// port, which is any for 0.
fn server(port: u16) -> Result<u16> {
    let listener = std::net::TcpListener::bind(("0.0.0.0", port))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || runtime.block_on(serve(listener)));
    Ok(port)
}

async fn serve(listener: std::net::TcpListener) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
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

/// `checks` are those of the real servers of a virtual server.
fn configuration(checks: impl Fn(u32) -> String) -> Result<Config> {
    let mut text = String::from("director = { interfaces = [\"lo\"], router_id = \"bench\" }\n");
    for service in 0..SERVICES {
        let checks = checks(service);
        writeln!(
            text,
            "[[virtual_server]]\naddress = \"192.0.2.{service}:80\"\ncheck_interval = \"6s\"\ncheck = [{checks}]\n\
             real_server = ["
        )?;
        for server in 0..SERVERS {
            writeln!(text, "{{ address = \"198.51.{service}.{server}\" }},")?;
        }
        text.push_str("]\n");
    }
    Config::parse("bench", &text).context("the configuration of the measurement")
}

fn measure(kind: &str, config: &Config, path: Option<Arc<dyn PathProbe>>) -> Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let service = notify::Service::start(config);
        let health = Health::start(service.notifier().clone(), path)?;
        health.configure(config, None).await;
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
        let checks = report.virtual_servers.iter().flat_map(|it| &it.real_servers).map(|it| it.checks.len());
        Ok(json!({
            "kind": kind, "checks": checks.sum::<usize>(), "interval_seconds": INTERVAL.as_secs(),
            "measured_seconds": wall, "core": seconds / wall, "max_delay_seconds": report.max_delay,
        }))
    })
}

/// What the first check that does not pass says.
fn example(report: &Report) -> String {
    let servers = report.virtual_servers.iter().flat_map(|it| &it.real_servers);
    let found =
        servers.flat_map(|it| &it.checks).filter(|it| it.state != "up").find_map(|it| it.result.clone());
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
