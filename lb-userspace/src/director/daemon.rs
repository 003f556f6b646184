//! The daemon's loop: requests and signals first, then news of neighbours and links, then the clock.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::api::{self, Edited, Refused, Reloaded, Request, Said, Status};
use super::state::{Changed, Director};
use crate::edits::Operation;
use crate::list::rates::{self, Estimators};
use crate::list::snapshot::Snapshot;
use crate::net::netlink::{Event, Events, Netlink};

/// How often failed changes are retried.
const RETRY: Duration = Duration::from_secs(1);
/// The same where numbers of connections or templates decide about new ones.
const COUNT: Duration = Duration::from_millis(1500);
/// How often it is looked whether connections have become too many, or few, for their part of the table.
const PARTS: Duration = Duration::from_millis(100);
/// How often expired connections are looked for.
const SWEEP: Duration = Duration::from_secs(30);

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

/// Runs until it is told to end; then everything is undone.
///
/// # Errors
///
/// Signals or the API's socket cannot be had, or not everything could be undone.
pub async fn run(mut director: Director, ready: impl FnOnce()) -> anyhow::Result<()> {
    let mut signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        reload: signal(SignalKind::hangup())?,
    };
    let mut api = api::serve(director.instance())?;
    let mut events = Netlink::events()?;
    let (mut retry, mut sweep, mut estimate) = (every(RETRY), every(SWEEP), every(rates::PERIOD));
    let (mut count, mut parts) = (every(COUNT), every(PARTS));
    let mut estimators = Estimators::default();
    let mut health = director.health_news();
    director.follow_addresses().await;
    ready();
    let mut refused = super::refused::Refused::since(director.tables());
    loop {
        tokio::select! {
            biased;
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.reload.recv() => drop(reload(&mut director).await),
            request = api.request() => {
                if let Some(answer) = serve(&mut director, &mut estimators, request).await {
                    director.drop_edits();
                    let result = director.stop().await.map_err(|error| Refused { error: format!("{error:#}") });
                    let failed = result.as_ref().err().map(|refused| refused.error.clone());
                    // Who asked may be gone; what was asked is done.
                    drop(answer.send(result));
                    api.close().await;
                    return failed.map_or(Ok(()), |error| Err(anyhow::anyhow!(error)));
                }
            }
            changed = director.changed() => match changed {
                Changed::Vrrp(news) => director.follow_vrrp(news),
                Changed::Neighbours => {
                    director.follow_neighbours();
                    director.tell_vrrp();
                }
            },
            () = health.changed() => {
                director.follow_health();
                director.tell_vrrp();
            }
            event = events.next() => follow(&mut director, &mut events, event).await,
            _ = retry.tick() => {
                director.retry();
                director.mark_standby();
                director.tell_vrrp();
            }
            _ = parts.tick() => {
                director.keep_parts();
                // Packets are to have the time in between, however long the look took.
                parts.reset();
            }
            _ = sweep.tick() => director.sweep(),
            _ = count.tick() => director.keep_counts(),
            _ = estimate.tick() => {
                refused.look(director.tables());
                match Snapshot::read_traffic(director.tables()) {
                Ok(snapshot) => estimators.tick(&snapshot.virtual_servers),
                Err(error) => tracing::error!("no rates: {error}"),
                }
            }
        }
    }
    tracing::info!("ending: the datapath is taken down");
    sd_notify::notify(&[sd_notify::NotifyState::Stopping]).unwrap_or_default();
    let stopped = director.stop().await;
    api.close().await;
    stopped
}

async fn follow(
    director: &mut Director,
    events: &mut Events,
    event: Result<Event, crate::net::netlink::NetlinkError>,
) {
    match event {
        Ok(Event::Link(_)) => director.follow_interfaces().await,
        Ok(Event::Overrun) => {
            director.follow_interfaces().await;
            director.follow_addresses().await;
        }
        Ok(Event::Address(_) | Event::AddressGone(_)) => director.follow_addresses().await,
        Ok(_) => {}
        Err(error) => {
            tracing::error!("no news of the network's changes: {error}");
            match Netlink::events() {
                Ok(new) => *events = new,
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }
}

async fn reload(director: &mut Director) -> Result<Reloaded, Refused> {
    sd_notify::notify(&[sd_notify::NotifyState::Reloading]).unwrap_or_default();
    let result = director.reload().await;
    sd_notify::notify(&[sd_notify::NotifyState::Ready]).unwrap_or_default();
    match result {
        Ok(notes) => {
            tracing::info!("configuration reloaded");
            Ok(Reloaded { notes })
        }
        Err(error) => {
            tracing::error!("configuration not reloaded, the old one stays in force: {error:#}");
            Err(Refused { error: format!("{error:#}") })
        }
    }
}

async fn edit(director: &mut Director, operations: &[Operation]) -> Result<Edited, Refused> {
    match director.edit(operations).await {
        Ok((results, notes)) => {
            for operation in operations.iter().zip(&results).filter(|(_, result)| result.is_ok()) {
                tracing::info!(operation = ?operation.0, "edited");
            }
            let results = results.into_iter().map(Result::err).collect();
            Ok(Edited { results, notes })
        }
        Err(error) => Err(Refused { error: format!("{error:#}") }),
    }
}

type Answer = tokio::sync::oneshot::Sender<Result<(), Refused>>;

/// Serves a request; returns whom to answer when it is the end.
async fn serve(director: &mut Director, estimators: &mut Estimators, request: Request) -> Option<Answer> {
    // An asker that is gone needs no answer.
    match request {
        Request::Checks(answer) => director.report_health(answer),
        Request::Status(answer) => drop(answer.send(status(director))),
        Request::Rates(answer) => drop(answer.send(estimators.rates())),
        Request::Reload(answer) => drop(answer.send(reload(director).await)),
        Request::Paths(answer) => drop(answer.send(director.path_report())),
        Request::Order(request, answer) => {
            let done = director.order(&request).map_err(|error| Refused { error: format!("{error:#}") });
            drop(answer.send(done));
        }
        Request::Edit(operations, answer) => drop(answer.send(edit(director, &operations).await)),
        Request::Zero(service, answer) => {
            estimators.reset(service);
            answer.send(()).unwrap_or_default();
        }
        Request::Vrrp(answer) => {
            let status =
                director.vrrp_status().await.map_err(|error| Refused { error: format!("{error:#}") });
            drop(answer.send(status));
        }
        Request::VrrpOrder { name, takes, answer } => {
            let said = director.order_vrrp(&name, takes);
            tokio::spawn(async move {
                let said = said.await.map(|said| Said { said }).map_err(|error| Refused { error });
                drop(answer.send(said));
            });
        }
        Request::Saved(answer) => drop(answer.send(director.saved())),
        Request::Configuration(answer) => {
            let picture = director.picture().map_err(|error| Refused { error: format!("{error:#}") });
            drop(answer.send(picture));
        }
        Request::Diff(answer) => {
            let changes = director.differences().map_err(|error| Refused { error: format!("{error:#}") });
            drop(answer.send(changes));
        }
        Request::Down(answer) => return Some(answer),
    }
    None
}

fn status(director: &Director) -> Status {
    Status {
        schema: "lbctl/status/v1".to_owned(),
        instance: director.instance().name().to_owned(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        router_id: director.config().director.router_id.clone(),
        virtual_servers: director.config().virtual_servers.len(),
        unresolved: director.unresolved().iter().map(ToString::to_string).collect(),
        checked: director.is_checked(),
        pending: director.pending().map(ToOwned::to_owned),
    }
}
