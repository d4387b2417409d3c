//! What the suite must be told of a backend and its broker. A backend's tests implement [`Harness`] for their own
//! broker; [`Site`](crate::Site) implements it for a user's.

use std::{env, fmt, process::Stdio, sync::Arc};

use async_trait::async_trait;
use hubplane_backplane::{Address, Driver};
use tokio::process::Command;

/// What a backend's tests tell the suite: how to open it, and how to hurt its broker.
#[async_trait]
pub trait Harness: fmt::Debug + Send + Sync + 'static {
    /// The backend under test.
    fn driver(&self) -> &'static dyn Driver;

    /// The address of one space on the broker: what is published in one space is never heard in another. `space` is
    /// new for each case: 1 to 24 bytes of `a-z`, `0-9` and `-`.
    fn address(&self, space: &str) -> Address;

    /// How to stop, kill and start the broker; `None` only for a backend without one.
    fn control(&self) -> Option<Control>;

    /// Addresses that `open` must refuse with `Config`: wrong password, wrong TLS name, wrong topic, an unknown key.
    fn refused(&self) -> Vec<Refused>;

    /// An address where no broker listens; `None` only for a backend without one.
    fn absent(&self) -> Option<Address>;

    /// Publishes in a space as an outside producer does: with the broker's own client and no hubplane code.
    async fn publish_outside(&self, space: &str, channel: &str, data: &[u8]);

    /// Makes the log of a space forget its oldest part, so that positions from before are gone. Called only where
    /// the capabilities declare a history.
    async fn trim(&self, space: &str);
}

/// An address that must be refused, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct Refused {
    /// What is wrong, for the test's message.
    pub what: &'static str,
    /// The address.
    pub address: String,
}

/// Stops and starts the broker under test, by a shell command in which `{}` stands for the verb: `start`, `stop` (an
/// orderly end) or `kill` (SIGKILL). `start` must return only when the broker answers.
#[derive(Clone)]
pub struct Control(Means);

/// How the broker is told a verb.
#[derive(Clone)]
enum Means {
    Command(String),
    Call(Arc<dyn Fn(&str) + Send + Sync>),
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Means::Command(command) => write!(f, "Control({command:?})"),
            Means::Call(_) => f.write_str("Control(a function)"),
        }
    }
}

impl Control {
    /// From the environment variable `name`, which `tests/brokers/up` sets.
    ///
    /// # Panics
    /// If it is not set: a test that needs a broker fails without one, and is never skipped.
    pub fn from_env(name: &str) -> Self {
        Self(Means::Command(required(name)))
    }

    /// From a shell command.
    ///
    /// # Errors
    /// If `{}` is missing in it.
    pub fn from_command(command: impl Into<String>) -> Result<Self, String> {
        let command = command.into();
        match command.contains("{}") {
            true => Ok(Self(Means::Command(command))),
            false => Err(format!(
                "{command:?} has no {{}}, which stands for start, stop and kill"
            )),
        }
    }

    /// From a function that is called with the verb, for brokers inside this process.
    pub fn from_fn(call: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Means::Call(Arc::new(call)))
    }

    /// Starts the broker and waits until it answers.
    pub async fn start(&self) {
        self.run("start").await;
    }

    /// Ends the broker in an orderly way.
    pub async fn stop(&self) {
        self.run("stop").await;
    }

    /// Ends the broker by SIGKILL.
    pub async fn kill(&self) {
        self.run("kill").await;
    }

    /// Tells the broker a verb and waits until it is done. Panics if the command fails: without it the case would
    /// prove nothing.
    async fn run(&self, verb: &str) {
        let command = match &self.0 {
            Means::Command(command) => command.replace("{}", verb),
            Means::Call(call) => return call(verb),
        };
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg(&command)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let status = shell.status().await.expect("sh starts");
        assert!(status.success(), "`{command}` failed: {status}");
    }
}

/// Returns the value of an environment variable that a broker test can't do without.
///
/// # Panics
/// If it is not set, saying how to set it.
pub fn required(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: start the brokers with `eval \"$(tests/brokers/up)\"`, or run tests/run")
    })
}
