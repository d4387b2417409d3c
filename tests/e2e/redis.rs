//! A Redis of a test's own.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use crate::hub::{Directory, directory};

/// Killed when dropped.
pub(crate) struct Redis {
    process: Child,
    pub(crate) port: u16,
    _directory: Directory,
}

impl Redis {
    /// On a free port.
    pub(crate) fn new() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        // Somebody else may take the port meanwhile; the test then fails at once and is no false
        // success.
        drop(free);
        Self::start(port)
    }

    pub(crate) fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// On this port, such as that of one that was ended.
    pub(crate) fn start(port: u16) -> Self {
        let directory = directory("redis");
        let process = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                // Nothing is written to disk: what is ended has forgotten everything.
                "--save",
                "",
            ])
            .args(["--dir", directory.to_str().unwrap()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            process,
            port,
            _directory: directory,
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
