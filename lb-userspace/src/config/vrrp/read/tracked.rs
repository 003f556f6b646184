//! What is tracked, and who tracks it.

use std::path::PathBuf;
use std::time::Duration;

use super::super::super::diagnostics::quoted;
use super::super::super::raw::{Field, Table};
use super::super::model::{TrackFile, TrackProcess, TrackScript};
use super::super::schema;
use super::{DAY, Keys, Placed, SECOND, TrackedDraft, TrackingDraft};
use crate::process::Script;

impl Keys<'_, '_> {
    pub(super) fn tracking(&mut self) -> TrackingDraft {
        TrackingDraft {
            interfaces: self.tracked("track_interfaces"),
            scripts: self.tracked("track_scripts"),
            processes: self.tracked("track_processes"),
            files: self.tracked("track_files"),
            virtual_servers: self.tracked("track_virtual_servers"),
        }
    }

    pub(super) fn tracked(&mut self, key: &str) -> Vec<TrackedDraft> {
        let mut all = Vec::new();
        for (path, element) in self.table.elements(key, self.report) {
            let span = element.span();
            if let Some(name) = element.get_ref().as_str() {
                all.push(TrackedDraft { path, span, name: name.to_owned(), weight: None, reverse: false });
            } else if let Some(inner) = element.get_ref().as_table() {
                let table = Table::read(&schema::TRACKED, inner, span.clone(), path.clone(), self.report);
                let mut keys = Keys { table: &table, report: self.report };
                let (name, _) = keys.required("name");
                let weight = table.has("weight").then(|| keys.weight(0));
                let reverse = keys.boolean("reverse", false);
                all.push(TrackedDraft { path, span, name, weight, reverse });
            } else {
                let help = format!("write it like this: {}", self.table.example(key));
                self.report.error(&span, path, "is neither a string nor a table", help);
            }
        }
        all
    }

    pub(super) fn script(&mut self) -> Placed<TrackScript, ()> {
        let (name, span) = self.name();
        let (text, command_span) = self.required("command");
        let user = self.string("user").0;
        let command = if text.trim().is_empty() {
            Script { words: Vec::new(), user }
        } else {
            self.command(&text, user, "command", &command_span)
        };
        let least = Duration::from_millis(10);
        let interval = self.duration("interval", (least, DAY), SECOND);
        let value = TrackScript {
            name,
            command,
            interval,
            timeout: self.duration("timeout", (least, DAY), interval),
            rise: self.number("rise", (1, 1_000_000), 1),
            fall: self.number("fall", (1, 1_000_000), 1),
            weight: self.weight(0),
            init_fail: self.boolean("init_fail", false),
        };
        self.placed(span, value, ())
    }

    pub(super) fn process(&mut self) -> Placed<TrackProcess, ()> {
        let (name, span) = self.name();
        let (process, _) = self.required("process");
        let value = TrackProcess {
            name,
            process,
            weight: self.weight(0),
            quorum: self.number("quorum", (1, 65_535), 1),
            delay: self.duration("delay", (Duration::ZERO, Duration::from_secs(3600)), Duration::ZERO),
        };
        self.placed(span, value, ())
    }

    pub(super) fn file(&mut self) -> Placed<TrackFile, ()> {
        let (name, span) = self.name();
        let (file, file_span) = self.required("file");
        if !file.is_empty() && !file.starts_with('/') {
            let message = format!("{} is not an absolute path", quoted(&file));
            self.report.error(&file_span, self.path("file"), message, "write it from the root: /run/…");
        }
        let init = match self.table.integer("init", self.report) {
            Field::Given(value, span) => {
                let init = i32::try_from(value).ok();
                if init.is_none() {
                    let help = "write a number of at most 32 bits";
                    self.report.error(&span, self.path("init"), "is out of range", help);
                }
                init
            }
            Field::Absent | Field::Refused => None,
        };
        let value = TrackFile { name, file: PathBuf::from(file), weight: self.weight(1), init };
        self.placed(span, value, ())
    }
}
