//! Keeps the rounds of this run, and those that earlier runs wrote to a file, one JSON object on each line.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    table::{Figure, Rounds},
};

/// One round: what was measured, of which server, and its figures.
/// As the file has it; names are stable, since earlier runs are found by them.
#[derive(Serialize, Deserialize)]
struct Round {
    what: String,
    server: String,
    figures: Vec<Figure>,
}

/// The rounds, in memory and in the file if one is given.
pub(crate) struct Kept {
    rounds: Vec<Round>,
    file: Option<File>,
}

impl Kept {
    /// Opens the file, or creates it, and reads its rounds. Fails if a line is not a round.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        // Appended to, and never written anew: rounds of earlier runs are kept as they are.
        options.create(true).append(true).read(true);
        let file = path.map(|path| options.open(path)).transpose()?;
        let mut rounds = Vec::new();
        if let Some(file) = &file {
            for line in BufReader::new(file).lines() {
                rounds.push(serde_json::from_str(&line?)?);
            }
        }
        Ok(Self { rounds, file })
    }

    /// Adds a round and writes it to the file at once, so that a later failure does not lose it.
    pub(crate) fn add(
        &mut self,
        what: &str,
        server: &str,
        figures: Vec<Figure>,
    ) -> Result<(), Failure> {
        let round = Round {
            what: what.to_owned(),
            server: server.to_owned(),
            figures,
        };
        if let Some(file) = &mut self.file {
            writeln!(file, "{}", serde_json::to_string(&round)?)?;
        }
        self.rounds.push(round);
        Ok(())
    }

    /// Returns all rounds of one measurement of one server, in the order in which they were made.
    pub(crate) fn of(&self, what: &str, server: &str) -> Rounds {
        let these = |it: &&Round| it.what == what && it.server == server;
        let rounds = self.rounds.iter().filter(these);
        rounds.map(|round| round.figures.clone()).collect()
    }
}
