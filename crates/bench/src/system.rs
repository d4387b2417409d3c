//! What the operating system says: the machine, a process's time and memory, and whose a port is.
//! Linux's `/proc` (proc(5)).
//!
//! Everything here is read as text at the moment of the call. What can't be read, on another system
//! or for want of a right, is absent: a measurement without a cost is still one.

use std::{
    fs, io,
    net::{IpAddr, ToSocketAddrs},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::results::Machine;

/// Returns the machine as a report shows it. What can't be read is left empty.
pub(super) fn machine() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    // Both `key : value` and `KEY="value"` are read.
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        let value = line.and_then(|line| line.split_once([':', '=']));
        value.map(|(_, value)| value.trim().trim_matches('"').to_owned())
    };
    let memory = value(&read("/proc/meminfo"), "MemTotal")
        // The kernel writes kB and means 1,024 bytes.
        .and_then(|text| text.strip_suffix(" kB")?.trim().parse::<u64>().ok());
    let release = value(&read("/etc/os-release"), "PRETTY_NAME").unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let processors = read("/proc/cpuinfo");
    // The machine's, not those that `--pin` has left to this process.
    let cores = processors
        .lines()
        .filter(|line| line.starts_with("processor\t"))
        .count();
    Machine {
        processor: value(&processors, "model name").unwrap_or_default(),
        // Some processors have no such lines; a machine has one core at least.
        cores: cores.max(1),
        memory: memory.unwrap_or_default() * 1024,
        system: format!("{release}, Linux {}", kernel.trim()),
    }
}

/// Returns the first 8 bytes of a file's SHA-256 as hexadecimal, which tell one program from another.
///
/// # Errors
///
/// The file can't be read.
pub(super) fn fingerprint(file: &Path) -> io::Result<String> {
    // A whole file in memory: a program has some ten MiB, and this is done once for each.
    let hash = Sha256::digest(fs::read(file)?);
    // 64 bits are enough to tell a handful of builds apart; nothing is protected by it.
    let start = hash.into_iter().take(8);
    Ok(start.map(|byte| format!("{byte:02x}")).collect())
}

/// Returns the CPU time that the threads of a process have used, in nanoseconds from `schedstat`: the ticks of `stat` are too
/// coarse for a measurement of seconds. `None` if the process is gone or may not be looked at.
pub(super) fn cpu(process: u32) -> Option<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task")).ok()? {
        // A thread may end meanwhile; what it used is lost here.
        let Ok(text) = fs::read_to_string(thread.ok()?.path().join("schedstat")) else {
            continue;
        };
        // The first number is the time on a core; the others are waiting and counts
        // (sched-stats.txt in the kernel's documentation).
        nanos += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanos))
}

/// Returns a process's memory in bytes, as PSS: a page that n processes share counts one nth. `None` if the process is gone or
/// may not be looked at.
/// `smaps_rollup` sums over all mappings in the kernel, which is far cheaper than adding up
/// `smaps`.
pub(super) fn memory(process: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let row = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = row.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}

/// Keeps a process, with all its threads, on these cores. An error if there is no `taskset`, or no such core.
///
/// `cores` is written as `taskset` takes it: `0-3,8`.
pub(super) fn pin(process: u32, cores: &str) -> io::Result<()> {
    let status = Command::new("taskset")
        // -a: all threads, -c: a list of cores, -p: a process that runs already.
        .args(["-acp", cores, &process.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|error| io::Error::other(format!("taskset (util-linux): {error}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "taskset refuses the cores {cores}"
        ))),
    }
}

/// Returns a command that runs a program on these cores. `taskset` becomes the program, so the process that is started is the
/// program's own, and its id can be measured.
pub(super) fn pinned(program: &Path, cores: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", cores]).arg(program);
    command
}

/// Asks a process to end (SIGTERM). Does nothing if it is gone.
pub(super) fn terminate(process: u32) {
    // `kill` as a program, since sending a signal from Rust needs unsafe code.
    _ = Command::new("kill")
        .args(["-TERM", &process.to_string()])
        .stderr(Stdio::null())
        .status();
}

/// Returns the process that listens on this port, if the host is this machine and its process may be looked at.
pub(super) fn listener(host: &str, port: u16) -> Option<u32> {
    // An unspecified address (0.0.0.0) is reached on this machine, too.
    let local = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    let mut found = (host, port).to_socket_addrs().ok()?;
    if !found.any(|address| local(address.ip())) {
        return None;
    }
    // A listener on `[::]` takes IPv4 as well, but stands in the second table only.
    let sockets = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| inode(&table, port))?;
    // How `/proc/PID/fd` names a socket.
    let wanted = format!("socket:[{sockets}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes
        // Names that are numbers are processes. Those of other users can't be looked into, and are
        // passed over.
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|process: &u32| owns(Path::new(&format!("/proc/{process}/fd")), &wanted))
}

/// Returns the inode of the socket that listens on a port, from a table of `/proc/net` (proc_net_tcp.txt in the kernel's
/// documentation): column 1 is the address, 3 the state (0A is LISTEN), 9 the inode.
fn inode(table: &str, port: u16) -> Option<u64> {
    // The first line is the head of the table.
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let listens = *columns.get(3)? == "0A";
        // The address is hexadecimal, `0100007F:1F90`; the port is what follows the colon.
        let here = u16::from_str_radix(columns.get(1)?.rsplit_once(':')?.1, 16).ok()?;
        (listens && here == port).then(|| columns.get(9)?.parse().ok())?
    })
}

/// Returns whether one of a process's open files is this socket.
fn owns(files: &Path, wanted: &str) -> bool {
    let files = fs::read_dir(files).into_iter().flatten().flatten();
    files
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|target| target.to_str() == Some(wanted))
}

/// Returns the bytes that these processes have exchanged with these ports, in both directions, over the connections that are
/// open now. `ss` (iproute2) counts them; `None` without it, or without ports. A connection that was closed meanwhile is missing.
pub(super) fn exchanged(processes: &[u32], ports: &[u16]) -> Option<u64> {
    if ports.is_empty() {
        return None;
    }
    let filter: Vec<_> = ports
        .iter()
        .map(|port| format!("dport = :{port}"))
        .collect();
    // -t TCP, -i counters, -n numbers, -p processes, -H no head, -O one line for each socket.
    let output = Command::new("ss")
        .args([
            "-tinpHO",
            "state",
            "established",
            &format!("( {} )", filter.join(" or ")),
        ])
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(sum_of(&String::from_utf8_lossy(&output.stdout), processes))
}

/// Adds up the bytes in the lines of `ss` that belong to these processes.
fn sum_of(table: &str, processes: &[u32]) -> u64 {
    let ours = |line: &&str| {
        // The comma keeps 7 from matching 77.
        processes
            .iter()
            .any(|process| line.contains(&format!("pid={process},")))
    };
    // Acknowledged and not sent bytes: what was sent again would count twice.
    let count = |word: &str| {
        let (name, value) = word.split_once(':')?;
        let counted = matches!(name, "bytes_acked" | "bytes_received");
        counted.then(|| value.parse::<u64>().ok()).flatten()
    };
    table
        .lines()
        .filter(ours)
        .flat_map(|line| line.split_whitespace().filter_map(count))
        .sum()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_listens_is_found_by_the_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // The test itself is the process that listens.
        assert_eq!(super::listener("127.0.0.1", port), Some(std::process::id()));
        drop(listener);
        assert_eq!(super::listener("127.0.0.1", port), None);
    }

    #[test]
    fn this_process_has_time_and_memory_and_the_machine_a_name() {
        let process = std::process::id();
        assert!(cpu(process).is_some_and(|time| !time.is_zero()));
        assert!(memory(process).is_some_and(|bytes| bytes > 100_000));
        assert!(machine().memory > 0 && machine().system.contains("Linux"));
    }

    #[test]
    fn a_pinned_program_has_its_cores_when_it_starts() {
        // `cat` shows its own cores, so they were set before it began.
        let mut shown = pinned(Path::new("cat"), "0");
        let shown = shown.arg("/proc/self/status").output().unwrap().stdout;
        let shown = String::from_utf8(shown).unwrap();
        assert!(shown.contains("Cpus_allowed_list:\t0\n"), "{shown}");
    }

    #[test]
    fn a_file_has_a_fingerprint() {
        let own = std::env::current_exe().unwrap();
        assert_eq!(fingerprint(&own).unwrap().len(), 16);
        let empty = fingerprint(Path::new("/dev/null")).unwrap();
        // The SHA-256 of nothing.
        assert_eq!(empty, "e3b0c44298fc1c14");
    }

    #[test]
    fn only_the_wanted_processes_bytes_are_counted() {
        let table = "0 0 127.0.0.1:5 127.0.0.1:6379 users:((\"hubplane\",pid=7,fd=9)) cubic bytes_sent:9 bytes_acked:8 bytes_received:5\n\
                     0 0 127.0.0.1:6 127.0.0.1:6379 users:((\"other\",pid=77,fd=9)) bytes_acked:100\n";
        // 8 and 5 of process 7; neither the bytes sent nor process 77.
        assert_eq!(sum_of(table, &[7]), 13);
    }
}
