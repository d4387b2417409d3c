//! The brokers that drills run on: their addresses, and the scripts that start, stop and break them.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{process::Command, time::sleep};

use crate::{Result, workload::valve::Valve};

/// A backend of the hub, as a drill's table names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    Redis,
    RedisStreams,
    Kafka,
    Rabbitmq,
    AmqpStreams,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Memory,
        Self::Redis,
        Self::RedisStreams,
        Self::Kafka,
        Self::Rabbitmq,
        Self::AmqpStreams,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::RedisStreams => "redis+streams",
            Self::Kafka => "kafka",
            Self::Rabbitmq => "rabbitmq",
            Self::AmqpStreams => "amqp+streams",
        }
    }

    /// The address's scheme. Only RabbitMQ's differs from the name, as its scheme is that of its
    /// protocol.
    fn scheme(self) -> &'static str {
        if self == Self::Rabbitmq {
            "amqp"
        } else {
            self.name()
        }
    }

    /// The name of the broker's script in `tests/brokers`, and in the variables `HUBPLANE_TEST_…`.
    pub(crate) fn broker(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis | Self::RedisStreams => "redis",
            Self::Kafka => "kafka",
            Self::Rabbitmq | Self::AmqpStreams => "rabbitmq",
        }
    }

    /// Returns true if the backend keeps what was published: nothing may be lost while its log is whole.
    pub(crate) fn is_log(self) -> bool {
        matches!(
            self,
            Self::Memory | Self::RedisStreams | Self::Kafka | Self::AmqpStreams
        )
    }

    pub(crate) fn has_broker(self) -> bool {
        self != Self::Memory
    }

    /// Messages a second that the workload publishes.
    ///
    /// What a debug build of two hubs takes on two cores, so that a drill tests faults and not
    /// overload.
    pub(crate) fn rate(self) -> u32 {
        match self {
            Self::Kafka => 500,
            Self::Rabbitmq | Self::AmqpStreams => 1000,
            Self::Memory | Self::Redis | Self::RedisStreams => 2000,
        }
    }

    /// The address's key for the name that keeps two runs on one broker apart.
    fn space(self) -> Option<&'static str> {
        match self {
            Self::Memory => None,
            Self::Redis | Self::RedisStreams => Some("prefix"),
            Self::Kafka => Some("topic"),
            Self::Rabbitmq | Self::AmqpStreams => Some("exchange"),
        }
    }
}

/// A broker, and the script that controls it.
#[derive(Debug)]
pub(crate) struct Backend {
    kind: Kind,
    address: String,
    /// The script and the broker's directory, where it may be broken.
    control: Option<(PathBuf, PathBuf)>,
    /// Started by this program, and ended by it.
    own: bool,
}

impl Backend {
    /// Opens a backend by name, with a broker of its own unless the environment names one; or by address.
    /// Returns an error if `what` is neither, or the broker does not start.
    pub(crate) async fn open(what: &str, logs: &Path) -> Result<Self> {
        if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == what) {
            return Self::named(kind, logs).await;
        }
        let scheme = what.split(':').next().unwrap_or_default();
        let scheme = match scheme {
            "rediss" => "redis",
            "amqps" => "amqp",
            other => other,
        };
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.scheme() == scheme) else {
            return Err(format!("{what}: neither a backend's name nor an address").into());
        };
        Ok(Self {
            kind,
            address: what.to_owned(),
            control: control_of(kind),
            own: false,
        })
    }

    /// A backend by name: the environment's broker if there is one, or else a broker of this
    /// program's own.
    async fn named(kind: Kind, logs: &Path) -> Result<Self> {
        if !kind.has_broker() {
            return Ok(Self {
                kind,
                address: "memory:".to_owned(),
                control: None,
                own: false,
            });
        }
        let variable = format!("HUBPLANE_TEST_{}", kind.broker().to_uppercase());
        if let Ok(address) = std::env::var(variable) {
            // Several backends share a broker, and differ in the scheme alone.
            let rest = address.split_once(':').map_or("", |(_, rest)| rest);
            return Ok(Self {
                kind,
                address: format!("{}:{rest}", kind.scheme()),
                control: control_of(kind),
                own: false,
            });
        }
        Self::in_directory(kind, logs.join("brokers").join(kind.broker())).await
    }

    /// A broker of its own in a directory of its own.
    async fn in_directory(kind: Kind, directory: PathBuf) -> Result<Self> {
        let script = script(kind);
        run(&script, &["start".as_ref(), directory.as_os_str()]).await?;
        let port = first_port(&directory)?;
        // RabbitMQ's own user, who may log in from this machine only.
        let login = if kind.broker() == "rabbitmq" {
            "guest:guest@"
        } else {
            ""
        };
        Ok(Self {
            kind,
            address: format!("{}://{login}127.0.0.1:{port}", kind.scheme()),
            control: Some((script, directory)),
            own: true,
        })
    }

    /// Starts another broker of this kind in another directory, whose last part names the kind. The caller ends it.
    pub(crate) async fn another(&self, directory: &Path) -> Result<Self> {
        Self::in_directory(self.kind, directory.to_owned()).await
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// The broker's host and port.
    ///
    /// Without the user and the password that may be in front of them.
    pub(crate) fn authority(&self) -> &str {
        let rest = self.address.split_once("://").map_or("", |(_, rest)| rest);
        let rest = rest.split(['/', '?']).next().unwrap_or_default();
        rest.rsplit('@').next().unwrap_or_default()
    }

    /// The address for hubs that hear only each other.
    ///
    /// `space` must be new for each run, or hubs would hear an earlier one's messages.
    pub(crate) fn address(&self, space: &str) -> String {
        self.address_at(self.authority(), space)
    }

    /// The same by another host and port, such as a proxy's.
    pub(crate) fn address_at(&self, authority: &str, space: &str) -> String {
        let address = self.address.replacen(self.authority(), authority, 1);
        let Some(key) = self.kind.space() else {
            return address;
        };
        let sign = if address.contains('?') { '&' } else { '?' };
        // A prefix is put before the name as it is.
        let end = if key == "prefix" { ":" } else { "" };
        format!("{address}{sign}{key}={space}{end}")
    }

    /// A valve in front of the broker, and the address by it. Kafka tells its clients where to connect, so it has a
    /// listener that names a port of ours.
    pub(crate) async fn valve(&self, space: &str, seed: u64) -> Result<(Valve, String)> {
        let mut listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut target: SocketAddr = self.authority().parse()?;
        // The ports stand in the file in an order that the script keeps; the last two are those for
        // a proxy.
        if self.kind == Kind::Kafka {
            let text = std::fs::read_to_string(self.directory()?.join("ports"))?;
            let ports: Vec<u16> = text
                .split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect();
            let [.., inner, outer] = ports[..] else {
                return Err("no ports".into());
            };
            if ports.len() < 6 {
                return Err(
                    "this Kafka has no listener for a proxy: start it by tests/brokers anew".into(),
                );
            }
            target.set_port(inner);
            listen.set_port(outer);
        }
        let valve = Valve::open(listen, target, seed).await?;
        let address = self.address_at(&valve.address.to_string(), space);
        Ok((valve, address))
    }

    /// Returns false for a broker that was given by its address: no script controls it.
    pub(crate) fn can_break(&self) -> bool {
        self.control.is_some()
    }

    /// The directory of the broker's data.
    pub(crate) fn directory(&self) -> Result<&Path> {
        let (_, directory) = self
            .control
            .as_ref()
            .ok_or("no control script of this broker")?;
        Ok(directory)
    }

    /// `start`, `stop`, `kill`, `freeze`, `thaw`, `save`, `restore`.
    pub(crate) async fn control(&self, verb: &str) -> Result<()> {
        self.control_in(verb, self.directory()?).await
    }

    /// The same for a broker of this kind in another directory.
    pub(crate) async fn control_in(&self, verb: &str, directory: &Path) -> Result<()> {
        let (script, _) = self
            .control
            .as_ref()
            .ok_or("no control script of this broker")?;
        run(script, &[verb.as_ref(), directory.as_os_str()])
            .await
            .map(drop)
    }

    /// Further verbs of the script, such as Kafka's tools: what they print.
    pub(crate) async fn script(&self, arguments: &[&str]) -> Result<String> {
        let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
        run(&script(self.kind), &arguments).await
    }

    /// Stops the broker's process with SIGSTOP, and returns when it stands still: its threads stop one after another, and may
    /// answer until then.
    pub(crate) async fn freeze(&self) -> Result<()> {
        self.control("freeze").await?;
        let tasks = format!("/proc/{}/task", self.pid()?);
        for _ in 0..200 {
            let mut all = std::fs::read_dir(&tasks)?.flatten();
            if all.all(|task| is_stopped(&task.path())) {
                return Ok(());
            }
            sleep(Duration::from_millis(5)).await;
        }
        Err("the broker was not frozen".into())
    }

    /// The id of the broker's process.
    /// The file's first word; the script keeps more behind it.
    pub(crate) fn pid(&self) -> Result<u32> {
        let text = std::fs::read_to_string(self.directory()?.join("pid"))?;
        Ok(text.split(' ').next().unwrap_or_default().trim().parse()?)
    }

    /// The broker's name and version, for the report.
    pub(crate) async fn version(&self) -> String {
        self.ask_version()
            .await
            .unwrap_or_else(|_| "unknown".to_owned())
    }

    async fn ask_version(&self) -> Result<String> {
        match self.kind {
            Kind::Memory => Ok("embedded".to_owned()),
            Kind::Redis | Kind::RedisStreams => {
                let output = Command::new("redis-server")
                    .arg("--version")
                    .output()
                    .await?;
                let text = String::from_utf8_lossy(&output.stdout);
                let version = text.split(' ').find_map(|word| word.strip_prefix("v="));
                Ok(format!("Redis {}", version.ok_or("no version")?))
            }
            // Kafka says its version nowhere but in the path of its own libraries.
            Kind::Kafka => {
                let command = std::fs::read_to_string(format!("/proc/{}/cmdline", self.pid()?))?;
                let at = command.find("/kafka-").ok_or("no version")?;
                let rest = &command[at + "/kafka-".len()..];
                Ok(format!(
                    "Kafka {}",
                    rest.split('/').next().unwrap_or_default()
                ))
            }
            Kind::Rabbitmq | Kind::AmqpStreams => {
                let directory = self.directory()?.to_string_lossy().into_owned();
                let text = self.script(&["ctl", &directory, "version"]).await?;
                Ok(format!("RabbitMQ {}", text.trim()))
            }
        }
    }

    /// Ends the broker if this program started it.
    pub(crate) async fn end(&self) -> Result<()> {
        if self.own {
            self.control("kill").await?;
        }
        Ok(())
    }
}

/// Whether a thread is stopped by a signal: state T, behind the name in brackets (proc(5), `stat`).
fn is_stopped(task: &Path) -> bool {
    let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
    // The name may hold brackets, so the last one counts.
    let state = stat.rsplit(')').next().map(str::trim_start);
    state.is_some_and(|state| state.starts_with('T'))
}

fn script(kind: Kind) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../brokers/{}.sh", kind.broker()))
}

/// From the variable that tests/brokers/up prints: `SCRIPT {} DIRECTORY`.
fn control_of(kind: Kind) -> Option<(PathBuf, PathBuf)> {
    let variable = format!("HUBPLANE_TEST_{}_CONTROL", kind.broker().to_uppercase());
    let text = std::env::var(variable).ok()?;
    let (script, directory) = text.split_once(" {} ")?;
    Some((script.into(), directory.into()))
}

/// The port for clients, as the broker's script has chosen it.
fn first_port(directory: &Path) -> Result<u16> {
    let text = std::fs::read_to_string(directory.join("ports"))?;
    Ok(text.split_whitespace().next().ok_or("no port")?.parse()?)
}

/// Runs a program to its end. The error has what it said on standard error.
async fn run(program: &Path, arguments: &[&std::ffi::OsStr]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().await?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} {arguments:?}: {said}", program.display()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Sends a signal by name.
pub(crate) async fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status()
        .await?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("kill -{name} {pid} failed").into())
    }
}
