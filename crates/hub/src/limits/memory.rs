//! Finds out how much memory this process may use: the machine's, or less where a control group
//! says so (a container's limit). Limits that follow from it keep the process alive in small
//! containers.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where the system shows its control groups.
const ROOT: &str = "/sys/fs/cgroup";

/// Returns the memory in bytes, the smallest of all that is said. `None` if the system doesn't
/// tell.
pub(super) fn limit() -> Option<usize> {
    // What can't be read is passed over: other systems have neither file.
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = files(&groups)
        .into_iter()
        .filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    // A group without a limit says `max`, which is no number and drops out.
    limits.chain(machine.and_then(|text| total(&text))).min()
}

/// Returns the machine's memory from the text of `/proc/meminfo`, which counts in KiB.
fn total(meminfo: &str) -> Option<usize> {
    let row = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: usize = row.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Returns the files that may hold a limit: those of the process's group and of all groups above
/// it, in version 2 and version 1 (cgroups(7)). Inside a container the named group is often not
/// there, and its limit stands at the root.
fn files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else {
            continue;
        };
        // Version 2 names no controllers.
        let (root, name) = match controllers {
            "" => (ROOT.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|it| it == "memory") => {
                (format!("{ROOT}/memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let above = Path::new(group).ancestors();
        files.extend(above.filter_map(|group| {
            let group = group.strip_prefix("/").ok()?;
            Some(Path::new(&root).join(group).join(name))
        }));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_and_all_above_it_are_asked() {
        let found = files("4:cpu,memory:/a/b\n3:cpu:/\n0::/c\n");
        let found: Vec<_> = found.iter().map(|it| it.to_str().unwrap()).collect();
        assert_eq!(
            found,
            [
                "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/c/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
    }

    #[test]
    fn the_machine_tells_its_memory() {
        assert_eq!(total("A: 1 kB\nMemTotal:  24 kB\n"), Some(24 * 1024));
        assert!(limit().is_some_and(|bytes| bytes > 1 << 20));
    }
}
