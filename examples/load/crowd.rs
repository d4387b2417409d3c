//! Connections that wait, each with a channel of its own.

use std::{fs, time::Duration};

use tokio::{net::TcpStream, time::sleep};

use crate::{Failure, process::Hub};

const STEPS: [usize; 3] = [5_000, 10_000, 15_000];
/// Files besides the connections.
const OTHERS: usize = 100;
/// Until what the opening took is given back.
const REST: Duration = Duration::from_secs(3);

/// Resident memory a connection, at each step.
pub(crate) async fn waits(hub: &Hub) -> Result<(), Failure> {
    println!("waiting connections, one channel each:");
    let (before, kernel) = (hub.resident()?, kernel()?);
    let files = files()?;
    let mut all: Vec<TcpStream> = Vec::new();
    for step in STEPS {
        if step + OTHERS > files {
            println!("  {step:>6} not tried: {files} open files are allowed (ulimit -n 20000)");
            continue;
        }
        while all.len() < step {
            let channel = format!("own.{}", all.len());
            all.push(hub.subscribe(&channel).await?);
        }
        sleep(REST).await;
        let of_kernel = self::kernel()?.saturating_sub(kernel);
        println!(
            "  {step:>6} {:>6} bytes resident a connection, and {} of the kernel's for both of its ends",
            hub.resident()?.saturating_sub(before) / step as u64,
            of_kernel / step as u64
        );
    }
    Ok(())
}

/// How many files this process may have open.
fn files() -> Result<usize, Failure> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let row = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = row.and_then(|row| row.split_whitespace().next());
    Ok(soft.ok_or("no limit of open files")?.parse()?)
}

/// The kernel's own memory on this machine: sockets are in it.
fn kernel() -> Result<u64, Failure> {
    let all = fs::read_to_string("/proc/meminfo")?;
    let row = all.lines().find_map(|line| line.strip_prefix("Slab:"));
    let kib = row.ok_or("no Slab")?.trim().trim_end_matches(" kB");
    Ok(kib.parse::<u64>()? * 1_024)
}
