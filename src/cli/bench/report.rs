//! `hubplane bench report`.

use hubplane_bench::{merge::Merged, report, table};
use std::{fs, path::PathBuf};

use crate::cli::{Failure, note, print};

/// Puts runs together, shows their figures, and writes them as a page.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hubplane bench report run.json --out report.html
  hubplane bench report monday.json tuesday.json --out report.html --json both.json")]
pub(in crate::cli) struct Report {
    /// What `hubplane bench --json` wrote, or this command
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Write the page there: one file that holds all it shows
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write all figures there, to be put together with others later
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Report {
    pub(in crate::cli) fn run(&self) -> Result<(), Failure> {
        let merged = Merged::read(&self.files).map_err(Failure::wrong)?;
        if let Some(path) = &self.json {
            let text = serde_json::to_string(&merged).map_err(Failure::failed)?;
            write(path, &text)?;
        }
        if let Some(path) = &self.out {
            write(path, &report::html(&merged).map_err(Failure::failed)?)?;
        }
        print(table::text(&merged))
    }
}

pub(super) fn write(path: &PathBuf, text: &str) -> Result<(), Failure> {
    let shown = path.display();
    fs::write(path, text).map_err(|error| Failure::failed(format!("{shown}: {error}")))?;
    note(format_args!("wrote {shown}"));
    Ok(())
}
