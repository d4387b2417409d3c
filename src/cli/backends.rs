//! `hubplane backends`.

use hubplane_backplane::Capabilities;
use serde_json::{Value, json};

use super::{Failure, print};
use crate::backends::{DRIVERS, KNOWN};

/// What each backend promises.
#[derive(Debug, clap::Args)]
pub(super) struct Backends {
    /// As JSON
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
const HEAD: [&str; 9] = [
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
    let widths: Vec<_> = (0..HEAD.len())
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or_default()
        })
        .collect();
    let mut lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, &width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect();
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
