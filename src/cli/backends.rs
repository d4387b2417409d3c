//! `hubplane backends`.

use hubplane_backplane::Capabilities;
use serde_json::{Value, json};

use super::{Failure, print};
use crate::backends::{DRIVERS, KNOWN};
use hubplane_bench::table::align;

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

fn json() -> Value {
    KNOWN
        .iter()
        .map(|(feature, schemes)| {
            let driver = DRIVERS.iter().find(|driver| driver.schemes() == *schemes);
            let capabilities = driver.map(|driver| driver.capabilities());
            json!({ "feature": feature, "schemes": schemes, "compiled": driver.is_some(), "capabilities": capabilities })
        })
        .collect()
}

/// The columns of the table, as README shows them too.
pub(crate) const HEAD: [&str; 9] = [
    "backend",
    "order",
    "delivery",
    "replay",
    "durability",
    "on restart",
    "interest",
    "payload",
    "channel",
];

/// One backend's row.
pub(crate) fn row(schemes: &[&str], capabilities: &Capabilities) -> [String; 9] {
    let word = |value: Value| match value {
        Value::String(word) => word.replace('_', " "),
        Value::Object(map) => map
            .into_iter()
            .map(|(_, value)| value.as_str().unwrap_or_default().to_owned())
            .collect(),
        other => other.to_string(),
    };
    let capability = |name: &str| {
        let all = serde_json::to_value(capabilities).unwrap_or_default();
        word(all.get(name).cloned().unwrap_or_default())
    };
    [
        schemes
            .iter()
            .map(|scheme| format!("{scheme}:"))
            .collect::<Vec<_>>()
            .join(" "),
        capability("order"),
        capability("delivery"),
        capability("replay"),
        capability("durability"),
        capability("on_restart"),
        capability("interest"),
        size(capabilities.max_payload),
        size(capabilities.max_channel),
    ]
}

/// One backend's row, each cell with its column's name.
pub(super) fn promises(scheme: &str) -> Vec<(String, String)> {
    let driver = DRIVERS
        .iter()
        .find(|driver| driver.schemes().contains(&scheme));
    let Some(driver) = driver else {
        return Vec::new();
    };
    let cells = row(driver.schemes(), &driver.capabilities());
    let names = HEAD.iter().map(|name| (*name).to_owned());
    names.zip(cells).skip(1).collect()
}

fn size(bytes: usize) -> String {
    match bytes {
        n if n % (1024 * 1024) == 0 => format!("{} MiB", n / (1024 * 1024)),
        n if n % 1024 == 0 => format!("{} KiB", n / 1024),
        n => format!("{n} B"),
    }
}

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
            .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
            .map(|line| line.split(" | ").collect::<Vec<_>>())
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
