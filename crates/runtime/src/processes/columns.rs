// SPDX-License-Identifier: Apache-2.0
//! The columns there are: their names, what stands above them, and what stands in them.

use sys::clock::{LocalTime, local_time};

use super::Host;
use super::process::Process;

/// Ticks per second of the times in `/proc/<pid>/stat` (`USER_HZ`): the same on every architecture we run on.
const TICKS: u64 = 100;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A column: what stands above it, and how its cell is made.
#[derive(Clone, Copy)]
struct Column {
    title: &'static str,
    cell: fn(&Process, &Host) -> String,
}

/// Which columns a list has.
#[derive(Clone)]
pub struct Columns(Vec<Column>);

impl std::fmt::Debug for Columns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Columns").field(&self.titles()).finish()
    }
}

/// Those of `ps -ef`.
impl Default for Columns {
    fn default() -> Columns {
        Columns::known("uid,pid,ppid,c,stime,tname,time,cmd")
    }
}

impl Columns {
    /// Those of `ps -e`.
    pub(super) fn short() -> Columns {
        Columns::known("pid,tname,time,ucmd")
    }

    /// Those of `ps aux`, or without its `u`.
    pub(super) fn bsd(by_user: bool) -> Columns {
        Columns::known(if by_user {
            "user,pid,%cpu,%mem,vsz,rss,tname,stat,bsdstart,bsdtime,args"
        } else {
            "pid,tname,stat,bsdtime,args"
        })
    }

    fn known(names: &str) -> Columns {
        Columns(names.split(',').filter_map(column).collect())
    }

    /// Those of a list as `ps -o` takes it, separated by commas. The name of one that is not there is the error.
    pub(super) fn named(names: &str) -> Result<Columns, String> {
        names.split(',').map(|name| column(name).ok_or_else(|| name.to_owned())).collect::<Result<_, _>>().map(Columns)
    }

    pub(super) fn extend(&mut self, more: Columns) {
        self.0.extend(more.0);
    }

    pub(super) fn titles(&self) -> Vec<&'static str> {
        self.0.iter().map(|column| column.title).collect()
    }

    pub(super) fn cells(&self, process: &Process, host: &Host) -> Vec<String> {
        self.0.iter().map(|column| (column.cell)(process, host)).collect()
    }
}

/// The column of a name of ps(1), section STANDARD FORMAT SPECIFIERS. `uid` is not ps's: of `ps -f` that column holds names.
fn column(name: &str) -> Option<Column> {
    let with = |title, cell| Some(Column { title, cell });
    match name {
        "uid" => with("UID", |p, host| short(&host.users.name(p.uid))),
        "user" | "euser" | "uname" => with("USER", |p, host| short(&host.users.name(p.uid))),
        "euid" => with("EUID", |p, _| p.uid.to_string()),
        "gid" => with("GID", |p, _| p.gid.to_string()),
        "egid" => with("EGID", |p, _| p.gid.to_string()),
        "pid" | "tgid" => with("PID", |p, _| p.pid.to_string()),
        "ppid" => with("PPID", |p, _| p.parent.to_string()),
        "pgid" | "pgrp" => with("PGID", |p, _| p.group.to_string()),
        "sid" | "sess" | "session" => with("SID", |p, _| p.session.to_string()),
        "c" => with("C", |p, host| (per_mille(p, host) / 10).min(99).to_string()),
        "%cpu" | "pcpu" => with("%CPU", |p, host| tenths(per_mille(p, host))),
        "%mem" | "pmem" => with("%MEM", |p, host| tenths((p.resident * 1000 / host.memory).min(999))),
        "vsz" | "vsize" => with("VSZ", |p, _| (p.size / 1024).to_string()),
        "rss" | "rssize" | "rsz" => with("RSS", |p, _| p.resident.to_string()),
        "tname" => with("TTY", |p, _| terminal_name(p.terminal)),
        "tty" | "tt" => with("TT", |p, _| terminal_name(p.terminal)),
        "s" | "state" => with("S", |p, _| p.state.to_string()),
        "stat" => with("STAT", |p, _| state(p)),
        "stime" => with("STIME", start),
        "bsdstart" | "start_time" => with("START", start),
        "etime" => with("ELAPSED", |p, host| elapsed_text(elapsed(p, host))),
        "etimes" => with("ELAPSED", |p, host| elapsed(p, host).to_string()),
        "time" | "cputime" => with("TIME", |p, _| duration(p.time / TICKS)),
        "bsdtime" => with("TIME", |p, _| format!("{}:{:02}", p.time / TICKS / 60, p.time / TICKS % 60)),
        "nlwp" | "thcount" => with("NLWP", |p, _| p.threads.to_string()),
        "ni" | "nice" => with("NI", |p, _| p.nice.to_string()),
        "comm" | "ucomm" => with("COMMAND", comm),
        "ucmd" => with("CMD", comm),
        "args" | "command" => with("COMMAND", |p, _| p.command.clone()),
        "cmd" => with("CMD", |p, _| p.command.clone()),
        _ => None,
    }
}

/// A name of at most eight letters; a longer one ends in `+`.
fn short(name: &str) -> String {
    if name.chars().count() <= 8 { name.to_owned() } else { name.chars().take(7).chain(['+']).collect() }
}

fn comm(process: &Process, _: &Host) -> String {
    if process.state == 'Z' { format!("{} <defunct>", process.name) } else { process.name.clone() }
}

fn begun(process: &Process, host: &Host) -> u64 {
    host.boot + process.started / TICKS
}

/// Seconds since it began.
fn elapsed(process: &Process, host: &Host) -> u64 {
    host.now.saturating_sub(begun(process, host))
}

/// Processor time per time, in thousandths.
fn per_mille(process: &Process, host: &Host) -> u64 {
    process.time * 1000 / TICKS / elapsed(process, host).max(1)
}

fn tenths(thousandths: u64) -> String {
    format!("{}.{}", thousandths / 10, thousandths % 10)
}

/// The kernel's letter, and ps's: priority, locked pages, session leader, threads, foreground.
fn state(process: &Process) -> String {
    let marks = [
        ('<', process.nice < 0),
        ('N', process.nice > 0),
        ('L', process.locked),
        ('s', process.session == i64::from(process.pid)),
        ('l', process.threads > 1),
        ('+', process.foreground == process.group),
    ];
    std::iter::once(process.state).chain(marks.iter().filter(|(_, set)| *set).map(|(mark, _)| *mark)).collect()
}

fn start(process: &Process, host: &Host) -> String {
    let local = |seconds: u64| i64::try_from(seconds).ok().and_then(local_time);
    start_text(local(begun(process, host)), local(host.now))
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

/// `[[days-]hours:]minutes:seconds`
fn elapsed_text(seconds: u64) -> String {
    if seconds < 3_600 { format!("{:02}:{:02}", seconds / 60, seconds % 60) } else { duration(seconds) }
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
    use super::super::Users;
    use super::super::process::tests::{STAT, STATUS};
    use super::*;

    fn host() -> Host {
        let users = Users::parse("u:x:1000:0::/:");
        Host { users, boot: 1_000_000, now: 1_000_000 + 120 + 10, memory: 400 }
    }

    #[track_caller]
    fn check(columns: &Columns, titles: &[&str], cells: &[&str]) {
        let process = Process::parse(71, STAT, STATUS, "sh\0-c\0x\0").unwrap();
        assert_eq!(columns.titles(), titles);
        let mut made = columns.cells(&process, &host());
        // What the clock on the wall said then depends on where this runs.
        if let Some(place) = titles.iter().position(|title| ["STIME", "START"].contains(title)) {
            made.remove(place);
        }
        assert_eq!(made, cells);
    }

    #[test]
    fn a_row_is_as_ps_prints_it() {
        check(
            &Columns::default(),
            &["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"],
            &["u", "71", "7", "30", "pts/1", "00:00:03", "sh -c x"],
        );
        check(
            &Columns::bsd(true),
            &["USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND"],
            &["u", "71", "30.0", "5.0", "8", "20", "pts/1", "Ss+", "0:03", "sh -c x"],
        );
        check(&Columns::short(), &["PID", "TTY", "TIME", "CMD"], &["71", "pts/1", "00:00:03", "a) b"]);
        let named = Columns::named("nlwp,ni,pgid,sid,etime,etimes,comm,egid,s").unwrap();
        check(
            &named,
            &["NLWP", "NI", "PGID", "SID", "ELAPSED", "ELAPSED", "COMMAND", "EGID", "S"],
            &["1", "0", "71", "71", "00:10", "10", "a) b", "6", "S"],
        );
        assert_eq!(Columns::named("pid,colour").unwrap_err(), "colour");
        assert_eq!(Columns::bsd(false).titles(), ["PID", "TTY", "STAT", "TIME", "COMMAND"]);
    }

    #[test]
    fn names_times_and_terminals() {
        assert_eq!((short("12345678"), short("123456789")), ("12345678".into(), "1234567+".into()));
        assert_eq!((duration(59), duration(90_061)), ("00:00:59".into(), "1-01:01:01".into()));
        assert_eq!((elapsed_text(61), elapsed_text(3_661)), ("01:01".into(), "01:01:01".into()));
        let names = [0x8803, 0x0401, 0x0440, 0x0501, 0].map(terminal_name);
        assert_eq!(names, ["pts/3", "tty1", "ttyS0", "console", "?"]);
        let time = |year, day_of_year| Some(LocalTime { year, month: 10, day: 25, day_of_year, hour: 9, minute: 5 });
        assert_eq!(start_text(time(2026, 3), time(2026, 3)), "09:05");
        assert_eq!(start_text(time(2026, 3), time(2026, 4)), "Nov25");
        assert_eq!(start_text(time(2025, 3), time(2026, 3)), "2025");
    }
}
