//! A log's line.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::Log;
use crate::Result;

/// Something that happened, at a time in microseconds since the run's start, by one clock for all.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) t: u64,
    #[serde(flatten)]
    pub(crate) what: What,
}

/// A publisher, a client and the drill each write their own kinds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum What {
    /// Of a publisher, at its first try.
    Publish {
        channel: String,
        publisher: String,
        seq: u64,
        hash: u64,
        /// Absent in most lines, as most are published by a hub.
        #[serde(default, skip_serializing_if = "is_false")]
        native: bool,
    },
    Ack {
        publisher: String,
        seq: u64,
        tries: u32,
    },
    /// No answer, or one that leaves it open.
    Unknown {
        publisher: String,
        seq: u64,
    },
    /// Surely not published.
    Refused {
        publisher: String,
        seq: u64,
    },
    /// Of a client.
    Connected {
        hub: String,
    },
    Subscribed {
        /// By `seq` the message is found again; by `hash` its content.
        channel: String,
        recovered: bool,
        /// The client gave a position.
        since: bool,
    },
    Message {
        channel: String,
        publisher: String,
        seq: u64,
        hash: u64,
        id: String,
    },
    /// What no publisher of the drill could have written.
    Foreign {
        channel: String,
        text: String,
    },
    Gap {
        channel: String,
        cause: String,
    },
    Closed {
        code: u16,
    },
    /// It reads again after it has read nothing for long, and could not be told anything.
    Awake,
    /// Of the drill.
    Fault {
        what: String,
        phase: Phase,
    },
}

/// The three are in this order; a fault that never ends has no last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// It is broken now.
    Begin,
    /// It is being mended: from here on it may answer.
    Mend,
    /// It is whole again.
    End,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Log {
    /// A last line that was cut off, as a killed writer leaves it, is not read.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut records = Vec::new();
        for line in BufReader::new(File::open(path)?).lines() {
            match serde_json::from_str(&line?) {
                Ok(record) => records.push(record),
                // Only the end of the file may be cut off; anything else is a mistake of the
                // writer.
                Err(error) if error.is_eof() => break,
                Err(error) => return Err(format!("{}: {error}", path.display()).into()),
            }
        }
        Ok(Self { who: name, records })
    }
}
