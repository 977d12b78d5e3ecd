// SPDX-License-Identifier: Apache-2.0
//! A systemd for tests: it owns systemd's name on a bus of its own (Debian's dbus-daemon, which checks every message),
//! makes cgroups and moves processes as systemd does, and remembers what it was asked for.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use cgroup::systemd::dbus::{Address, Bus, Kind, Message, Value};

/// How a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jobs {
    Succeed,
    Fail,
}

/// What was asked of it: the method and its arguments.
pub(crate) type Calls = Arc<Mutex<Vec<(String, Vec<Value>)>>>;

pub(crate) struct FakeSystemd {
    dir: tempfile::TempDir,
    daemon: Child,
    manager: Option<JoinHandle<()>>,
    pub(crate) calls: Calls,
}

const CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy></busconfig>"#;

impl FakeSystemd {
    pub(crate) fn start(jobs: Jobs) -> FakeSystemd {
        let dir = tempfile::Builder::new().prefix("corten-bus-").tempdir().unwrap();
        let socket = dir.path().join("bus");
        let config = dir.path().join("bus.conf");
        fs::write(&config, CONFIG.replace("SOCKET", &socket.to_string_lossy())).unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--nopidfile", "--print-address=1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is installed");
        // Its address is its word that it listens.
        let mut line = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = Address::from(socket.as_path());
        let mut bus = Bus::connect(&address).unwrap();
        let request = vec![Value::text("org.freedesktop.systemd1"), Value::Uint32(0)];
        bus.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName", request)
            .unwrap();
        let calls = Calls::default();
        let mut manager = Manager { bus, jobs, calls: Arc::clone(&calls), job: 0, made: Vec::new() };
        let manager = std::thread::spawn(move || manager.serve());
        FakeSystemd { dir, daemon, manager: Some(manager), calls }
    }

    /// For `DBUS_SYSTEM_BUS_ADDRESS`.
    pub(crate) fn address(&self) -> String {
        format!("unix:path={}", self.dir.path().join("bus").display())
    }

    /// The arguments of the last call of a method.
    #[track_caller]
    pub(crate) fn last(&self, method: &str) -> Vec<Value> {
        let calls = self.calls.lock().unwrap();
        let found = calls.iter().rev().find(|(name, _)| name == method);
        found.unwrap_or_else(|| panic!("{method} was not called: {calls:?}")).1.clone()
    }
}

impl Drop for FakeSystemd {
    fn drop(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
        // The connection's end ends the manager.
        self.manager.take().unwrap().join().unwrap();
    }
}

/// The value of a property among a method's arguments.
pub(crate) fn property(arguments: &[Value], name: &str) -> Option<Value> {
    let lists = arguments.iter().filter_map(|argument| match argument {
        Value::Array(_, items) => Some(items),
        _ => None,
    });
    lists.flatten().find_map(|item| match item {
        Value::Struct(pair) if pair.first().and_then(Value::as_text) == Some(name) => match pair.get(1) {
            Some(Value::Variant(value)) => Some((**value).clone()),
            _ => None,
        },
        _ => None,
    })
}

/// The hierarchies that a systemd manages: its own of v1 and those with accounting, or v2's.
fn hierarchies() -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    if top.join("cgroup.controllers").exists() {
        return vec![top.to_owned()];
    }
    ["systemd", "memory", "pids"].map(|name| top.join(name)).into_iter().filter(|path| path.exists()).collect()
}

/// `a-b.slice` is in `a.slice`.
fn slice_path(slice: &str) -> PathBuf {
    let parts: Vec<&str> = slice.trim_end_matches(".slice").split('-').collect();
    (1..=parts.len()).map(|count| format!("{}.slice", parts[..count].join("-"))).collect()
}

struct Manager {
    bus: Bus,
    jobs: Jobs,
    calls: Calls,
    job: u32,
    /// Units and the cgroups made for them, children first.
    made: Vec<(String, PathBuf)>,
}

impl Manager {
    fn serve(&mut self) {
        // Ends with the connection; half a minute without a call is no end.
        loop {
            match self.bus.receive("a call") {
                Ok(message) if message.kind == Kind::Call => self.answer(message),
                Ok(_) | Err(cgroup::systemd::dbus::BusError::Silent { .. }) => {}
                Err(_) => break,
            }
        }
        let made = std::mem::take(&mut self.made);
        made.iter().for_each(|(_, place)| drop(fs::remove_dir(place)));
    }

    fn answer(&mut self, call: Message) {
        let text = |index: usize| call.body.get(index).and_then(Value::as_text).unwrap_or_default().to_owned();
        self.calls.lock().unwrap().push((call.member.clone(), call.body.clone()));
        match call.member.as_str() {
            "Get" => match text(1).as_str() {
                "Version" => self.reply(&call, vec![Value::text("252.36-1~deb12u1").in_variant()]),
                "ControlGroup" => {
                    let path = self.made.iter().find(|(unit, _)| call.path.ends_with(&escaped(unit)));
                    let path = path.and_then(|(_, path)| path.strip_prefix(&hierarchies()[0]).ok());
                    let path = format!("/{}", path.map(|path| path.display().to_string()).unwrap_or_default());
                    self.reply(&call, vec![Value::text(path).in_variant()]);
                }
                other => self.refuse(&call, "org.freedesktop.DBus.Error.UnknownProperty", other),
            },
            "StartTransientUnit" => self.start(&call, &text(0)),
            "StopUnit" => self.stop(&call, &text(0)),
            "Subscribe" | "ResetFailedUnit" => self.reply(&call, Vec::new()),
            "SetUnitProperties" if self.made.iter().any(|(unit, _)| *unit == text(0)) => self.reply(&call, Vec::new()),
            "SetUnitProperties" => self.refuse(&call, "org.freedesktop.systemd1.NoSuchUnit", "no such unit"),
            other => self.refuse(&call, "org.freedesktop.DBus.Error.UnknownMethod", other),
        }
    }

    fn start(&mut self, call: &Message, unit: &str) {
        if self.made.iter().any(|(known, _)| known == unit) {
            return self.refuse(call, "org.freedesktop.systemd1.UnitExists", "it exists");
        }
        if self.jobs == Jobs::Fail {
            return self.finish(call, unit, "failed");
        }
        let slice = property(&call.body, "Slice").unwrap();
        let Some(Value::Array(_, pids)) = property(&call.body, "PIDs") else { panic!("no PIDs in {call:?}") };
        for top in hierarchies() {
            let slice = top.join(slice_path(slice.as_text().unwrap()));
            let scope = slice.join(unit);
            fs::create_dir_all(&scope).unwrap();
            for pid in &pids {
                let Value::Uint32(pid) = pid else { panic!("{pid:?} is no pid") };
                fs::write(scope.join("cgroup.procs"), pid.to_string()).unwrap();
            }
            self.made.insert(0, (String::new(), slice));
            self.made.insert(0, (unit.to_owned(), scope));
        }
        // The one that ControlGroup is read from is in the first hierarchy.
        self.made.sort_by_key(|(unit, path)| (unit.is_empty(), !path.starts_with(&hierarchies()[0])));
        self.finish(call, unit, "done");
    }

    fn stop(&mut self, call: &Message, unit: &str) {
        if !self.made.iter().any(|(known, _)| known == unit) {
            return self.refuse(call, "org.freedesktop.systemd1.NoSuchUnit", "not loaded");
        }
        self.made.retain(|(known, place)| {
            if known == unit {
                end_all(place);
                fs::remove_dir(place).unwrap();
            }
            known != unit
        });
        self.finish(call, unit, "done");
    }

    /// The signal first: systemd makes no promise about the order.
    fn finish(&mut self, call: &Message, unit: &str, result: &str) {
        self.job += 1;
        let job = Value::Path(format!("/org/freedesktop/systemd1/job/{}", self.job));
        let signal = Message {
            path: "/org/freedesktop/systemd1".into(),
            interface: "org.freedesktop.systemd1.Manager".into(),
            member: "JobRemoved".into(),
            body: vec![Value::Uint32(self.job), job.clone(), Value::text(unit), Value::text(result)],
            ..Message::new(Kind::Signal)
        };
        self.bus.send(signal).unwrap();
        self.reply(call, vec![job]);
    }

    fn reply(&mut self, call: &Message, body: Vec<Value>) {
        let (reply_serial, destination) = (call.serial, call.sender.clone());
        let reply = Message { reply_serial, destination, body, ..Message::new(Kind::Return) };
        self.bus.send(reply).unwrap();
    }

    fn refuse(&mut self, call: &Message, name: &str, why: &str) {
        let (reply_serial, destination) = (call.serial, call.sender.clone());
        let (error_name, body) = (name.to_owned(), vec![Value::text(why)]);
        let reply = Message { reply_serial, destination, error_name, body, ..Message::new(Kind::Error) };
        self.bus.send(reply).unwrap();
    }
}

/// As systemd does at first: with SIGTERM, to which whoever is left must listen. The real one would wait for 90 seconds.
fn end_all(place: &Path) {
    for _ in 0..500 {
        let inside = fs::read_to_string(place.join("cgroup.procs")).unwrap();
        if inside.is_empty() {
            return;
        }
        for pid in inside.lines() {
            // It may have ended meanwhile.
            let _ended = Command::new("kill").args(["-TERM", pid]).stderr(Stdio::null()).status().unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{} does not get empty", place.display());
}

fn escaped(unit: &str) -> String {
    let one = |c: char| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("_{:02x}", c as u32) };
    unit.chars().map(one).collect()
}
