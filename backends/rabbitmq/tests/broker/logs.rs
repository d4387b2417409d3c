use std::{
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

use hubplane_rabbitmq::LOG_FILTER;
use tracing_subscriber::EnvFilter;

static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// What the crate has logged in this process.
#[derive(Debug)]
pub struct Logs;

impl Logs {
    /// Collects from now on; a second call does nothing.
    pub fn start() -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(format!("{LOG_FILTER},info")))
            .with_writer(|| Self)
            .with_ansi(false)
            .try_init();
        Self
    }

    /// How many lines have all of these in them.
    pub fn count(&self, parts: &[&str]) -> usize {
        let written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&written);
        text.lines()
            .filter(|line| parts.iter().all(|part| line.contains(part)))
            .count()
    }
}

impl Write for Logs {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
        written.extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
