// SPDX-License-Identifier: Apache-2.0
//! `ps`: the processes of a container, as `ps -ef` would list them, read from the host's `/proc`.

use std::ffi::OsString;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags};
use sys::clock::{LocalTime, local_time};

use super::error::CliError;
use super::flags::{Flag, Flags};
use super::users::Users;
use super::{Context, print};

/// Ticks per second of the times in `/proc/<pid>/stat` (`USER_HZ`): the same on every architecture we run on.
const TICKS: u64 = 100;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

pub(super) fn ps(context: &Context, args: Vec<OsString>) -> Result<u8, CliError> {
    let flags = Flags::leading(args, &[Flag::value("format").short('f')])?;
    let (id, options) = flags.id_and_more()?;
    let json = match flags.text("format")?.as_deref() {
        None | Some("table") => false,
        Some("json") => true,
        Some(other) => {
            let value = other.to_owned();
            return Err(CliError::InvalidValue { flag: "format", value, expected: "table or json" });
        }
    };
    if !json {
        options.iter().try_for_each(|option| check_option(&option.to_string_lossy()))?;
    }
    let (_, record) = context.store.find(&id)?;
    let Some(cgroup) = record.cgroup()? else { return print(if json { "[]\n" } else { "" }) };
    if json {
        return print(&format!("{}\n", serde_json::to_string(&cgroup.processes()?).map_err(CliError::Format)?));
    }
    let host = Host::look();
    let mut table = host.heading();
    // Each process is held by its pidfd while its entry in /proc is read: the entry is then this process's or gone.
    for (pid, _held) in cgroup.open_processes()? {
        if let Some(process) = Process::read(pid) {
            table.push_str(&host.row(&process));
        }
    }
    print(&table)
}

/// Options that ask for what is printed anyway.
fn check_option(option: &str) -> Result<(), CliError> {
    match option.strip_prefix('-') {
        Some(letters) if !letters.is_empty() && letters.chars().all(|letter| "eAf".contains(letter)) => Ok(()),
        _ => Err(CliError::PsOption { option: option.to_owned() }),
    }
}

/// What is shown of a process.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    uid: u32,
    terminal: u64,
    /// User and kernel time, in ticks.
    time: u64,
    /// In ticks since the machine started.
    started: u64,
    command: String,
}

impl Process {
    /// Nothing when it ended meanwhile.
    fn read(pid: i32) -> Option<Process> {
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

    /// From `stat`, `status` and `cmdline` (proc(5)).
    fn parse(pid: i32, stat: &str, status: &str, arguments: &str) -> Option<Process> {
        // The name may hold anything, parentheses too.
        let (before, after) = stat.rsplit_once(')')?;
        let name = before.split_once('(')?.1;
        let fields: Vec<&str> = after.split_ascii_whitespace().collect();
        // The numbers of proc_pid_stat(5), whose third field is our first.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        let arguments: Vec<&str> = arguments.split('\0').filter(|argument| !argument.is_empty()).collect();
        let command = match (arguments.is_empty(), fields.first()) {
            (true, Some(&"Z")) => format!("[{name}] <defunct>"),
            (true, _) => format!("[{name}]"),
            (false, _) => arguments.join(" "),
        };
        Some(Process {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            // Real, effective, saved, file system.
            uid: ids.split_ascii_whitespace().nth(1)?.parse().ok()?,
            terminal: number(7)?,
            time: number(14)? + number(15)?,
            started: number(22)?,
            // A newline or an escape sequence in an argument must not look like output of ours.
            command: command.chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
        })
    }
}

/// What the rows depend on besides the process.
struct Host {
    users: Users,
    /// Seconds since 1970 at which the machine started.
    boot: u64,
    now: u64,
    /// Digits of the largest process id.
    width: usize,
}

impl Host {
    fn look() -> Host {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let boot = read("/proc/stat").lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
        let largest: u64 = read("/proc/sys/kernel/pid_max").trim().parse().unwrap_or(32_768);
        Host {
            users: Users::of_host(),
            boot: boot.unwrap_or(0),
            now: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            width: largest.saturating_sub(1).to_string().len().max(5),
        }
    }

    fn heading(&self) -> String {
        let width = self.width;
        format!("{:8} {:>width$} {:>width$}  C STIME {:8} {:>8} CMD\n", "UID", "PID", "PPID", "TTY", "TIME")
    }

    fn row(&self, process: &Process) -> String {
        let width = self.width;
        let begun = self.boot + process.started / TICKS;
        let used = process.time / TICKS;
        let share = (used * 100 / self.now.saturating_sub(begun).max(1)).min(99);
        let local = |seconds: u64| i64::try_from(seconds).ok().and_then(local_time);
        let stime = start_text(local(begun), local(self.now));
        let mut row = String::new();
        // Writing to a string cannot fail.
        let _infallible = writeln!(
            row,
            "{:8} {:>width$} {:>width$} {share:>2} {stime:>5} {:8} {} {}",
            short(&self.users.name(process.uid)),
            process.pid,
            process.parent,
            terminal_name(process.terminal),
            duration(used),
            process.command
        );
        row
    }
}

/// A name of at most eight letters; a longer one ends in `+`.
fn short(name: &str) -> String {
    if name.chars().count() <= 8 { name.to_owned() } else { name.chars().take(7).chain(['+']).collect() }
}

/// The hour of a process of today, the day of one of this year, the year of an older one.
fn start_text(begun: Option<LocalTime>, now: Option<LocalTime>) -> String {
    let (Some(begun), Some(now)) = (begun, now) else { return "?".to_owned() };
    if begun.year != now.year {
        format!("{:>4}", begun.year)
    } else if begun.day_of_year != now.day_of_year {
        format!("{}{:02}", MONTHS.get(begun.month).unwrap_or(&"?"), begun.day)
    } else {
        format!("{:02}:{:02}", begun.hour, begun.minute)
    }
}

/// `[days-]hours:minutes:seconds`
fn duration(seconds: u64) -> String {
    let days = match seconds / 86_400 {
        0 => String::new(),
        days => format!("{days}-"),
    };
    format!("{days}{:02}:{:02}:{:02}", seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60)
}

/// The terminal's name from its device number (the kernel's Documentation/admin-guide/devices.txt).
fn terminal_name(device: u64) -> String {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    match (major, minor) {
        (136..=143, _) => format!("pts/{}", (major - 136) * 256 + minor),
        (4, 0..64) => format!("tty{minor}"),
        (4, _) => format!("ttyS{}", minor - 64),
        (5, 1) => "console".to_owned(),
        _ => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "71 (a) b) S 7 71 71 34817 71 4194304 90 0 0 0 250 50 0 0 20 0 1 0 12000 4 5 18446744073709551615";
    const STATUS: &str = "Name:\tx\nUid:\t0\t1000\t0\t0\n";

    fn host() -> Host {
        Host { users: Users::parse("u:x:1000:0::/:"), boot: 1_000_000, now: 1_000_000 + 120 + 10, width: 5 }
    }

    #[test]
    fn a_row_is_as_ps_prints_it() {
        let process = Process::parse(71, STAT, STATUS, "sh\0-c\0a\nb\0").unwrap();
        let row = host().row(&process);
        assert!(row.starts_with("u           71     7 30 "), "{row}");
        assert!(row.ends_with(" pts/1    00:00:03 sh -c a?b\n"), "{row}");
        assert_eq!(host().heading(), "UID        PID  PPID  C STIME TTY          TIME CMD\n");
    }

    #[test]
    fn a_process_without_arguments_is_shown_by_its_name() {
        assert_eq!(Process::parse(71, STAT, STATUS, "").unwrap().command, "[a) b]");
        let zombie = STAT.replace(" S ", " Z ");
        assert_eq!(Process::parse(71, &zombie, STATUS, "").unwrap().command, "[a) b] <defunct>");
        assert_eq!(Process::parse(71, "nonsense", STATUS, ""), None);
    }

    #[test]
    fn names_times_and_terminals() {
        assert_eq!((short("12345678"), short("123456789")), ("12345678".into(), "1234567+".into()));
        assert_eq!((duration(59), duration(90_061)), ("00:00:59".into(), "1-01:01:01".into()));
        let names = [0x8803, 0x0401, 0x0440, 0x0501, 0].map(terminal_name);
        assert_eq!(names, ["pts/3", "tty1", "ttyS0", "console", "?"]);
        let time = |year, day_of_year| Some(LocalTime { year, month: 10, day: 25, day_of_year, hour: 9, minute: 5 });
        assert_eq!(start_text(time(2026, 3), time(2026, 3)), "09:05");
        assert_eq!(start_text(time(2026, 3), time(2026, 4)), "Nov25");
        assert_eq!(start_text(time(2025, 3), time(2026, 3)), "2025");
    }

    #[test]
    fn only_options_that_ask_for_this_are_taken() {
        for option in ["-ef", "-e", "-Af"] {
            check_option(option).unwrap();
        }
        for option in ["aux", "-", "-o", "-eF"] {
            assert!(matches!(check_option(option), Err(CliError::PsOption { option: named }) if named == option));
        }
    }
}
