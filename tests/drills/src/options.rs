//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::clusters;

/// Fault and load drills of hubplane on real brokers.
#[derive(Debug, Clone, Parser)]
#[command(name = "drills")]
pub(crate) struct Options {
    /// memory, redis, redis+streams, kafka, rabbitmq, amqp+streams, or an address; a name starts a broker of its own
    /// by tests/brokers/up, unless HUBPLANE_TEST_… says where one runs
    #[arg(long, num_args = 1.., required_unless_present = "clusters")]
    pub(crate) backplane: Vec<String>,
    /// Drills on clusters of several nodes, which are started for them
    #[arg(long, num_args = 1..)]
    pub(crate) clusters: Vec<clusters::Name>,
    /// Of the drills on clusters, these events alone, separated by commas: kill,freeze
    #[arg(long, value_delimiter = ',', requires = "clusters")]
    pub(crate) event: Vec<clusters::Event>,
    /// Drills by name, separated by commas: D1,D3,L2
    #[arg(long, value_delimiter = ',')]
    pub(crate) drill: Vec<String>,
    /// The short round: D1 with 3 kills, D3, D6, D7, D9, D11, D19 to D22; with --drill, the short form of those named
    #[arg(long)]
    pub(crate) short: bool,
    /// Every drill
    #[arg(long)]
    pub(crate) all: bool,
    /// Runs hubs that were built wrong on purpose (cargo feature `sabotage`), all or those that --drill names, and
    /// passes only if the checker flags each
    #[arg(long)]
    pub(crate) sabotage: bool,
    /// For every random choice; printed, so that a run can be repeated
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Writes the table as JSON, too
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// The hub to test; else the one beside this program
    #[arg(long)]
    pub(crate) hubplane: Option<PathBuf>,
    /// Messages a second, instead of the backend's own rate
    #[arg(long)]
    pub(crate) rate: Option<u32>,
    /// Minutes of the soak (D18)
    #[arg(long, default_value_t = 60)]
    pub(crate) minutes: u64,
    /// Where hubs and clients write their logs; else a new directory under the temporary one
    #[arg(long)]
    pub(crate) logs: Option<PathBuf>,
}
