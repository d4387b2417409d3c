//! `hubplane backends`: the capability table. Its row is also what `bench`, `recommend` and `conformance` call promises.
//!
//! What a backend declares comes from its driver; this file only puts it into words.

use hubplane_backplane::Capabilities;
use serde_json::{Value, json};

use super::{Failure, print};
use crate::backends::{DRIVERS, KNOWN};
use hubplane_bench::{results::PROMISES, table::align};

/// List the backends, what each promises, and which are in this build.
#[derive(Debug, clap::Args)]
pub(super) struct Backends {
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

impl Backends {
    pub(super) fn run(&self) -> Result<(), Failure> {
        if self.json {
            print(json())
        } else {
            print(table())
        }
    }
}

/// All backends that there are, also those that are not in this build: a script may look for them.
fn json() -> Value {
    KNOWN
        .iter()
        .map(|(feature, schemes)| {
            let driver = DRIVERS.iter().find(|driver| driver.schemes() == *schemes);
            let capabilities = driver.map(|driver| driver.capabilities());
            // `capabilities` is null for a backend that is not in this build.
            json!({ "feature": feature, "schemes": schemes, "compiled": driver.is_some(), "capabilities": capabilities })
        })
        .collect()
}

/// The columns of the table, as README.md shows them too: the addresses, and what the backend declares.
pub(crate) const HEAD: [&str; PROMISES.len() + 1] = head();

/// A loop and not an iterator, as a constant function can't use one.
const fn head() -> [&'static str; PROMISES.len() + 1] {
    let mut all = ["backend"; PROMISES.len() + 1];
    let mut column = 0;
    while column < PROMISES.len() {
        all[column + 1] = PROMISES[column];
        column += 1;
    }
    all
}

/// Returns one backend's row, a cell for each column of [`HEAD`].
pub(crate) fn row(schemes: &[&str], capabilities: &Capabilities) -> [String; HEAD.len()] {
    // Through JSON, so that a word is the same here, in `--json` and in the files of the bench.
    let all = serde_json::to_value(capabilities).unwrap_or_default();
    // A column is called as the capability is in JSON, but for the underscores; so no cell can stand in the wrong column.
    HEAD.map(|column| match column {
        "backend" => schemes
            .iter()
            .map(|scheme| format!("{scheme}:"))
            .collect::<Vec<_>>()
            .join(" "),
        "payload" => size(capabilities.max_payload),
        "channel" => size(capabilities.max_channel),
        column => words(all.get(column.replace(' ', "_"))),
    })
}

/// Puts a capability's JSON into words. A capability with a value of its own, such as what limits a replay, is an object:
/// the value says all, so its key is left out.
fn words(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(word)) => word.replace('_', " "),
        Some(Value::Object(map)) => map.values().filter_map(Value::as_str).collect(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// Returns what the backend with this scheme declares: each column's name and what it says. Empty if the backend is not in
/// this build.
pub(super) fn promises(scheme: &str) -> Vec<(String, String)> {
    let driver = DRIVERS
        .iter()
        .find(|driver| driver.schemes().contains(&scheme));
    let Some(driver) = driver else {
        return Vec::new();
    };
    let cells = row(driver.schemes(), &driver.capabilities());
    let columns = HEAD.map(str::to_owned).into_iter();
    // The first column is the backend's name, which is no promise.
    columns.zip(cells).skip(1).collect()
}

/// Writes a size as people do, exactly: in MiB or KiB only if it is a multiple.
fn size(bytes: usize) -> String {
    match bytes {
        n if n % (1024 * 1024) == 0 => format!("{} MiB", n / (1024 * 1024)),
        n if n % 1024 == 0 => format!("{} KiB", n / 1024),
        n => format!("{n} B"),
    }
}

/// The table for people; below it what is missing, with the feature to add.
fn table() -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(
        DRIVERS
            .iter()
            .map(|driver| row(driver.schemes(), &driver.capabilities())),
    );
    let mut lines = align(&rows);
    for (feature, schemes) in KNOWN {
        if !DRIVERS.iter().any(|driver| driver.schemes() == *schemes) {
            lines.push(format!(
                "{}: not in this build; add --features {feature}",
                schemes.join(":, ")
            ));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// README's rows of nine cells: the capability table, its head first.
    fn readme() -> Vec<Vec<&'static str>> {
        include_str!("../../README.md")
            .lines()
            // Only rows of a table have this form.
            .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
            .map(|line| line.split(" | ").collect::<Vec<_>>())
            // README.md has other tables, with fewer columns.
            .filter(|cells| cells.len() == HEAD.len())
            .collect()
    }

    #[test]
    fn the_readme_shows_what_this_prints() {
        let rows = readme();
        assert_eq!(rows.first().map(Vec::as_slice), Some(&HEAD[..]));
        for driver in DRIVERS {
            let row = row(driver.schemes(), &driver.capabilities());
            assert!(
                // The message is the row to paste.
                rows.iter().any(|cells| *cells == row),
                "README.md's capability table needs the row\n| {} |\n",
                row.join(" | ")
            );
        }
    }

    /// Also for backends that are not in this build, and nothing for those that don't exist.
    #[test]
    fn the_readme_has_one_row_for_each_backend() {
        let shown: Vec<_> = readme().iter().skip(1).map(|cells| cells[0]).collect();
        let known: Vec<_> = KNOWN
            .iter()
            .map(|(_, schemes)| {
                let schemes: Vec<_> = schemes.iter().map(|scheme| format!("{scheme}:")).collect();
                schemes.join(" ")
            })
            .collect();
        assert_eq!(shown, known);
    }
}
