//! Append-only logs, one a writer, all by one clock.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    time::Instant,
};

use crate::{
    Result,
    checker::{Record, What},
};

/// Microseconds since the run's start; never goes back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// One writer's log.
///
/// Buffered: a write for each message would slow the clients down. What is not flushed is lost with
/// the process, which the checker knows.
#[derive(Debug)]
pub(crate) struct Journal {
    clock: Clock,
    out: BufWriter<File>,
}

impl Journal {
    /// Creates a log; one of that name is written over.
    pub(crate) fn create(path: &Path, clock: Clock) -> Result<Self> {
        Ok(Self {
            clock,
            out: BufWriter::new(File::create(path)?),
        })
    }

    /// Writes what happens now.
    pub(crate) fn write(&mut self, what: &What) -> Result<()> {
        self.write_at(self.clock.now(), what)
    }

    /// Writes what happened at a time, in microseconds of the run's clock.
    pub(crate) fn write_at(&mut self, t: u64, what: &What) -> Result<()> {
        serde_json::to_writer(
            &mut self.out,
            &Record {
                t,
                what: what.clone(),
            },
        )?;
        Ok(self.out.write_all(b"\n")?)
    }

    /// The time of the run's clock, in microseconds.
    pub(crate) fn now(&self) -> u64 {
        self.clock.now()
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }
}
