//! Groups of instances that fail over together.

use super::Translation;
use crate::import::document::{Section, Value};
use crate::import::keepalived::tree::Statement;

impl Translation<'_> {
    pub(super) fn sync_group(&mut self, block: &Statement) {
        let mut section = Section::new("[[vrrp_sync_group]]", block.place());
        section.set("name", Value::text(block.word(0).unwrap_or("")), block.place());
        for statement in self.statements(block) {
            match statement.keyword.name {
                "group" => {
                    let mut members: Vec<String> = Vec::new();
                    for entry in &statement.block {
                        if self
                            .instances
                            .iter()
                            .any(|instance| instance.get("name") == Some(&Value::text(&entry.name.text)))
                        {
                            self.taken(entry, "vrrp_sync_group.members");
                            members.push(entry.name.text.clone());
                        } else {
                            self.refused(
                                entry,
                                "there is no vrrp_instance of this name; keepalived ignores it",
                            );
                        }
                    }
                    self.set(&mut section, "members", Value::texts(members), statement);
                }
                "sync_group_tracking_weight" => {
                    self.set(&mut section, "weighted_tracking", Value::Flag(true), statement);
                }
                "smtp_alert" => {
                    if let Some(flag) = self.flag(statement) {
                        self.set(&mut section, "email_alert", Value::Flag(flag), statement);
                    }
                }
                name if name.starts_with("track_") => self.track(&mut section, statement, None),
                _ => {
                    if !self.notify(&mut section, statement) {
                        self.by_table(statement);
                    }
                }
            }
        }
        if !matches!(section.get("members"), Some(Value::List(members)) if !members.is_empty()) {
            return self.refused(block, "it has no members; left out");
        }
        self.by_table(block);
        self.sync_groups.push(section);
    }

    /// `smtp_alert` of global_defs is the default of instances and groups.
    pub(super) fn email_alerts(&mut self) {
        let Some((true, place)) = self.globals.alerts_vrrp else { return };
        for section in self.instances.iter_mut().chain(&mut self.sync_groups) {
            if section.get("email_alert").is_none() {
                section.set("email_alert", Value::Flag(true), place);
            }
        }
    }
}
