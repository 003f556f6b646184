//! VRRP without balancing: a daemon of two threads and an API, no program, no tables.
//!
//! For pairs of other servers, such as two nginx, that stand in for each other. A configuration is of this kind if it
//! names no interfaces to attach to.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::api::{self, Refused, Reloaded, Request, Said, Status};
use super::failover::notification;
use super::instance::Instance;
use super::preflight::{Refusal, packet_filter};
use crate::config::Config;
use crate::import::source::ConfigSource;
use crate::net::netlink::Netlink;
use crate::notify;
use crate::vrrp::shell::{Handle, News, record_file};

/// How long the last notifications may take.
const LAST_NOTIFICATIONS: Duration = Duration::from_secs(5);

/// Whether a configuration asks for VRRP and nothing else.
pub fn is_alone(config: &Config) -> bool {
    config.director.interfaces.is_empty() && !config.vrrp.instances.is_empty()
}

fn filterable(config: &Config) -> Result<(), Refusal> {
    let problems = packet_filter(config);
    if problems.is_empty() { Ok(()) } else { Err(Refusal { problems }) }
}

struct Alone {
    instance: Instance,
    source: ConfigSource,
    config: Config,
    vrrp: Handle,
    notifications: notify::Service,
}

/// Runs until it is told to end; then the addresses are taken off the host.
///
/// # Errors
///
/// Threads, signals or the API's socket cannot be had, or not everything could be undone.
pub async fn run(
    instance: Instance,
    source: ConfigSource,
    config: Config,
    ready: impl FnOnce(),
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut api = api::serve_vrrp(&instance)?;
    filterable(&config)?;
    let vrrp = Handle::start(&config, record_file(&instance.run_dir()))?;
    vrrp.set_ready(true);
    let notifications = notify::Service::start(&config);
    let mut alone = Alone { instance, source, config, vrrp, notifications };
    ready();
    let asker = loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            _ = hangup.recv() => drop(alone.reload().await),
            request = api.request() => {
                if let Some(answer) = alone.serve(request).await {
                    break Some(answer);
                }
            }
            news = alone.vrrp.changed() => match news {
                Some(News::Ended) => anyhow::bail!("the VRRP thread has ended; see the log"),
                Some(news) => alone.tell(&news),
                None => {
                    let generation = alone.vrrp.carried().generation;
                    alone.vrrp.tables_are(generation);
                }
            },
        }
    };
    tracing::info!("ending");
    sd_notify::notify(&[sd_notify::NotifyState::Stopping]).unwrap_or_default();
    let ended = alone.end().await.map_err(|error| Refused { error: format!("{error:#}") });
    let failed = ended.as_ref().err().map(|refused| refused.error.clone());
    if let Some(answer) = asker {
        // Who asked may be gone; what was asked is done.
        drop(answer.send(ended));
    }
    api.close().await;
    failed.map_or(Ok(()), |error| Err(anyhow::anyhow!(error)))
}

type Answer = tokio::sync::oneshot::Sender<Result<(), Refused>>;

impl Alone {
    fn tell(&self, news: &News) {
        if let Some(event) = notification(news) {
            self.notifications.notifier().send(notify::Event::Vrrp(event));
        }
    }

    /// Serves a request; returns whom to answer when it is the end.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the others are about balancing, and have no path here"
    )]
    async fn serve(&mut self, request: Request) -> Option<Answer> {
        match request {
            Request::Status(answer) => drop(answer.send(self.status())),
            Request::Vrrp(answer) => {
                let status = self.vrrp.status().await;
                drop(answer.send(status.map_err(|error| Refused { error: error.to_string() })));
            }
            Request::VrrpOrder { name, takes, answer } => {
                let said = self.vrrp.order(&name, takes);
                tokio::spawn(async move {
                    let said = said.await.map(|said| Said { said }).map_err(|error| Refused { error });
                    drop(answer.send(said));
                });
            }
            Request::Reload(answer) => drop(answer.send(self.reload().await)),
            Request::Down(answer) => return Some(answer),
            _ => {}
        }
        None
    }

    async fn reload(&mut self) -> Result<Reloaded, Refused> {
        let result = self.try_reload().await;
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

    async fn try_reload(&mut self) -> anyhow::Result<Vec<String>> {
        let config = self.source.load()?;
        anyhow::ensure!(
            config.director.interfaces.is_empty(),
            "director.interfaces: to begin to balance, use `lbctl down` and `lbctl up`"
        );
        filterable(&config)?;
        self.vrrp.configure(&config).await?;
        self.notifications.reconfigure(&config);
        self.config = config;
        Ok(self.config.warnings.iter().map(ToString::to_string).collect())
    }

    async fn end(mut self) -> anyhow::Result<()> {
        self.vrrp.stop().await;
        for news in self.vrrp.remaining_news() {
            self.tell(&news);
        }
        let undone = super::teardown::undo(&self.instance, &Netlink::open()?).await;
        self.notifications.close(LAST_NOTIFICATIONS).await;
        undone
    }

    fn status(&self) -> Status {
        Status {
            schema: "lbctl/status/v1".to_owned(),
            instance: self.instance.name().to_owned(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            router_id: self.config.director.router_id.clone(),
            virtual_servers: 0,
            unresolved: Vec::new(),
            checked: true,
            pending: None,
        }
    }
}
