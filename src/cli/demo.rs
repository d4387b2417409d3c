//! `hubplane demo`: the whole case in one process. Some instances behind a balancer without sticky sessions, and a
//! page that shows who worked and who delivered.
//!
//! It does only what an application can do that embeds the hub: nothing here reaches into hub or server in a way of its own.
//! `front` is the balancer, `instance` one hub with its jobs, `jobs` the work, `web` the routes and the page.

mod front;
mod instance;
mod jobs;
#[cfg(test)]
mod tests;
mod web;

use std::{
    io::{IsTerminal, stdout},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use clap::builder::BoolishValueParser;
use futures_util::future::{join_all, try_join_all};
use hubplane_backplane::Address;
use tokio::{net::TcpListener, task::JoinHandle};

use self::{front::Front, instance::Instance, jobs::Book};
use super::{
    Failure, print, runtime,
    serve::{listen_on, log_to_stderr},
    signals::Signals,
};

/// The address of the log that the instances share if only `memory:` is asked for.
const SHARED_LOG: &str = "memory://demo";

/// Run a demo: three hub instances behind a load balancer, and a web page that shows them.
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// Address and port of the demo's web page; with port 0 the system chooses a free port
    #[arg(
        long,
        env = "HUBPLANE_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080"
    )]
    listen: String,
    /// Address of the broker between the instances
    #[arg(long, env = "HUBPLANE_BACKPLANE", value_name = "ADDRESS", default_value = SHARED_LOG)]
    backplane: String,
    /// Number of hub instances, from 1 to 9
    #[arg(
        long,
        env = "HUBPLANE_INSTANCES",
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u8).range(1..=9)
    )]
    instances: u8,
    /// Allow listening beyond this machine: anyone who reaches the port can start jobs and stop instances
    #[arg(long, env = "HUBPLANE_INSECURE", value_parser = BoolishValueParser::new())]
    insecure: bool,
    /// What to log: error, warn, info, debug or trace, or a filter such as hubplane=debug
    #[arg(
        long,
        env = "HUBPLANE_LOG",
        value_name = "FILTER",
        default_value = "warn"
    )]
    log: String,
}

impl Demo {
    pub(super) fn run(self) -> Result<(), Failure> {
        // Only warnings by default, so that the address stands alone on the terminal.
        log_to_stderr(&self.log)?;
        runtime()?.block_on(async {
            // Started before signals are caught: a signal during the start ends the process, as it
            // should.
            let running = Running::start(&self).await?;
            let mut signals = Signals::catch()?;
            print(announcement(running.address, stdout().is_terminal()))?;
            signals.next().await;
            running.stop().await;
            Ok(())
        })
    }

    /// Returns the address for all instances. `memory:` alone would give each instance a log of its own, so that none would
    /// receive another's messages; it is given a name here.
    fn address(&self) -> Result<Address, Failure> {
        // A name in the address makes it the same log for all; other settings are kept.
        let shared = match self.backplane.strip_prefix("memory:") {
            Some(keys) if keys.is_empty() || keys.starts_with('?') => {
                format!("{SHARED_LOG}{keys}")
            }
            _ => self.backplane.clone(),
        };
        Ok(shared.parse()?)
    }
}

/// The line that says where the demo is; the address stands out on a terminal.
fn announcement(address: SocketAddr, on_a_terminal: bool) -> String {
    // NO_COLOR: <https://no-color.org>.
    let (on, off) = match on_a_terminal && std::env::var_os("NO_COLOR").is_none() {
        true => ("\x1b[1;36m", "\x1b[0m"),
        false => ("", ""),
    };
    format!("demo on {on}http://{address}{off}")
}

/// The parts of a running demo.
#[derive(Debug)]
struct Running {
    /// The front port's address.
    address: SocketAddr,
    instances: Arc<[Instance]>,
    /// The page's server and the front port.
    tasks: [JoinHandle<()>; 2],
}

impl Running {
    /// Starts the instances, the page and the front port. The failure is that of the first part that can't start.
    async fn start(demo: &Demo) -> Result<Self, Failure> {
        // The port first: it is what most often goes wrong.
        let listener = listen_on(&demo.listen).await?;
        let address = listener.local_addr().map_err(Failure::failed)?;
        // There is no key in a demo, and its page can stop instances.
        if !address.ip().is_loopback() && !demo.insecure {
            return Err(Failure::wrong(format!(
                "other machines can reach {address}, and anyone who does could stop instances: give --insecure if that \
                 is what you want"
            )));
        }
        let backplane = demo.address()?;
        let book = Arc::new(Book::default());
        let instances: Arc<[Instance]> = (1..=demo.instances)
            .map(|number| Instance::new(format!("instance-{number}"), &backplane, &book))
            .collect();
        // All at once, as each may have to wait for the broker.
        try_join_all(instances.iter().map(Instance::start)).await?;

        // The page has a server of its own behind the front port, which looks only at the head of a
        // request.
        let inner = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(Failure::failed)?;
        let page = inner.local_addr().map_err(Failure::failed)?;
        let front = Arc::new(Front::new(Arc::clone(&instances), page));
        let routes = web::page_routes(&front, &book, backplane.to_string());
        let tasks = [
            tokio::spawn(warp::serve(routes).incoming(inner).run()),
            tokio::spawn(front.run(listener)),
        ];
        Ok(Self {
            address,
            instances,
            tasks,
        })
    }

    /// Stops the instances in good order, and then the front port.
    async fn stop(self) {
        // All at once; the front port stays open until their sockets have heard where to go.
        join_all(self.instances.iter().map(Instance::stop)).await;
        for task in self.tasks {
            task.abort();
        }
    }
}
