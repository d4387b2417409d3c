//! Several hubs on a real broker, behind a real nginx with the settings of `compose/nginx.conf`.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::Write,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use futures_util::future::join_all;
use hubplane_conformance::required;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::{
    client::{Came, Client, publish},
    hub::{Directory, Hub, Running, directory, unique},
};

const CLIENTS: usize = 300;
const CHANNELS: usize = 50;
/// Three publish through hubs, the fourth straight to the broker.
const PUBLISHERS: usize = 4;
const MESSAGES: usize = 2_000;

/// A broker's own client.
type Straight = fn(&str, &[(String, String)]);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_hub_on_memory() {
    round("memory:", "memory:", 1, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hubs_on_redis() {
    let space = format!("e2e-{}:", unique());
    let address = format!("{}?prefix={space}", required("HUBPLANE_TEST_REDIS"));
    round(&address, &space, 3, Some(by_redis_cli)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hubs_on_redis_streams() {
    let space = format!("e2e-{}:", unique());
    let broker = required("HUBPLANE_TEST_REDIS").replace("redis://", "redis+streams://");
    let address = format!("{broker}?prefix={space}&streams=1");
    round(&address, &space, 3, Some(by_xadd)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hubs_on_kafka() {
    let space = format!("e2e-{}", unique());
    let address = format!("{}?topic={space}", required("HUBPLANE_TEST_KAFKA"));
    round(&address, &space, 3, Some(by_console_producer)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hubs_on_rabbitmq() {
    let space = format!("e2e-{}", unique());
    let address = format!("{}?exchange={space}", required("HUBPLANE_TEST_RABBITMQ"));
    round(&address, &space, 3, Some(by_lapin)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hubs_on_a_rabbitmq_stream() {
    let space = format!("e2e-{}", unique());
    let broker = required("HUBPLANE_TEST_RABBITMQ").replace("amqp://", "amqp+streams://");
    let address = format!("{broker}?exchange={space}");
    round(&address, &space, 3, Some(by_lapin)).await;
}

fn by_redis_cli(space: &str, messages: &[(String, String)]) {
    let lines = messages
        .iter()
        .map(|(channel, data)| format!("PUBLISH {space}{channel} '{data}'\n"));
    feed(redis_cli(), &lines.collect::<String>());
}

fn by_xadd(space: &str, messages: &[(String, String)]) {
    let lines = messages
        .iter()
        .map(|(channel, data)| format!("XADD {space}stream:{{0}} * c {channel} d '{data}'\n"));
    feed(redis_cli(), &lines.collect::<String>());
}

pub(crate) fn redis_cli() -> Command {
    let host = required("HUBPLANE_TEST_REDIS").replace("redis://", "");
    let (host, port) = host.split_once(':').unwrap();
    let mut command = Command::new("redis-cli");
    command.args(["-h", host, "-p", port]);
    command
}

/// One of Kafka's own programs.
pub(crate) fn kafka_tool(class: &str) -> Command {
    let cache = std::env::var("HUBPLANE_CACHE")
        .unwrap_or_else(|_| format!("{}/.cache/hubplane", std::env::var("HOME").unwrap()));
    let mut all: Vec<_> = fs::read_dir(cache)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    all.retain(|path| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("kafka-")
    });
    let jars = all
        .pop()
        .expect("Kafka's jars, fetched by tests/brokers/kafka.sh");
    let mut command = Command::new("java");
    command.args([
        "-Xmx128m",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        &format!("{}/*", jars.display()),
        class,
    ]);
    command
}

fn by_console_producer(space: &str, messages: &[(String, String)]) {
    let broker = required("HUBPLANE_TEST_KAFKA").replace("kafka://", "");
    let mut command = kafka_tool("org.apache.kafka.tools.ConsoleProducer");
    command
        .args(["--bootstrap-server", &broker, "--topic", space])
        .args([
            "--reader-property",
            "parse.key=true",
            "--reader-property",
            "key.separator=|",
        ]);
    let lines = messages
        .iter()
        .map(|(channel, data)| format!("{channel}|{data}\n"));
    feed(command, &lines.collect::<String>());
}

pub(crate) fn feed(mut command: Command, input: &str) {
    let mut process = Running::new(
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    let mut stdin = process.child().stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    assert!(process.output().status.success(), "{command:?}");
}

fn by_lapin(space: &str, messages: &[(String, String)]) {
    use lapin::{BasicProperties, Connection, ConnectionProperties, options::BasicPublishOptions};
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let uri = required("HUBPLANE_TEST_RABBITMQ");
            let connection = Connection::connect(&uri, ConnectionProperties::default())
                .await
                .unwrap();
            let channel = connection.create_channel().await.unwrap();
            for (name, data) in messages {
                let options = BasicPublishOptions::default();
                let properties = BasicProperties::default();
                let sent = channel.basic_publish(
                    space.into(),
                    name.as_str().into(),
                    options,
                    data.as_bytes(),
                    properties,
                );
                sent.await.unwrap();
            }
            connection.close(200, "done".into()).await.unwrap();
        });
}

/// A real nginx, ended when dropped.
struct Nginx {
    process: Child,
    address: SocketAddr,
    _directory: Directory,
}

impl Nginx {
    async fn start(hubs: &[Hub]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut config =
            fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/compose/nginx.conf")).unwrap();
        for n in 0..3 {
            let hub = hubs[n % hubs.len()].address.to_string();
            config = config.replace(&format!("hub{}:8080", n + 1), &hub);
        }
        // Only root may raise its limit of open files, and some hundred are enough here.
        config = config.replace("worker_rlimit_nofile 65536;\n", "");
        config = config.replace("worker_connections 16384;", "worker_connections 1024;");
        config = config.replace("listen 80;", &format!("listen {address};"));
        let directory = directory("nginx");
        fs::write(directory.join("nginx.conf"), config).unwrap();
        let program = ["/usr/sbin/nginx", "nginx"]
            .into_iter()
            .find(|path| fs::metadata(path).is_ok());
        let log = directory.join("stderr");
        let process = Command::new(program.unwrap_or("nginx"))
            .args([
                "-p",
                directory.to_str().unwrap(),
                "-c",
                "nginx.conf",
                "-g",
                "daemon off; pid pid;",
            ])
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .expect("nginx is needed; tests/run installs it");
        let nginx = Self {
            process,
            address,
            _directory: directory,
        };
        for _ in 0..100 {
            if TcpStream::connect(address).await.is_ok() {
                return nginx;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!(
            "nginx does not listen: {}",
            fs::read_to_string(&log).unwrap()
        );
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, so that the master ends its workers, too.
        _ = Command::new("kill")
            .arg(self.process.id().to_string())
            .status();
        _ = self.process.wait();
    }
}

fn channels_of(client: usize) -> [usize; 2] {
    [client % CHANNELS, (client * 7 + 1) % CHANNELS]
}

fn data(publisher: usize, number: usize) -> Value {
    json!({ "p": publisher, "n": number })
}

async fn connected(address: SocketAddr, client: usize) -> Client {
    let [a, b] = channels_of(client);
    let query = format!("?channel=c.{a}&channel=c.{b}");
    let start = Instant::now();
    loop {
        if let Ok(mut socket) = Client::attempt(address, &query, &[]).await {
            let mut ready = 0;
            let expected = if a == b { 1 } else { 2 };
            while ready < expected {
                match socket.come().await {
                    Came::Json(json) if json["type"] == "subscribed" => ready += 1,
                    Came::Json(json) => assert_eq!(json["type"], "message"),
                    Came::Closed(_) => break,
                }
            }
            if ready == expected {
                return socket;
            }
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "a client finds a hub"
        );
        sleep(Duration::from_millis(100)).await;
    }
}

/// One client: checks its messages, survives the death of its hub, and waits for the last word.
async fn client(
    address: SocketAddr,
    number: usize,
    died: watch::Receiver<bool>,
    back: watch::Sender<usize>,
) -> bool {
    let mut socket = connected(address, number).await;
    back.send_modify(|count| *count += 1);
    let mut seen: HashMap<(String, u64), u64> = HashMap::new();
    let mut channels = channels_of(number).to_vec();
    channels.dedup();
    let expected = channels.len() * MESSAGES / CHANNELS;
    let (mut got, mut moved, mut last) = (0, false, HashSet::new());
    while last.len() < channels.len() {
        let json = match socket.come_within(Duration::from_secs(60)).await {
            Came::Json(json) => json,
            Came::Closed(frame) => {
                assert!(
                    *died.borrow(),
                    "a socket ends only when its hub died: {frame:?}"
                );
                moved = true;
                socket = connected(address, number).await;
                back.send_modify(|count| *count += 1);
                continue;
            }
        };
        assert_eq!(json["type"], "message", "{json}");
        let (publisher, n) = (
            json["data"]["p"].as_u64().unwrap(),
            json["data"]["n"].as_u64().unwrap(),
        );
        if publisher as usize == PUBLISHERS {
            assert_eq!(got, expected, "everything came before the last word, once");
            let first = last.insert(json["channel"].as_str().unwrap().to_owned());
            assert!(first, "the last word comes once");
            continue;
        }
        got += 1;
        let before = seen.insert((json["channel"].as_str().unwrap().to_owned(), publisher), n);
        assert!(
            before.is_none_or(|before| before + CHANNELS as u64 == n),
            "in order, once: {before:?} then {n}"
        );
    }
    moved
}

async fn round(address: &str, space: &str, count: usize, straight: Option<Straight>) {
    let mut hubs: Vec<Hub> = (0..count)
        .map(|_| Hub::start(&["--backplane", address]))
        .collect();
    let nginx = Nginx::start(&hubs).await;
    let (died, has_died) = watch::channel(false);
    let (back, mut connected) = watch::channel(0);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| tokio::spawn(client(nginx.address, n, has_died.clone(), back.clone())))
        .collect();
    connected.wait_for(|count| *count == CLIENTS).await.unwrap();

    let each = MESSAGES / PUBLISHERS;
    let through_hubs = (0..PUBLISHERS).filter(|p| *p < 3 || straight.is_none()).map(|p| {
        let at = hubs[p % hubs.len()].address;
        async move {
            for first in (0..each).step_by(10) {
                let message = |n: usize| json!({ "channel": format!("c.{}", n % CHANNELS), "data": data(p, n) });
                let messages: Vec<_> = (first..first + 10).map(message).collect();
                let (status, answer) = publish(at, "", &json!({ "messages": messages }).to_string()).await;
                assert_eq!(status, 200, "{answer}");
            }
        }
    });
    let outside: Vec<_> = (0..each)
        .map(|n| (format!("c.{}", n % CHANNELS), data(3, n).to_string()))
        .collect();
    let space = space.to_owned();
    let by_broker = tokio::task::spawn_blocking(move || {
        if let Some(straight) = straight {
            straight(&space, &outside);
        }
    });
    join_all(through_hubs).await;
    by_broker.await.unwrap();
    sleep(Duration::from_secs(2)).await;

    let mut survivor = hubs[0].address;
    if count > 1 {
        died.send_replace(true);
        hubs[0].kill();
        survivor = hubs[1].address;
        // Those that it held, a third or so, come back elsewhere: none has come for a while.
        connected.wait_for(|count| *count > CLIENTS).await.unwrap();
        while timeout(Duration::from_secs(2), connected.changed())
            .await
            .is_ok()
        {}
    }
    for channel in 0..CHANNELS {
        let body = json!({ "channel": format!("c.{channel}"), "data": data(PUBLISHERS, channel) });
        assert_eq!(publish(survivor, "", &body.to_string()).await.0, 200);
    }
    let mut moved = 0;
    for client in clients {
        moved += usize::from(client.await.unwrap());
    }
    assert_eq!(
        moved > 0,
        count > 1,
        "the dead hub's clients have moved: {moved}"
    );
}
