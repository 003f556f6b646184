//! Health checks on the first director, and what it says of them.

use std::net::IpAddr;

use anyhow::Context;
use serde_json::Value;

use crate::director::{Configuration, Director, VirtualServer, patience, run_lbctl, stderr};
use crate::{Family, Lab, Node, wait_until};

/// Often enough that a test is short.
const OFTEN: &str = "check_interval = \"200ms\"\ncheck_timeout = \"2s\"\ncheck_retry_delay = \"100ms\"";

/// A director with one virtual server: these real servers, checked often, and as `options` say.
///
/// # Errors
/// As [`Director::start`].
pub fn checked<'lab>(
    lab: &'lab Lab,
    nodes: &[Node],
    options: &str,
) -> anyhow::Result<(Director<'lab>, Configuration)> {
    let server = VirtualServer::new(lab.web(Family::V4)).option(OFTEN).option(options);
    let server = nodes.iter().try_fold(server, |server, node| {
        anyhow::Ok(server.real_server(lab.address(*node, Family::V4).context("no such node")?, 1))
    })?;
    let config = Configuration::new(&["eth0"]).with(server);
    Ok((Director::start(lab, Node::Lvs1, &config)?, config))
}

/// What `lbctl` says on the first director.
///
/// # Errors
/// It fails.
pub fn lbctl(lab: &Lab, words: &str) -> anyhow::Result<String> {
    let output = run_lbctl(lab, Node::Lvs1, words.split(' '))?;
    anyhow::ensure!(output.status.success(), "lbctl {words}: {}", stderr(&output));
    Ok(String::from_utf8(output.stdout)?)
}

/// `lbctl list --checks --json`.
///
/// # Errors
/// It fails.
pub fn report(lab: &Lab) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&lbctl(lab, "list --checks --json")?)?)
}

/// State of the virtual server, and of each real server with the last result of its first check.
///
/// # Errors
/// There is none.
pub fn states(lab: &Lab) -> anyhow::Result<(String, Vec<(String, String)>)> {
    let report = report(lab)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let service = report.pointer("/virtual_servers/0").context("no virtual server")?;
    let servers = service["real_servers"].as_array().context("no real servers")?;
    let states = servers.iter().map(|it| (text(&it["state"]), text(&it["checks"][0]["result"]))).collect();
    Ok((text(&service["state"]), states))
}

/// Waits until the real servers have these states, in the configuration's order, and all have been checked.
///
/// # Errors
/// It takes too long.
pub fn until(lab: &Lab, expected: &[&str]) -> anyhow::Result<()> {
    let is_there = || {
        states(lab).is_ok_and(|(_, states)| {
            states.iter().map(|(state, _)| state.as_str()).eq(expected.iter().copied())
                && states.iter().all(|(_, result)| !result.is_empty())
        })
    };
    anyhow::ensure!(wait_until(patience(60), is_there), "{expected:?} never comes: {:?}", states(lab)?);
    Ok(())
}

/// Waits until a real server is not in the tables any more.
///
/// # Errors
/// It takes too long.
pub fn until_removed(lab: &Lab, node: Node) -> anyhow::Result<()> {
    let address = lab.address(node, Family::V4).context("no such node")?.to_string();
    let is_gone = || lbctl(lab, "list").is_ok_and(|text| !text.contains(&address));
    anyhow::ensure!(wait_until(patience(20), is_gone), "{node} stays: {}", lbctl(lab, "list")?);
    Ok(())
}

/// State and last result of each check of the first real server, when all have one.
///
/// # Errors
/// Some has none for too long.
pub fn results(lab: &Lab) -> anyhow::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let are_there = || {
        let report = report(lab).unwrap_or_default();
        let rows = report["virtual_servers"][0]["real_servers"][0]["checks"].as_array();
        let rows = rows.map_or(&[] as &[Value], Vec::as_slice);
        let row = |row: &Value| Some((row["state"].as_str()?.to_owned(), row["result"].as_str()?.to_owned()));
        found = rows.iter().filter_map(row).collect();
        !found.is_empty() && found.len() == rows.len()
    };
    anyhow::ensure!(wait_until(patience(30), are_there), "not every check has a result: {found:?}");
    Ok(found)
}

/// The real servers in the tables of the first virtual server, with their weights, by address.
///
/// # Errors
/// It cannot be listed.
pub fn weights(lab: &Lab) -> anyhow::Result<Vec<(IpAddr, u64)>> {
    let list: Value = serde_json::from_str(&lbctl(lab, "list --json")?)?;
    let servers = list.pointer("/virtual_servers/0/real_servers").and_then(Value::as_array);
    let entry = |it: &Value| Some((it["address"].as_str()?.parse().ok()?, it["weight"].as_u64()?));
    let mut all: Vec<_> = servers.into_iter().flatten().filter_map(entry).collect();
    all.sort_unstable();
    Ok(all)
}

/// Waits until the tables of the first virtual server have these real servers with these weights.
///
/// # Errors
/// It takes too long.
pub fn until_weights(lab: &Lab, expected: &[(Node, u64)]) -> anyhow::Result<()> {
    let expected = expected
        .iter()
        .map(|(node, weight)| anyhow::Ok((lab.address(*node, Family::V4).context("no such node")?, *weight)));
    let mut expected = expected.collect::<anyhow::Result<Vec<_>>>()?;
    expected.sort_unstable();
    let are_there = || weights(lab).is_ok_and(|weights| weights == expected);
    anyhow::ensure!(wait_until(patience(60), are_there), "{expected:?} never comes: {:?}", weights(lab)?);
    Ok(())
}
