// SPDX-License-Identifier: Apache-2.0
//! Every system call of a start is made to fail in turn. Each time the error names what was being done, the call with
//! its arguments and the kernel's answer, and nothing is left behind; or the container runs all the same, for a reason
//! that stands in `judge`.

mod bundles;
mod judge;

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use runtime::plan::{Inputs, plan_exec};

use crate::bundle::{Bundle, Ran};
use crate::tracer::{At, Call, Fault, Traced, Who, trace};

const EIO: i32 = 5;

/// The container's process, where no other is made before it.
const CHILD: Who = Who::Made(0);

/// Whether it is a hook's failure that is told.
fn hit_in_hook(err: &str) -> bool {
    err.contains("corten oci: hooks.") || err.contains("corten oci: run hooks.")
}

/// A command that starts a process, and what it does.
struct Case {
    bundle: Bundle,
    args: Vec<String>,
    /// The operations of its plan, as printed, in order.
    operations: Vec<String>,
    /// What the process prints.
    says: &'static str,
    /// Which of the processes that are made is the container's.
    container: usize,
    /// The container was running before, and is to run on.
    joins: bool,
    /// Where terminals, or listeners of filters, are sent; nobody takes them.
    socket: Option<UnixListener>,
    /// Another container, whose network it uses.
    _neighbour: Option<Bundle>,
}

/// What a run of a case gave.
struct Outcome {
    traced: Traced,
    code: Option<i32>,
    out: String,
    err: String,
}

impl Case {
    fn new(bundle: Bundle, args: &[&str], says: &'static str) -> Case {
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
    fn exec() -> Case {
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

    fn run(&self, faults: &[Fault]) -> Outcome {
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
    fn clean(&self) {
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
    fn left(&self) -> Option<String> {
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
    fn left_groups(&self) -> Vec<PathBuf> {
        let path = self.bundle.config["linux"]["cgroupsPath"].as_str().unwrap();
        let top = path.split('/').nth(1).unwrap();
        let tops = fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path().join(top));
        tops.filter(|path| path.exists()).collect()
    }

    /// `delete` leaves those above the container's own cgroup: it does not know who made them.
    fn remove_parents(&self) {
        for path in self.left_groups() {
            // One that is not empty stays, and is found.
            fs::remove_dir(path).unwrap_or_default();
        }
    }

    /// Whether `err` names an operation: a mount with its place in the configuration.
    fn names(&self, err: &str, operation: &str) -> bool {
        let Some(rest) = err.lines().find_map(|line| line.strip_prefix("corten oci: ")) else { return false };
        let Some((number, rest)) = rest.strip_prefix("mounts[").and_then(|rest| rest.split_once("]: ")) else {
            return rest.starts_with(&format!("{operation}: "));
        };
        let mount = &self.bundle.config["mounts"][number.parse::<usize>().unwrap()];
        rest.starts_with(&format!("{operation}: ")) && operation.contains(mount["destination"].as_str().unwrap())
    }

    /// Whether what followed the failed call is as it should be.
    fn judge(&self, who: Who, hit: &Call, outcome: &Outcome, last: &mut usize) -> Result<(), String> {
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
    fn calls(&self) -> Traced {
        self.run(&[]);
        self.clean();
        let clean = self.run(&[]);
        assert_eq!((clean.code, clean.out.as_str()), (Some(0), self.says), "{}", clean.err);
        assert!(clean.traced.executed.contains(&self.container) && !clean.traced.stuck, "{}", clean.err);
        self.clean();
        clean.traced
    }

    /// Runs once for each call of `who`, which fails.
    fn every_call_fails(&self, who: Who) {
        let clean = self.calls();
        let calls = clean.calls(who);
        assert!(calls.len() > 10, "only {} calls were seen", calls.len());
        let mut last = 0;
        let mut wrong = Vec::new();
        for (index, call) in calls.iter().enumerate().filter(|(_, call)| judge::category(call).is_none()) {
            // By its name: how often a process that waits is told in vain changes from run to run.
            let nth = calls[..index].iter().filter(|earlier| earlier.name == call.name).count();
            let outcome = self.run(&[Fault { who, at: At::Named(call.name, nth), errno: EIO }]);
            let waits = who == Who::Launcher || who == Who::Made(self.container) && self.socket.is_some();
            assert!(waits || outcome.traced.hit.is_some(), "a process that waits for nobody makes its calls in order");
            let Some(hit) = &outcome.traced.hit else {
                assert_eq!(outcome.code, Some(0), "{index}: {call:?} was not made: {}", outcome.err);
                self.clean();
                continue;
            };
            if judge::category(hit).is_some() {
                assert!(waits, "a process that waits for nobody makes its calls in order");
            } else if let Err(why) = self.judge(who, hit, &outcome, &mut last) {
                wrong.push(format!(
                    "{index}: {}({:x?}) {:?}: {why}\n{}",
                    hit.name, hit.arguments, hit.path, outcome.err
                ));
            }
            self.clean();
        }
        assert!(wrong.is_empty(), "{} of {} calls:\n{}", wrong.len(), calls.len(), wrong.join("\n"));
    }
}

#[test]
fn every_call_of_a_containers_process() {
    Case::new(bundles::full(), &["run", "--pid-file", "pid"], bundles::SAID).every_call_fails(CHILD);
}

#[test]
fn every_call_of_a_launcher() {
    Case::new(bundles::full(), &["run", "--pid-file", "pid"], bundles::SAID).every_call_fails(Who::Launcher);
}

fn listen(bundle: &Bundle) -> UnixListener {
    let socket = UnixListener::bind(bundle.path().join("socket")).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn with_terminal() -> Case {
    let neighbour = bundles::running();
    let bundle = bundles::terminal(&neighbour);
    let socket = listen(&bundle);
    let args = ["create", "--console-socket", "socket", "--pid-file", "pid", "--no-pivot"];
    Case { socket: Some(socket), _neighbour: Some(neighbour), ..Case::new(bundle, &args, "") }
}

#[test]
fn every_call_of_a_process_that_waits_and_has_a_terminal() {
    with_terminal().every_call_fails(CHILD);
}

#[test]
fn every_call_of_a_launcher_that_does_not_wait() {
    with_terminal().every_call_fails(Who::Launcher);
}

/// A container for which other processes are made: one that holds the ids of a mount, the stage, the container's, hooks.
fn with_helpers() -> Case {
    let bundle = bundles::all_namespaces();
    let socket = listen(&bundle);
    let case = Case::new(bundle, &["run", "--pid-file", "pid"], bundles::SAID);
    Case { socket: Some(socket), container: 2, ..case }
}

#[test]
fn every_call_of_a_stage() {
    with_helpers().every_call_fails(Who::Made(1));
}

#[test]
fn every_call_of_a_process_that_a_stage_made() {
    with_helpers().every_call_fails(Who::Made(2));
}

#[test]
fn every_call_of_a_launcher_that_is_asked() {
    with_helpers().every_call_fails(Who::Launcher);
}

#[test]
fn every_call_of_hooks() {
    let case = with_helpers();
    for hook in 3..6 {
        case.every_call_fails(Who::Made(hook));
    }
}

#[test]
fn every_call_of_a_process_that_joins() {
    Case::exec().every_call_fails(CHILD);
}

#[test]
fn every_call_of_a_launcher_that_joins() {
    Case::exec().every_call_fails(Who::Launcher);
}

/// The kernel's answer for a capability that it does not know, for one that it must know: it would stay.
#[test]
fn a_capability_that_cannot_be_dropped_is_an_error() {
    let case = Case::new(bundles::full(), &["run"], bundles::SAID);
    let drop = |call: &Call| call.name == "prctl" && call.arguments[0] == 24;
    let index = case.calls().made[0].iter().position(drop).unwrap();
    let outcome = case.run(&[Fault { who: CHILD, at: At::Index(index), errno: nix::libc::EINVAL }]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.err);
    assert!(outcome.err.contains("bounding set 0x421: prctl(PR_CAPBSET_DROP, 1) = -1 EINVAL"), "{}", outcome.err);
    case.bundle.left_nothing();
}

/// Where there is another way, or doing without: told as a warning, and the container runs.
#[test]
fn what_can_be_done_without() {
    let case = Case::new(bundles::full(), &["run"], bundles::SAID);
    let calls = &case.calls().made[0];
    let cpus = "the CPU affinity stays as it is: sched_setaffinity(0, all CPUs) = -1 EPERM (";
    for (name, errno, warning) in [
        ("keyctl", nix::libc::ENOSYS, ""),
        ("sched_setaffinity", nix::libc::EPERM, cpus),
        ("prlimit64", nix::libc::EPERM, "RLIMIT_NOFILE is not raised: prlimit64("),
    ] {
        let index = calls.iter().position(|call| call.name == name).unwrap();
        let outcome = case.run(&[Fault { who: CHILD, at: At::Index(index), errno }]);
        assert_eq!((outcome.code, outcome.out.as_str()), (Some(0), bundles::SAID), "{name}: {}", outcome.err);
        assert_eq!(outcome.traced.hit.map(|call| call.name), Some(name));
        assert!(outcome.err.contains(warning), "{name}: {}", outcome.err);
        assert_eq!(warning.is_empty(), outcome.err.is_empty(), "{name}: {}", outcome.err);
    }
    let score = calls.iter().position(|call| call.path.as_deref() == Some("/proc/self/oom_score_adj")).unwrap();
    let outcome = case.run(&[Fault { who: CHILD, at: At::Index(score), errno: nix::libc::EACCES }]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    assert!(outcome.err.contains("the OOM score stays as it is: openat("), "{}", outcome.err);
    case.bundle.left_nothing();
}

/// What was made before a failure is taken back in the opposite order.
#[test]
fn what_was_made_is_taken_back_last_first() {
    let case = Case::new(bundles::full(), &["run"], bundles::SAID);
    let calls = case.calls().launcher;
    let index = calls.iter().position(|call| call.name == "clone3").unwrap();
    let outcome = case.run(&[Fault { who: Who::Launcher, at: At::Index(index), errno: EIO }]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.err);
    let groups = |name: &str, calls: &[Call]| -> Vec<(u64, Option<String>)> {
        let ours = |call: &&Call| call.path.as_deref().is_some_and(|path| path.starts_with("corten-rt-"));
        let found = calls.iter().filter(|call| call.name == name).filter(ours);
        found.map(|call| (call.arguments[0], call.path.clone())).collect()
    };
    // Parents: of those that failed for want of a parent, only the second attempt made something.
    let parent = |(_, path): &(u64, Option<String>)| path.as_ref().is_some_and(|path| !path.contains('/'));
    let made: Vec<_> = groups("mkdirat", &outcome.traced.launcher[..index]).into_iter().filter(parent).collect();
    let removed: Vec<_> = groups("unlinkat", &outcome.traced.launcher[index..]).into_iter().filter(parent).collect();
    assert!(made.len() > 1);
    assert_eq!(removed, made.into_iter().rev().collect::<Vec<_>>());
    case.bundle.left_nothing();
}

/// A failure while something is taken back is told beside the first one, and the rest is taken back all the same.
#[test]
fn a_failure_of_taking_back_is_told_beside_the_first() {
    let case = Case::new(bundles::full(), &["run"], bundles::SAID);
    let clean = case.calls();
    let clone = clean.launcher.iter().position(|call| call.name == "clone3").unwrap();
    let mkdir = clean.launcher.iter().rposition(|call| call.name == "mkdirat").unwrap();
    let hostname = clean.made[0].iter().position(|call| call.name == "sethostname").unwrap();
    for (who, index, told) in [
        (Who::Launcher, clone, "clone3("),
        (Who::Launcher, mkdir, "mkdir cgroup"),
        (CHILD, hostname, "sethostname(\"corten\") = -1 EIO"),
    ] {
        let first = Fault { who, at: At::Index(index), errno: EIO };
        let once = case.run(&[first]).traced;
        // In the second run a removal fails as well: the first one after that.
        let from = if who == Who::Launcher { index } else { clone };
        let removal = once.launcher.iter().skip(from).position(|call| call.name == "unlinkat").unwrap() + from;
        let kept = once.launcher[removal].clone();
        let outcome = case.run(&[first, Fault { who: Who::Launcher, at: At::Index(removal), errno: EIO }]);
        assert_eq!(outcome.code, Some(1), "{}", outcome.err);
        let (before, after) = outcome.err.split_once("; and it could not be undone: ").unwrap();
        assert!(before.contains(told), "{}", outcome.err);
        assert!(after.contains("rmdir cgroup"), "{}", outcome.err);
        // One directory stayed, with those above it; not those of the other hierarchies.
        let left: Vec<_> = case.left_groups();
        assert_eq!(left.len(), 1, "{left:?} after {kept:?} failed");
        // The next start replaces it.
        assert_eq!(case.run(&[]).code, Some(0));
        case.clean();
        case.bundle.left_nothing();
    }
}

/// A launcher that fails once its process runs ends it: nobody would know of one that runs on.
#[test]
fn a_process_that_nobody_attends_is_ended() {
    let launcher = |name, nth| [Fault { who: Who::Launcher, at: At::Named(name, nth), errno: EIO }];
    let bundle = bundles::full().set("/process/args", serde_json::json!(["sleep", "1000"]));
    let run = Case::new(bundle, &["run", "--pid-file", "pid"], "");
    let outcome = run.run(&launcher("ppoll", 0));
    assert!(outcome.err.contains("poll(signals, process, terminal) = -1 EIO"), "{}", outcome.err);
    assert_eq!((outcome.code, run.left()), (Some(1), None));
    let exec = Case::exec();
    let words = [&exec.args[..exec.args.len() - 2], &["sleep".into(), "1000".into()]].concat();
    let exec = Case { args: words, ..exec };
    for (fault, told) in [(launcher("ppoll", 0), "poll("), (launcher("setns", 1), "setns(")] {
        let outcome = exec.run(&fault);
        assert!(outcome.err.contains(told), "{}", outcome.err);
        assert_eq!((outcome.code, exec.left()), (Some(255), None));
    }
}
