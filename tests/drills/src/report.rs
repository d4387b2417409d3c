//! The table, for eyes and as JSON.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::json;

use crate::{Result, cell::Cell};

/// The columns of the table, as [`line()`] fills them.
const HEAD: [&str; 16] = [
    "backend",
    "drill",
    "accepted",
    "delivered",
    "announced",
    "silent",
    "repeated",
    "reordered",
    "phantom",
    "false gaps",
    "detect ms",
    "heal ms",
    "away s",
    "faults",
    "s",
    "result",
];

/// One cell, as soon as it is known.
pub(crate) fn row(cell: &Cell) {
    let figures = serde_json::to_string(&cell.figures).unwrap_or_default();
    println!("   {}: {figures}", line(cell).join(" | "));
    if let Some(why) = &cell.left_out {
        println!("   not run: {why}");
    }
    for note in &cell.notes {
        println!("   note: {note}");
    }
    for failure in &cell.failures {
        println!("   RED: {failure}");
    }
}

/// All cells, one a line.
///
/// Failures are told once more below it, since they are too long for a cell.
pub(crate) fn table(cells: &[Cell], versions: &BTreeMap<String, String>, seed: u64) {
    println!("\nseed {seed}; {versions:?}\n");
    let rows: Vec<Vec<String>> = cells.iter().map(line).collect();
    let width = |at: usize| {
        // Bytes and not characters, which is wrong by a little for the dash.
        let widest = rows.iter().map(|row| row[at].len()).max().unwrap_or(0);
        widest.max(HEAD[at].len())
    };
    let print = |row: &[String]| {
        let texts: Vec<_> = row
            .iter()
            .enumerate()
            .map(|(at, text)| format!("{text:<w$}", w = width(at)))
            .collect();
        println!("| {} |", texts.join(" | "));
    };
    print(&HEAD.map(str::to_owned));
    print(&std::array::from_fn::<_, 16, _>(|at| "-".repeat(width(at))));
    for row in &rows {
        print(row);
    }
    for cell in cells {
        for failure in &cell.failures {
            println!("RED {} {}: {failure}", cell.backend, cell.drill);
        }
    }
}

/// The columns of one cell; "–" where the drill has no clients that are checked.
fn line(cell: &Cell) -> Vec<String> {
    let verdict = cell.verdict.as_ref();
    let number = |of: fn(&crate::checker::Verdict) -> u64| {
        verdict.map_or("–".to_owned(), |verdict| of(verdict).to_string())
    };
    vec![
        cell.backend.clone(),
        cell.drill.clone(),
        number(|v| v.accepted),
        number(|v| v.delivered),
        number(|v| v.announced),
        number(|v| v.lost_silent),
        number(|v| v.repeated),
        number(|v| v.reordered),
        number(|v| v.phantom),
        number(|v| v.false_gaps),
        number(|v| v.detect_ms.max),
        number(|v| v.heal_ms.max),
        verdict.map_or("–".to_owned(), |v| format!("{:.1}", v.unavailable_s)),
        number(|v| v.faults),
        format!("{:.0}", cell.seconds),
        result(cell).to_owned(),
    ]
}

/// The same as a file.
pub(crate) fn json(
    path: &Path,
    cells: &[Cell],
    versions: &BTreeMap<String, String>,
    seed: u64,
) -> Result<()> {
    let document = json!({ "seed": seed, "versions": versions, "cells": cells });
    Ok(fs::write(
        path,
        serde_json::to_string_pretty(&document)? + "\n",
    )?)
}

/// A failure wins, even over a drill that was left out.
fn result(cell: &Cell) -> &'static str {
    match (&cell.left_out, cell.failures.is_empty()) {
        (_, false) => "RED",
        (Some(_), true) => "not run",
        (None, true) => "ok",
    }
}
