//! What is no scenario, in turns on all servers, as one table.

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;
use tokio::time::sleep;

use crate::{
    Failure, Options, PAUSE, across, closed, connects, idle, kept::Kept, ramp, rates, table,
    table::Figure, target::Target,
};

/// One group of the table's rows.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Special {
    /// 1,000 subscribers of one channel: 20 messages a second
    Fanout,
    /// 1,000 subscribers of one channel: 100 messages a second
    Fanout100,
    /// 1,000 subscribers of one channel: as many as it takes with p99 below 100 ms and nothing lost
    Ramp,
    /// 1,000 subscribers of one channel: 16 messages in flight, as fast as it goes
    Closed,
    /// 2,000 clients that publish to themselves by WebSocket, 10,000 messages a second in all
    Own,
    /// From a socket of one instance to one of the other, 500 messages a second; through two relays; through Redis alone
    Across,
    /// 3,000 connections with a subscription, 128 at a time
    Connects,
    /// Memory of 10,000 waiting connections, each with a channel of its own, on servers that have just been started
    Idle,
    /// Memory of 10,000 waiting connections with one channel for all, on servers that have just been started
    IdleShared,
}

impl Special {
    async fn measure(self, target: &Target, length: Duration) -> Result<Vec<Figure>, Failure> {
        match self {
            Self::Fanout => rates::fanout(target, 20.0, length).await,
            Self::Fanout100 => rates::fanout(target, 100.0, length).await,
            Self::Ramp => ramp::ramp(target).await,
            Self::Closed => closed::closed(target, length).await,
            Self::Own => rates::own(target, length).await,
            Self::Across => across::across(target, length).await,
            Self::Connects => connects::connects(target).await,
            Self::Idle => idle::idle(target, true).await,
            Self::IdleShared => idle::idle(target, false).await,
        }
    }

    /// Memory can be judged only on servers that nobody has used yet.
    const fn starts_anew(self) -> bool {
        matches!(self, Self::Idle | Self::IdleShared)
    }

    /// What `--help` says of it, too.
    fn what(self) -> String {
        let value = self.to_possible_value();
        let help = value.as_ref().and_then(|value| value.get_help());
        help.map(ToString::to_string).unwrap_or_default()
    }
}

/// Measures the groups one after the other, and prints each as soon as it is complete.
pub(crate) async fn measure(
    options: &Options,
    mut targets: Vec<(PathBuf, Target)>,
) -> Result<(), Failure> {
    let length = Duration::from_secs(options.seconds);
    let all = match options.all {
        true => Special::value_variants(),
        false => &options.special,
    };
    let mut kept = Kept::open(options.keep.as_deref())?;
    let names: Vec<_> = targets.iter().map(|(_, it)| it.name.clone()).collect();
    println!("{}", table::head(&names));
    for what in all {
        let title = what.what();
        for round in 1..=options.rounds {
            for (path, target) in &mut targets {
                let of = options.rounds;
                eprintln!("{what:?}, round {round} of {of}: {}", target.name);
                // Its processes are others now, and so are the numbers by which costs are read.
                if what.starts_anew() {
                    *target = Target::restart(path)?;
                }
                match what.measure(target, length).await {
                    // The title is the key of what is kept, so it must not change from one run to
                    // the next.
                    Ok(figures) => kept.add(&title, &target.name, figures)?,
                    Err(error) => eprintln!("{}: {error}", target.name),
                }
                sleep(PAUSE).await;
            }
        }
        let columns: Vec<_> = names.iter().map(|name| kept.of(&title, name)).collect();
        print!("{}", table::figures(&title, &columns));
    }
    Ok(())
}
