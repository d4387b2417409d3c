//! `hubplane bench report`: reads the files of runs, and writes table, page and JSON. How they are put together is decided in
//! `hubplane_bench::merge`.

use hubplane_bench::{merge::Merged, report, table};
use std::{fs, path::PathBuf};

use crate::cli::{Failure, note, print};

/// Combine the results of several runs, print them as a table, and write them as a web page.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hubplane bench report run.json --out report.html
  hubplane bench report monday.json tuesday.json --out report.html --json both.json")]
pub(in crate::cli) struct Report {
    /// Files that `hubplane bench --json` or this command wrote
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Write the web page to this file; it needs no other files
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write all figures to this file as JSON, to combine them with others later
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Report {
    pub(in crate::cli) fn run(&self) -> Result<(), Failure> {
        let merged = Merged::read(&self.files).map_err(Failure::wrong)?;
        // Files first: if standard output is closed, they are written all the same.
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

/// Writes a file, and says so on standard error. The failure names the file.
pub(super) fn write(path: &PathBuf, text: &str) -> Result<(), Failure> {
    let shown = path.display();
    fs::write(path, text).map_err(|error| Failure::failed(format!("{shown}: {error}")))?;
    note(format_args!("wrote {shown}"));
    Ok(())
}
