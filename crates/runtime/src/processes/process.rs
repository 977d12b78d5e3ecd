// SPDX-License-Identifier: Apache-2.0
//! One process, as `/proc` describes it (proc(5)).

use rustix::fs::{Mode, OFlags};

/// What is shown of a process.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i64,
    pub(super) group: i64,
    pub(super) session: i64,
    /// The device number of its terminal; 0 for none.
    pub(super) terminal: u64,
    /// The process group that its terminal listens to.
    pub(super) foreground: i64,
    /// Running, sleeping and so on: the kernel's letter.
    pub(super) state: char,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) nice: i64,
    pub(super) threads: u64,
    /// User and kernel time, in ticks.
    pub(super) time: u64,
    /// In ticks since the machine started.
    pub(super) started: u64,
    /// Address space, in bytes.
    pub(super) size: u64,
    /// Memory in use, in KiB.
    pub(super) resident: u64,
    /// It has pages that are never swapped out.
    pub(super) locked: bool,
    /// The name the kernel has for it.
    pub(super) name: String,
    /// Its command line, or its name in brackets where it has none.
    pub(super) command: String,
}

impl Process {
    /// Nothing when it ended meanwhile.
    pub(super) fn read(pid: i32) -> Option<Process> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty()).ok()?;
        let file = |name: &str| {
            let opened = rustix::fs::openat(&dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut std::fs::File::from(opened), &mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        Process::parse(pid, &file("stat")?, &file("status")?, &file("cmdline")?)
    }

    /// From `stat`, `status` and `cmdline`.
    pub(super) fn parse(pid: i32, stat: &str, status: &str, arguments: &str) -> Option<Process> {
        // The name may hold anything, parentheses too.
        let (before, after) = stat.rsplit_once(')')?;
        let name = before.split_once('(')?.1;
        let fields: Vec<&str> = after.split_ascii_whitespace().collect();
        // The numbers of proc_pid_stat(5), whose third field is our first.
        let field = |field: usize| fields.get(field - 3).copied();
        let number = |of: usize| field(of)?.parse::<u64>().ok();
        let signed = |of: usize| field(of)?.parse::<i64>().ok();
        let state = field(3)?.chars().next()?;
        // Real, effective, saved, file system.
        let effective = |key: &str| {
            let ids = status.lines().find_map(|line| line.strip_prefix(key))?;
            ids.split_ascii_whitespace().nth(1)?.parse::<u32>().ok()
        };
        // A zombie has no memory, and no such lines.
        let kibibytes = |key: &str| {
            let amount = status.lines().find_map(|line| line.strip_prefix(key))?;
            amount.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        };
        let arguments: Vec<&str> = arguments.split('\0').filter(|argument| !argument.is_empty()).collect();
        let command = match (arguments.is_empty(), state) {
            (true, 'Z') => format!("[{name}] <defunct>"),
            (true, _) => format!("[{name}]"),
            (false, _) => arguments.join(" "),
        };
        Some(Process {
            pid,
            parent: signed(4)?,
            group: signed(5)?,
            session: signed(6)?,
            terminal: number(7)?,
            foreground: signed(8)?,
            state,
            uid: effective("Uid:")?,
            gid: effective("Gid:")?,
            nice: signed(19)?,
            threads: number(20)?,
            time: number(14)? + number(15)?,
            started: number(22)?,
            size: number(23)?,
            resident: kibibytes("VmRSS:").unwrap_or(0),
            locked: kibibytes("VmLck:").is_some_and(|locked| locked > 0),
            name: printable(name),
            command: printable(&command),
        })
    }
}

/// A newline or an escape sequence in an argument must not look like output of ours.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const STAT: &str =
        "71 (a) b) S 7 71 71 34817 71 4194304 90 0 0 0 250 50 0 0 20 0 1 0 12000 8192 5 18446744073709551615";
    pub(in super::super) const STATUS: &str =
        "Name:\tx\nUid:\t0\t1000\t0\t0\nGid:\t5\t6\t5\t5\nVmLck:\t       0 kB\nVmRSS:\t      20 kB\n";

    #[test]
    fn a_process_without_arguments_is_shown_by_its_name() {
        let process = Process::parse(71, STAT, STATUS, "").unwrap();
        assert_eq!((process.command.as_str(), process.name.as_str()), ("[a) b]", "a) b"));
        let zombie = STAT.replace(" S ", " Z ");
        assert_eq!(Process::parse(71, &zombie, STATUS, "").unwrap().command, "[a) b] <defunct>");
        assert_eq!(Process::parse(71, "nonsense", STATUS, ""), None);
    }

    #[test]
    fn ids_are_the_effective_ones_and_arguments_cannot_write_lines() {
        let process = Process::parse(71, STAT, STATUS, "sh\0-c\0a\nb\0").unwrap();
        assert_eq!((process.uid, process.gid, process.locked), (1000, 6, false));
        assert_eq!(process.command, "sh -c a?b");
        // A process without a terminal has none in the foreground.
        let alone = STAT.replace(" 34817 71 ", " 0 -1 ");
        assert_eq!(Process::parse(71, &alone, STATUS, "").unwrap().foreground, -1);
    }
}
