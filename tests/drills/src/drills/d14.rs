//! D14: what runs out. The hub's file descriptors; its memory; the broker's disk.

use std::{fs, path::Path, time::Duration};

use serde_json::json;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{Demands, judge};
use crate::{
    Result,
    backend::{Kind, signal},
    cell::Cell,
    checker::Phase,
    drill::{Bench, Drill, Running},
    http::Http,
    hub::{Hub, Plan},
    load::{hubs, socket::Socket},
    workload::{Settings, Workload, new_space, wire::Wire},
};

/// File descriptors of the hub, and half of the connections that are tried.
const FILES: usize = 200;
const MIB: u64 = 1 << 20;
/// Few enough that what the kernel keeps for them is filled before they owe an answer to a ping.
const SILENT: usize = 30;
/// What the hub may use, as a container would have it.
const MEMORY: u64 = 64 * MIB;
/// Where version 1 of cgroups is mounted, as in the containers that run the drills.
const GROUPS: &str = "/sys/fs/cgroup/memory";
/// A publish is answered by then, whatever the answer.
const ANSWERED: Duration = Duration::from_secs(6);

pub(crate) const DRILL: Drill = Drill {
    name: "D14",
    what: "a hub with 200 file descriptors and 400 connections; a hub with 64 MiB and slow clients",
    short: false,
    fits: |_| true,
    run: |bench| Box::pin(run_out(bench)) as Running<'_>,
};

pub(crate) const DISK: Drill = Drill {
    name: "D14-disk",
    what: "the broker's disk is full for a while",
    short: false,
    fits: Kind::has_broker,
    run: |bench| Box::pin(disk(bench)) as Running<'_>,
};

async fn run_out(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    files(bench, &mut cell).await?;
    if !bench.backend.kind().has_broker() {
        // Its log is in the hub's own memory, as large as its address says.
    } else if fs::metadata(GROUPS).is_ok_and(|it| it.is_dir()) && is_root() {
        memory(bench, &mut cell).await?;
    } else {
        cell.note("no memory limit was tried: that needs root and cgroups of version 1");
    }
    Ok(cell)
}

/// By the effective user id, the second of the line (proc(5), `status`).
fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uid.is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
}

/// A hub in a space of its own, started by a wrapper, and ready.
async fn start(bench: &Bench, node: &str, wrapper: Vec<String>) -> Result<Hub> {
    let hub = Hub::start(Plan {
        wrapper,
        node: node.to_owned(),
        log: bench.directory.join(format!("{node}.log")),
        ..hubs::plan(bench, &new_space()?, 0)
    })
    .await?;
    hub.until_ready(true, Duration::from_secs(30)).await?;
    Ok(hub)
}

/// Clients that are there keep being served, without a hub that spins over connections that it
/// can't take.
async fn files(bench: &Bench, cell: &mut Cell) -> Result<()> {
    let few = ["prlimit".to_owned(), format!("--nofile={FILES}")];
    let hub = start(bench, "few-files", few.to_vec()).await?;
    let mut reader = Wire::connect(hub.address()).await?;
    let mut writer = Wire::connect(hub.address()).await?;
    reader.subscribe("a", None).await?;
    let mut crowd = Vec::new();
    // Those that get in keep their socket open; the rest wait in the backlog.
    for _ in 0..2 * FILES {
        if let Ok(Ok(stream)) =
            timeout(Duration::from_secs(1), TcpStream::connect(hub.address())).await
        {
            crowd.push(stream);
        }
    }
    sleep(Duration::from_millis(500)).await;
    let open = hub.files()?;
    cell.figure("files", open);
    // The proof that descriptors are used up.
    cell.gate(
        open >= FILES - 2,
        format!("only {open} of {FILES} descriptors are taken"),
    );
    // A hub that accepts in vain, again and again, would show here.
    let (cpu, start) = (hub.cpu()?, Instant::now());
    let mut slowest = Duration::ZERO;
    for seq in 0..20 {
        let asked = Instant::now();
        writer.publish("a", seq).await?;
        let came = reader.message(Duration::from_secs(5)).await?;
        let came = came.map(|message| message.seq);
        cell.gate(came == Some(seq), format!("{came:?} came instead of {seq}"));
        slowest = slowest.max(asked.elapsed());
        sleep(Duration::from_millis(100)).await;
    }
    let busy = (hub.cpu()? - cpu).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0;
    cell.figure("cpu_percent", busy);
    cell.figure("slowest_ms", slowest.as_millis() as u64);
    cell.gate(
        busy < 10.0,
        format!("{busy:.0} % of a core with no descriptors left"),
    );
    // Descriptors come free, and new clients must get in.
    drop(crowd);
    sleep(Duration::from_secs(1)).await;
    cell.gate(
        Wire::connect(hub.address()).await.is_ok(),
        "no new client gets in after the crowd has left",
    );
    Ok(())
}

/// Clients that read nothing, each with a channel of its own, so that nothing that waits for them is shared.
async fn memory(bench: &Bench, cell: &mut Cell) -> Result<()> {
    let group = Path::new(GROUPS).join(new_space()?);
    fs::create_dir(&group)?;
    fs::write(group.join("memory.limit_in_bytes"), MEMORY.to_string())?;
    // The shell enters the group, and becomes the hub in it.
    let enter = format!("echo $$ >{}/cgroup.procs; exec \"$@\"", group.display());
    let wrapper = ["sh", "-c", &enter, "sh"].map(str::to_owned).to_vec();
    let hub = start(bench, "little-memory", wrapper).await?;
    let mut silent = Vec::new();
    for n in 0..SILENT {
        let query = format!("?channel=silent.{n}");
        silent.push(Socket::with_little_room(hub.address(), &query).await?);
    }
    let mut reader = Wire::connect(hub.address()).await?;
    reader.subscribe("read", None).await?;
    let (mut http, large) = (Http::new(hub.address()), "x".repeat(32_000));
    let (mut peak, mut seq) = (0, 0);
    for round in 0..400 {
        // Fifteen at a time: one batch must not be larger than a request may be.
        for n in (0..SILENT).step_by(15) {
            let some =
                (n..n + 15).map(|n| json!({ "channel": format!("silent.{n}"), "data": large }));
            hubs::publish(&mut http, &some.collect::<Vec<_>>()).await?;
        }
        hubs::publish(&mut http, &[json!({ "channel": "read", "data": round })]).await?;
        let came = reader.message(Duration::from_secs(10)).await?;
        seq = came.ok_or("nothing comes any more")?.seq;
        peak = peak.max(hub.anonymous()?);
        // Enough to see that the hub lets slow clients go before it runs out.
        if hub.metric("hubplane_slow_sessions_total").await? >= 8.0 {
            break;
        }
    }
    let shed = hub.metric("hubplane_slow_sessions_total").await?;
    cell.figure("shed", shed);
    cell.figure("rounds", seq);
    cell.figure("peak_mib", peak / MIB);
    cell.gate(shed >= 8.0, format!("only {shed} slow clients were let go"));
    cell.gate(peak < MEMORY, format!("{} MiB of 64", peak / MIB));
    // The group can be removed only when its last process is gone.
    drop(hub);
    sleep(Duration::from_millis(200)).await;
    fs::remove_dir(&group)?;
    Ok(())
}

/// How much room a broker needs to start at all.
fn room(kind: Kind) -> u64 {
    match kind {
        Kind::Rabbitmq | Kind::AmqpStreams => 400,
        Kind::Kafka => 300,
        Kind::Memory | Kind::Redis | Kind::RedisStreams => 20,
    }
}

/// While the disk is full, each publish is answered in time; afterwards everything heals.
async fn disk(bench: &Bench) -> Result<Cell> {
    if !is_root() {
        return Ok(Cell::left_out("mounting a small disk needs root"));
    }
    let mounted = bench.directory.join(new_space()?);
    fs::create_dir_all(&mounted)?;
    let size = format!("size={}m", room(bench.backend.kind()));
    let mount = ["-t", "tmpfs", "-o", &size, "tmpfs"].map(str::to_owned);
    program(
        "mount",
        mount.iter().map(AsRef::as_ref).chain([mounted.as_os_str()]),
    )
    .await?;
    // The scripts know a broker by its directory's name.
    let directory = mounted.join(bench.backend.kind().broker());
    // The broker and the disk are removed whatever came of it.
    let found = on_disk(bench, &directory).await;
    _ = bench.backend.control_in("kill", &directory).await;
    // The broker is gone; what it had open may be a moment longer.
    program("umount", ["-l".as_ref(), mounted.as_os_str()].into_iter()).await?;
    found
}

/// Runs a program of the system; an error if it fails.
async fn program<'a>(name: &str, words: impl Iterator<Item = &'a std::ffi::OsStr>) -> Result<()> {
    let status = tokio::process::Command::new(name).args(words).status();
    match status.await?.success() {
        true => Ok(()),
        false => Err(format!("{name} failed").into()),
    }
}

/// Runs the drill with a broker whose directory is on the small disk.
async fn on_disk(bench: &Bench, directory: &Path) -> Result<Cell> {
    let mut cell = Cell::default();
    let backend = bench.backend.another(directory).await?;
    let bench = Bench {
        backend,
        hubplane: bench.hubplane.clone(),
        directory: bench.directory.clone(),
        environment: bench.environment.clone(),
        seed: bench.seed,
        short: bench.short,
        rate: bench.rate,
        minutes: bench.minutes,
    };
    let mut workload = Workload::start(&bench, &Settings::of(&bench)).await?;
    sleep(Duration::from_secs(3)).await;
    let ballast = directory.join("ballast");
    workload.fault("disk", Phase::Begin)?;
    let left = left(bench.backend.kind());
    fill(&ballast, available(directory).await?.saturating_sub(left))?;
    // Whatever the answer is, it comes.
    let (mut http, mut slowest, mut refused) = (Http::new(workload.hubs[0].address()), 0, 0);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(10) {
        let asked = Instant::now();
        let answer = http
            .post("/v1/publish", r#"{"channel":"probe","data":1}"#)
            .await;
        slowest = slowest.max(asked.elapsed().as_millis() as u64);
        refused += u64::from(matches!(answer, Ok((503, _))));
        sleep(Duration::from_millis(100)).await;
    }
    cell.figure("slowest_answer_ms", slowest);
    cell.figure("refused", refused);
    cell.gate(
        u128::from(slowest) <= ANSWERED.as_millis(),
        format!("a publish was answered after {slowest} ms"),
    );
    // The proof that it was full: nobody has made room meanwhile.
    let full = available(directory).await? < left + 4 * MIB;
    cell.gate(full, "the disk was not full");
    workload.fault("disk", Phase::Mend)?;
    fs::remove_file(&ballast)?;
    // Kafka ends when it can't write.
    // Signal 0 only asks whether there is such a process (kill(2)).
    let ended = match bench.backend.pid() {
        Ok(pid) => signal(pid, "0").await.is_err(),
        Err(_) => true,
    };
    if ended {
        bench.backend.control("start").await?;
        cell.note("the broker ended when its disk was full, and was started again");
    }
    if matches!(bench.backend.kind(), Kind::Rabbitmq | Kind::AmqpStreams) {
        // It looks at its disk every ten seconds, and again as late.
        sleep(Duration::from_secs(21)).await;
    }
    workload.fault("disk", Phase::End)?;
    sleep(Duration::from_secs(15)).await;
    cell.figure("rate", workload.rate());
    let verdict = workload.finish().await?;
    // What the broker had acknowledged and could not write is lost with it.
    let demands = Demands {
        lossless: !ended,
        native_may_be_lost: ended,
        faults: 1,
    };
    judge(&mut cell, bench.backend.kind(), verdict, demands);
    Ok(cell)
}

/// What is left of it. RabbitMQ takes no more messages with 50 MB left; a stream of its that meets a disk that is really
/// full is not brought up again (3.10), which no hub can mend.
fn left(kind: Kind) -> u64 {
    match kind {
        Kind::Rabbitmq | Kind::AmqpStreams => 30 * MIB,
        Kind::Kafka | Kind::Memory | Kind::Redis | Kind::RedisStreams => 0,
    }
}

/// Bytes that are left on the disk of a directory.
async fn available(directory: &Path) -> Result<u64> {
    let mut ask = tokio::process::Command::new("df");
    let asked = ask.args(["-B1", "--output=avail"]).arg(directory).output();
    let text = String::from_utf8(asked.await?.stdout)?;
    Ok(text
        .lines()
        .nth(1)
        .ok_or("df says nothing")?
        .trim()
        .parse()?)
}

/// Takes so much of the room, or all that there is.
fn fill(ballast: &Path, bytes: u64) -> Result<()> {
    use std::io::Write as _;
    let mut file = fs::File::create(ballast)?;
    let block = [0; 65_536];
    for _ in 0..bytes.div_ceil(block.len() as u64) {
        if file.write_all(&block).is_err() {
            break;
        }
    }
    Ok(())
}
