//! What can be told, and how it reads: to scripts, in FIFOs and in mail. All of it is keepalived's.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::UpDown;
use crate::plane::desired::{ServerKey, ServiceKey};
use crate::process::Script;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A VRRP instance, or a group of them, went over to a state.
    Vrrp(VrrpEvent),
    /// A virtual server has its quorum again, or has lost it.
    VirtualServer(QuorumEvent),
    /// A real server came up or went down.
    RealServer(RealServerEvent),
}

/// Whether it is one instance or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VrrpObject {
    /// An instance.
    Instance,
    /// A sync group.
    Group,
}

/// What became of a VRRP instance or group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VrrpChange {
    /// It has the VIPs now.
    Master,
    /// It waits.
    Backup,
    /// It cannot take part.
    Fault,
    /// It ends.
    Stop,
    /// It is not configured any more.
    Deleted,
    /// It is master and has heard another of lower priority. FIFO and its own script only.
    MasterReceivedLowerPriority,
    /// It is master and its effective priority has changed. FIFO only.
    MasterPriority,
    /// It is backup and its effective priority has changed. FIFO only.
    BackupPriority,
}

impl VrrpChange {
    /// keepalived's word for scripts and FIFOs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Master => "MASTER",
            Self::Backup => "BACKUP",
            Self::Fault => "FAULT",
            Self::Stop => "STOP",
            Self::Deleted => "DELETED",
            Self::MasterReceivedLowerPriority => "MASTER_RX_LOWER_PRI",
            Self::MasterPriority => "MASTER_PRIORITY",
            Self::BackupPriority => "BACKUP_PRIORITY",
        }
    }
}

/// The scripts of a VRRP instance or group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VrrpScripts {
    /// On becoming master.
    pub master: Option<Script>,
    /// On becoming backup.
    pub backup: Option<Script>,
    /// On a fault.
    pub fault: Option<Script>,
    /// At the end.
    pub stop: Option<Script>,
    /// When a master hears another of lower priority.
    pub master_received_lower_priority: Option<Script>,
    /// On each of them but the last, afterwards, with four more arguments.
    pub any: Option<Script>,
}

/// A transition of a VRRP instance or group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VrrpEvent {
    /// Which of the two.
    pub object: VrrpObject,
    /// Its name.
    pub name: String,
    /// What became of it.
    pub change: VrrpChange,
    /// Its effective priority; 0 for a group.
    pub priority: u8,
    /// Its scripts.
    pub scripts: Arc<VrrpScripts>,
    /// Whether mail is sent (`email_alert`).
    pub mail: bool,
}

/// A change of a virtual server's quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumEvent {
    /// The virtual server.
    pub virtual_server: ServiceKey,
    /// Whether it has it.
    pub up: bool,
    /// Whether this is how it begins.
    pub initial: bool,
    /// The configured quorum.
    pub quorum: u64,
    /// The configured hysteresis.
    pub hysteresis: u64,
    /// The sum of the weights of the real servers that are up.
    pub weight: u64,
    /// The configured commands.
    pub commands: UpDown,
}

/// A change of a real server's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealServerEvent {
    /// The virtual server.
    pub virtual_server: ServiceKey,
    /// The real server.
    pub real_server: ServerKey,
    /// Whether it is up.
    pub up: bool,
    /// What a check found, such as "HTTP 503 in 2 ms".
    pub reason: String,
    /// The configured commands.
    pub commands: UpDown,
}

/// A command to run, with what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) script: Script,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
}

/// A mail without its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    /// Without the director's name, which goes before it in brackets.
    pub(super) subject: String,
    pub(super) body: String,
}

fn up_down(up: bool) -> &'static str {
    if up { "UP" } else { "DOWN" }
}

/// `[192.168.4.15]:tcp:80`
fn triple(address: std::net::IpAddr, service: &ServiceKey, port: u16) -> String {
    format!("[{address}]:{}:{port}", service.protocol_name().to_lowercase())
}

fn virtual_server(key: &ServiceKey) -> String {
    triple(key.address, key, key.port)
}

fn real_server(server: &ServerKey, of: &ServiceKey) -> String {
    triple(server.address, of, server.port)
}

impl Event {
    /// Whether it is about VRRP, not about balancing.
    pub(super) fn is_vrrp(&self) -> bool {
        matches!(self, Self::Vrrp(_))
    }

    /// What it is about; scripts of one object run one after the other.
    pub(super) fn object(&self) -> String {
        match self {
            Self::Vrrp(event) => format!("{} \"{}\"", event.object(), event.name),
            Self::VirtualServer(event) => format!("VS {}", virtual_server(&event.virtual_server)),
            Self::RealServer(event) => format!(
                "RS {} {}",
                real_server(&event.real_server, &event.virtual_server),
                virtual_server(&event.virtual_server)
            ),
        }
    }

    /// The line for FIFOs, without its end.
    pub(super) fn line(&self) -> String {
        let object = self.object();
        match self {
            Self::Vrrp(event) => format!("{object} {} {}", event.change.word(), event.shown_priority()),
            Self::VirtualServer(event) => format!("{object} {}", up_down(event.up)),
            Self::RealServer(event) => format!("{object} {}", up_down(event.up)),
        }
    }

    /// The commands that are run, in their order.
    pub(super) fn jobs(&self) -> Vec<Job> {
        let environment = self.environment();
        let job = |script: &Script, arguments: Vec<String>| Job {
            script: script.clone(),
            arguments,
            environment: environment.clone(),
        };
        match self {
            Self::Vrrp(event) => {
                let own = event.own_script().map(|script| job(script, Vec::new()));
                let any = event.scripts.any.as_ref().filter(|_| event.change.is_state());
                own.into_iter().chain(any.map(|script| job(script, event.arguments()))).collect()
            }
            Self::VirtualServer(QuorumEvent { commands, up, .. })
            | Self::RealServer(RealServerEvent { commands, up, .. }) => {
                let script = if *up { &commands.up } else { &commands.down };
                script.iter().map(|script| job(script, Vec::new())).collect()
            }
        }
    }

    /// What keepalived does not tell its scripts; so one script can serve all objects.
    fn environment(&self) -> Vec<(String, String)> {
        let pairs: Vec<(&str, String)> = match self {
            Self::Vrrp(event) => vec![
                (event.object(), event.name.clone()),
                ("STATE", event.change.word().to_owned()),
                ("PRIORITY", event.shown_priority().to_string()),
            ],
            Self::VirtualServer(event) => vec![
                ("VIRTUAL_SERVER", event.virtual_server.to_string()),
                ("STATE", up_down(event.up).to_owned()),
                ("QUORUM", event.quorum.to_string()),
                ("WEIGHT", event.weight.to_string()),
            ],
            Self::RealServer(event) => vec![
                ("VIRTUAL_SERVER", event.virtual_server.to_string()),
                ("REAL_SERVER", event.real_server.to_string()),
                ("STATE", up_down(event.up).to_owned()),
                // An environment cannot have a zero byte.
                ("REASON", event.reason.replace('\0', " ")),
            ],
        };
        pairs.into_iter().map(|(name, value)| (format!("LBCTL_{name}"), value)).collect()
    }

    /// The mail about it, if there is one.
    pub(super) fn letter(&self) -> Option<Letter> {
        match self {
            Self::Vrrp(event) if !event.mail => None,
            Self::Vrrp(event) => event.letter(),
            Self::VirtualServer(event) => Some(Letter {
                subject: format!(
                    "Virtualserver {} - {}",
                    virtual_server(&event.virtual_server),
                    up_down(event.up)
                ),
                body: event.text(),
            }),
            Self::RealServer(event) => Some(Letter {
                subject: format!(
                    "Realserver {} of virtual server {} - {}",
                    real_server(&event.real_server, &event.virtual_server),
                    virtual_server(&event.virtual_server),
                    up_down(event.up)
                ),
                body: match event.up {
                    true => format!("=> CHECK succeed on service : {} <=", event.reason),
                    false => format!("=> CHECK failed on service : {} <=", event.reason),
                },
            }),
        }
    }
}

impl VrrpChange {
    /// Whether it is a state, not something that happens in one.
    fn is_state(self) -> bool {
        matches!(self, Self::Master | Self::Backup | Self::Fault | Self::Stop | Self::Deleted)
    }
}

impl VrrpEvent {
    fn object(&self) -> &'static str {
        match self.object {
            VrrpObject::Instance => "INSTANCE",
            VrrpObject::Group => "GROUP",
        }
    }

    fn shown_priority(&self) -> u8 {
        match self.object {
            VrrpObject::Instance => self.priority,
            VrrpObject::Group => 0,
        }
    }

    fn arguments(&self) -> Vec<String> {
        vec![
            self.object().to_owned(),
            self.name.clone(),
            self.change.word().to_owned(),
            self.shown_priority().to_string(),
        ]
    }

    fn own_script(&self) -> Option<&Script> {
        let scripts = &self.scripts;
        match self.change {
            VrrpChange::Master => scripts.master.as_ref(),
            VrrpChange::Backup => scripts.backup.as_ref(),
            VrrpChange::Fault => scripts.fault.as_ref(),
            VrrpChange::Stop => scripts.stop.as_ref(),
            VrrpChange::MasterReceivedLowerPriority => scripts.master_received_lower_priority.as_ref(),
            VrrpChange::Deleted | VrrpChange::MasterPriority | VrrpChange::BackupPriority => None,
        }
    }

    fn letter(&self) -> Option<Letter> {
        let (what, own, group) = match self.change {
            VrrpChange::Master => {
                ("Entering MASTER state", "is now owning VRRP VIPs", "are now in MASTER state")
            }
            VrrpChange::Backup => {
                ("Entering BACKUP state", "is no longer owning VRRP VIPs", "are now in BACKUP state")
            }
            VrrpChange::Fault => {
                ("Entering FAULT state", "is no longer owning VRRP VIPs", "are now in FAULT state")
            }
            VrrpChange::Stop | VrrpChange::Deleted => ("Stopping", "stopping", "are now stopping"),
            VrrpChange::MasterReceivedLowerPriority
            | VrrpChange::MasterPriority
            | VrrpChange::BackupPriority => return None,
        };
        Some(match self.object {
            VrrpObject::Instance => Letter {
                subject: format!("VRRP Instance {} - {what}", self.name),
                body: format!("=> VRRP Instance {own} <="),
            },
            VrrpObject::Group => Letter {
                subject: format!("VRRP Group {} - {what}", self.name),
                body: format!("=> All VRRP group instances {group} <="),
            },
        })
    }
}

impl QuorumEvent {
    fn text(&self) -> String {
        let what = match (self.initial, self.up) {
            (true, true) => "Starting with quorum up",
            (true, false) => "Starting with quorum down",
            (false, true) => "Gained quorum",
            (false, false) => "Lost quorum",
        };
        let (quorum, hysteresis) = (self.quorum, self.hysteresis);
        match self.up {
            true => {
                let threshold = quorum.saturating_add(hysteresis);
                format!("=> {what} {quorum}+{hysteresis}={threshold} <= {} <=", self.weight)
            }
            false => {
                let threshold = quorum.saturating_sub(hysteresis);
                format!("=> {what} {quorum}-{hysteresis}={threshold} > {} <=", self.weight)
            }
        }
    }
}
