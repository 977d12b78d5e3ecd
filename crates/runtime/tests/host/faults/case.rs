// SPDX-License-Identifier: Apache-2.0
//! A command of which every call is made to fail in turn, and what must be true after each.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use runtime::plan::{Inputs, plan_exec};

use super::{EIO, bundles, judge};
use crate::bundle::{Bundle, Ran};
use crate::tracer::{At, Call, Fault, KILLED, Traced, Who, trace};

/// Whether it is a hook's failure that is told.
fn hit_in_hook(err: &str) -> bool {
    err.contains("corten oci: error running ") && err.contains(" hook #")
}

/// A command that starts a process, and what it does.
pub(super) struct Case {
    pub(super) bundle: Bundle,
    pub(super) args: Vec<String>,
    /// The operations of its plan, as printed, in order.
    pub(super) operations: Vec<String>,
    /// What the process prints.
    pub(super) says: &'static str,
    /// Which of the processes that are made is the container's.
    pub(super) container: usize,
    /// The container was running before, and is to run on.
    pub(super) joins: bool,
    /// Where terminals, or listeners of filters, are sent; nobody takes them.
    pub(super) socket: Option<UnixListener>,
    /// Another container, whose network it uses.
    pub(super) _neighbour: Option<Bundle>,
}

/// What a run of a case gave.
pub(super) struct Outcome {
    pub(super) traced: Traced,
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Case {
    pub(super) fn new(bundle: Bundle, args: &[&str], says: &'static str) -> Case {
        let args: Vec<String> = args.iter().map(|arg| (*arg).into()).chain([bundle.id.clone()]).collect();
        let mut dry: Vec<&str> = args.iter().map(String::as_str).collect();
        dry.insert(1, "--dry-run");
        let printed = bundle.oci(&dry).ok();
        const STAGE: &str = "in an intermediate process: ";
        let (mut operations, mut begun) = (vec!["begin".to_owned()], false);
        for line in printed.lines() {
            match line.strip_prefix(STAGE) {
                Some(operation) => operations.push(operation.to_owned()),
                None if begun => operations.push(line.to_owned()),
                None => {}
            }
            begun |= line.starts_with("clone ") || line.starts_with(STAGE);
        }
        Case { bundle, args, operations, says, container: 0, joins: false, socket: None, _neighbour: None }
    }

    /// Another process in a running container.
    pub(super) fn exec() -> Case {
        let bundle = bundles::running();
        let words = ["exec", "--user", "1000:1000", "--cwd", "/tmp", &bundle.id, "echo", bundles::SAID.trim_end()];
        let args = words.map(String::from).to_vec();
        let mut process = bundle.config["process"].clone();
        process["user"] = serde_json::json!({ "uid": 1000, "gid": 1000 });
        process["cwd"] = serde_json::json!("/tmp");
        process["args"] = serde_json::json!(words[6..]);
        let (spec, process) = (bundle.config.clone(), serde_json::from_value(process).unwrap());
        let plan = plan_exec(&serde_json::from_value(spec).unwrap(), &process, &Inputs::default()).unwrap();
        let operations = plan.operations.iter().map(ToString::to_string);
        let operations = ["begin".into()].into_iter().chain(operations).collect();
        Case {
            bundle,
            args,
            operations,
            says: bundles::SAID,
            container: 0,
            joins: true,
            socket: None,
            _neighbour: None,
        }
    }

    pub(super) fn run(&self, faults: &[Fault]) -> Outcome {
        let command = self.bundle.command(&self.args.iter().map(String::as_str).collect::<Vec<_>>());
        let start = || {
            let output = self.bundle.command(&["start", &self.bundle.id]).output().unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
        };
        std::thread::scope(|scope| {
            let mut started = None;
            // In a thread of its own, whose child this thread does not wait for.
            let traced = trace(&command, faults, || started = Some(scope.spawn(start)));
            // It may have ended even before `create` did.
            let released = traced.code == Some(0) && self.args[0] == "create";
            let started = started.map(|started| started.join().unwrap()).or_else(|| released.then(start));
            let read = |name: &str| fs::read_to_string(self.bundle.path().join(name)).unwrap();
            let mut outcome = Outcome { code: traced.code, out: read("out"), err: read("err"), traced };
            if let Some(started) = &started {
                outcome.code = started.code;
                outcome.err.push_str(&started.err);
            }
            outcome
        })
    }

    /// As it was before.
    pub(super) fn clean(&self) {
        if !self.joins {
            self.bundle.oci(&["delete", "--force", &self.bundle.id]).ok();
            self.remove_parents();
        }
        if let Some(socket) = &self.socket {
            while socket.accept().is_ok() {}
        }
        fs::remove_file(self.bundle.path().join("pid")).unwrap_or_default();
    }

    /// What is left that should not be; `None` when nothing is.
    pub(super) fn left(&self) -> Option<String> {
        let bundle = &self.bundle;
        let stray = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("pid");
        if fs::read_dir(bundle.path()).unwrap().any(|entry| stray(entry.unwrap())) {
            return Some("a pid file is left".into());
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        if mounts.contains(&*bundle.path().to_string_lossy()) {
            return Some("a mount is left".into());
        }
        if self.joins {
            let lists =
                bundle.cgroups().into_iter().map(|group| fs::read_to_string(group.join("cgroup.procs")).unwrap());
            let pid = bundle.state()["pid"].to_string();
            let strangers = |list: &String| list.lines().any(|line| line != pid);
            return lists.into_iter().any(|list| strangers(&list)).then(|| "a process is left".into());
        }
        let state = bundle.path().join("state").join(&bundle.id);
        if state.exists() {
            return Some("the state directory is left".into());
        }
        self.left_groups().first().map(|path| format!("{} is left", path.display()))
    }

    /// The cgroups that exist, by their topmost directory.
    pub(super) fn left_groups(&self) -> Vec<PathBuf> {
        let path = self.bundle.config["linux"]["cgroupsPath"].as_str().unwrap();
        let top = path.split('/').nth(1).unwrap();
        let tops = fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path().join(top));
        tops.filter(|path| path.exists()).collect()
    }

    /// `delete` leaves those above the container's own cgroup: it does not know who made them.
    pub(super) fn remove_parents(&self) {
        for path in self.left_groups() {
            // One that is not empty stays, and is found.
            fs::remove_dir(path).unwrap_or_default();
        }
    }

    /// Whether `err` names an operation: a mount with its place in the configuration.
    pub(super) fn names(&self, err: &str, operation: &str) -> bool {
        let Some(rest) = err.lines().find_map(|line| line.strip_prefix("corten oci: ")) else { return false };
        let Some((number, rest)) = rest.strip_prefix("mounts[").and_then(|rest| rest.split_once("]: ")) else {
            return rest.starts_with(&format!("{operation}: "));
        };
        let mount = &self.bundle.config["mounts"][number.parse::<usize>().unwrap()];
        rest.starts_with(&format!("{operation}: ")) && operation.contains(mount["destination"].as_str().unwrap())
    }

    /// Whether what followed the failed call is as it should be.
    pub(super) fn judge(&self, who: Who, hit: &Call, outcome: &Outcome, last: &mut usize) -> Result<(), String> {
        let Outcome { traced, code, err, out } = outcome;
        if traced.stuck {
            return Err("somebody waited forever".into());
        }
        if *code == Some(0) {
            let reason = judge::tolerated(who, hit);
            if reason.is_none() {
                return Err("the error was swallowed".into());
            }
            if judge::warns(hit) && !(err.contains(&format!("{}(", hit.name)) && err.contains("= -1 EIO (")) {
                return Err("no warning".into());
            }
            let ran = traced.executed.contains(&self.container) && out == self.says;
            return if ran { Ok(()) } else { Err(format!("it said {out:?}")) };
        }
        let own = if self.joins { 255 } else { 1 };
        if !(*code == Some(own) || matches!(code, Some(126 | 127))) {
            return Err(format!("exit code {code:?}"));
        }
        if traced.code == Some(0) && judge::tolerated(who, hit).is_some() {
            // `create` could not know; `start` finds out, before or while it opens its side.
            let told = ["start needs one that is created", "ended before it executed its command"];
            return if told.iter().any(|told| err.contains(told)) { Ok(()) } else { Err("no refusal".into()) };
        }
        let answered = err.contains("= -1 EIO (") || who == Who::Launcher && err.contains("(os error 5)");
        if !answered {
            return Err("the kernel's answer is not told".into());
        }
        if who != Who::Launcher {
            if !judge::spoken(hit).iter().any(|name| err.contains(&format!("{name}("))) {
                return Err("the call is not told".into());
            }
            let position = (*last..self.operations.len()).find(|index| self.names(err, &self.operations[*index]));
            match position {
                Some(position) => *last = position,
                None if err.contains("corten oci: command \"") || err.contains("corten oci: clone CLONE_NEW") => {}
                None if hit_in_hook(err) => {}
                None => return Err(format!("no operation from {:?} on is told", self.operations[*last])),
            }
        }
        let state = self.bundle.path().join("state").join(&self.bundle.id);
        if (traced.executed.contains(&self.container) || traced.code == Some(0)) && !self.joins && state.exists() {
            // It ran and ended, and only removing what is left of it failed, or it failed to start after `create` had
            // done its part: it can be deleted.
            let force: &[&str] = if state.join("state.json").exists() { &[] } else { &["--force"] };
            self.bundle.oci(&[&["delete"], force, &[&self.bundle.id]].concat()).ok();
            fs::remove_file(self.bundle.path().join("pid")).unwrap_or_default();
            self.remove_parents();
        }
        self.left().map_or(Ok(()), Err)
    }

    /// The calls of a run without a fault: of the second, because the first makes some directories that stay.
    pub(super) fn calls(&self) -> Traced {
        self.run(&[]);
        self.clean();
        let clean = self.run(&[]);
        assert_eq!((clean.code, clean.out.as_str()), (Some(0), self.says), "{}", clean.err);
        assert!(clean.traced.executed.contains(&self.container) && !clean.traced.stuck, "{}", clean.err);
        self.clean();
        clean.traced
    }

    /// Runs once for each call of `who`, which fails.
    pub(super) fn every_call_fails(&self, who: Who) {
        let clean = self.calls();
        let calls = clean.calls(who);
        assert!(calls.len() > 10, "only {} calls were seen", calls.len());
        let mut last = 0;
        let (mut wrong, mut missed) = (Vec::new(), 0);
        for (index, call) in calls.iter().enumerate().filter(|(_, call)| judge::category(call).is_none()) {
            // By its name: how often a process that waits is told in vain changes from run to run.
            let nth = calls[..index].iter().filter(|earlier| earlier.name == call.name).count();
            let outcome = self.run(&[Fault { who, at: At::Named(call.name, nth), errno: EIO }]);
            let waits = who == Who::Launcher || who == Who::Made(self.container) && self.socket.is_some();
            assert!(waits || outcome.traced.hit.is_some(), "a process that waits for nobody makes its calls in order");
            // Of calls whose number is not the same in each run, an earlier or a later one may have been hit: that of
            // another operation.
            let mut any = 0;
            let number_varies = judge::waits(call)
                || calls.iter().any(|other| other.name == call.name && judge::reads_what_changes(other));
            let from = if number_varies { &mut any } else { &mut last };
            if let Some(hit) = &outcome.traced.hit
                && let Err(why) = self.judge(who, hit, &outcome, from)
            {
                let Call { name, arguments, path } = hit;
                wrong.push(format!("{index}: {name}({arguments:x?}) {path:?}: {why}\n{}", outcome.err));
            }
            missed += usize::from(outcome.traced.hit.is_none());
            self.clean();
        }
        assert!(missed < 5, "{missed} of {} calls were not made again", calls.len());
        assert!(wrong.is_empty(), "{} of {} calls:\n{}", wrong.len(), calls.len(), wrong.join("\n"));
    }

    /// Runs once for each call of `who`, which is killed there.
    pub(super) fn killed_anywhere(&self, who: Who) {
        let clean = self.calls();
        let calls = clean.calls(who);
        let container = who == Who::Made(self.container);
        // A container's: execve comes next, and what happens then happens to the command. A stage's: its sibling is made.
        let last_word = if container { "\"executing\"" } else { "{\"ask\":{\"adopt\"" };
        let (mut wrong, mut missed) = (Vec::new(), 0);
        for (index, call) in calls.iter().enumerate().filter(|(_, call)| !judge::is_one_of_many(call)) {
            let nth = calls[..index].iter().filter(|earlier| earlier.name == call.name).count();
            let outcome = self.run(&[Fault { who, at: At::Named(call.name, nth), errno: KILLED }]);
            let Outcome { traced, code, err, out } = &outcome;
            let Some((hit, before)) = traced.calls(who).split_last().filter(|_| traced.hit.is_some()) else {
                missed += 1;
                self.clean();
                continue;
            };
            let word = |call: &Call| call.path.as_ref().is_some_and(|text| text.starts_with(last_word));
            let said = before.iter().any(|call| call.name == "write" && word(call));
            let right = match code {
                _ if traced.stuck => false,
                Some(137) => container && said,
                Some(0) => !container && said && out == self.says,
                _ => !said && err.contains("ended before it executed its command (signal 9)"),
            };
            if matches!(code, Some(0 | 137)) {
                // As of any container that ran.
                fs::remove_file(self.bundle.path().join("pid")).unwrap_or_default();
            }
            let left = self.left();
            if !right || left.is_some() {
                wrong.push(format!("{index}: {hit:?}: {code:?}, {left:?}, stuck {}: {err}", traced.stuck));
            }
            self.clean();
        }
        assert!(missed < 5, "{missed} of {} calls were not made again", calls.len());
        assert!(wrong.is_empty(), "{} of {} calls:\n{}", wrong.len(), calls.len(), wrong.join("\n"));
    }
}
