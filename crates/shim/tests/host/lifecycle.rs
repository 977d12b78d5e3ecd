// SPDX-License-Identifier: Apache-2.0
//! Starts, ends, and the deaths of everybody involved.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use errors::Kind as ErrorKind;
use rustix::process::{Pid, Signal, kill_process};
use shim::{Ahead, ProcessRef, Request, ShimFds, ShimRequest, await_start, connect, read_exit, read_state};

use crate::harness::{
    Client, PATIENCE, World, assert_nothing_left, cgroup_path, eventually, program, remove_cgroup, wait_end,
};
use crate::streams::own_kib;

fn kill9(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn exit_codes_and_signals_are_told() {
    let world = World::new();
    for (script, code, signal) in [("exit 0", 0, None), ("exit 255", 255, None), ("sleep 1000", 143, Some(15))] {
        let container = world.start(world.request(script));
        if signal.is_some() {
            // The first process of a pid namespace ignores what it has no handler for, unless it is SIGKILL.
            std::thread::sleep(Duration::from_millis(50));
            container.kill(9);
            let exit = container.finish();
            assert_eq!((exit.code, exit.signal), (137, Some(9)));
            continue;
        }
        let exit = container.finish();
        assert_eq!((exit.code, exit.signal), (code, signal));
    }
}

#[test]
fn the_container_starts_with_clean_signals_and_descriptors() {
    let world = World::new();
    let container = world
        .start(world.request("grep -E '^Sig(Blk|Ign)' /proc/self/status; for f in /proc/self/fd/*; do echo $f; done"));
    let dir = container.dir.clone();
    container.finish();
    let log: Vec<_> = crate::harness::log_of(&dir).into_iter().map(|(_, line)| line).collect();
    assert!(log.contains(&"SigBlk:\t0000000000000000\n".to_owned()), "{log:?}");
    // Signals 32 and 33 are the C library's own: its posix_spawn ignores them in every child, and nobody can change it.
    let ignored = log.iter().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    assert_eq!(u64::from_str_radix(ignored.trim(), 16).unwrap() & !0x1_8000_0000, 0, "{log:?}");
    // The shell has the directory itself open while it lists it.
    assert!(log.iter().filter(|line| line.starts_with("/proc/self/fd/")).count() <= 4, "{log:?}");
}

#[test]
fn a_launch_that_fails_is_reported_and_leaves_nothing() {
    let world = World::new();
    let mut request = world.request("true");
    request.spec.process_mut().as_mut().unwrap().set_args(Some(vec!["/no/such/program".into()]));
    assert_eq!(world.fail(request).kind, ErrorKind::CommandNotFound);

    let mut request = world.request("true");
    request.log = Some(shim::LogConfig::new("/no/such/directory/log"));
    assert_eq!(world.fail(request).kind, ErrorKind::NotFound);

    let mut request = world.request("true");
    request.spec.root_mut().as_mut().unwrap().set_path("/no/such/root".into());
    let dir = request.dir.clone();
    world.fail(request);
    assert_eq!(std::fs::read_dir(&dir).unwrap().filter(|e| e.as_ref().unwrap().file_name() != "log").count(), 0);
}

#[test]
fn a_failed_launch_is_told_to_the_attached_client_too() {
    let world = World::new();
    let mut request = world.request("true");
    request.spec.process_mut().as_mut().unwrap().set_args(Some(vec!["/no/such/program".into()]));
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let fds = ShimFds { attach: Some(theirs.into()), ..ShimFds::default() };
    let handle = world.zygote.spawn(None, &request, fds).unwrap();
    assert_eq!(Client::of(ours).failed().kind, ErrorKind::CommandNotFound);
    assert_eq!(Client::of(handle.control).failed().kind, ErrorKind::CommandNotFound);
    wait_end(&handle.pidfd);
    assert_nothing_left(&request);
}

#[test]
fn killing_the_shim_ends_the_container() {
    let world = World::new();
    let other = world.start(world.request("sleep 1000"));
    let container = world.start(world.request("sleep 1000"));
    // At once, before the shim has written down which process it is.
    let (pid, start_time) = (container.started.pid, container.started.start_time);
    let init = ProcessRef { pid, start_time }.open().unwrap().expect("the container runs");
    let state = read_state(&container.dir).unwrap().unwrap();
    assert_eq!(state.shim.pid, container.pid);
    kill9(container.pid);
    wait_end(&init);
    wait_end(&container.pidfd);
    eventually("the zygote reaps it", || state.shim.open().unwrap().is_none());
    assert!(read_exit(&container.dir).unwrap().is_none());
    // What is left is what the daemon's next look removes; the directory says which group it was.
    remove_cgroup(&container.request);
    assert!(other.control.stream.set_nonblocking(true).is_ok());
    other.control.stream.set_nonblocking(false).unwrap();
    other.kill(9);
    assert_eq!(other.finish().code, 137);
}

#[test]
fn a_shim_may_be_cloned_ahead_and_may_die_before_it_is_wanted() {
    let world = World::new();
    let waiting = world.zygote.prepare(&Ahead::default()).unwrap();
    let pid = waiting.pid();
    let container = world.start_by(Some(waiting), world.request("exit 3"), ShimFds::default());
    assert_eq!(container.pid, pid);
    assert_eq!(read_state(&container.request.dir).unwrap().unwrap().shim.pid, pid);
    assert_eq!(container.finish().code, 3);

    let other = world.zygote.prepare(&Ahead::default()).unwrap();
    let process = ProcessRef::of(other.pid()).unwrap();
    kill9(other.pid());
    eventually("it has ended", || process.open().unwrap().is_none_or(|fd| is_ended(&fd)));
    let container = world.start_by(Some(other), world.request("exit 4"), ShimFds::default());
    assert_eq!(container.finish().code, 4, "another is cloned in its place");

    let last = world.zygote.prepare(&Ahead::default()).unwrap();
    let process = ProcessRef::of(last.pid()).unwrap();
    drop(last);
    eventually("who waits ends with the daemon", || process.open().unwrap().is_none_or(|fd| is_ended(&fd)));
}

#[test]
fn a_cgroup_made_ahead_is_the_containers_or_nobodys() {
    let world = World::new();
    let ahead = |request: &ShimRequest| Ahead { cgroup: Some(cgroup_path(request).to_string()) };
    let exists = |request: &ShimRequest| cgroup::Host::probe().unwrap().open(&cgroup_path(request)).is_ok();

    // The container's: with its limits, as if it had been made by the launch.
    let mut request = world.request("cat /proc/self/cgroup; exec sleep 1000");
    let pids = serde_json::from_value(serde_json::json!({ "pids": { "limit": 77 } })).unwrap();
    request.spec.linux_mut().as_mut().unwrap().set_resources(Some(pids));
    let waiting = world.zygote.prepare(&ahead(&request)).unwrap();
    eventually("it is made before anybody asks", || exists(&request));
    let container = world.start_by(Some(waiting), request, ShimFds::default());
    let group = cgroup::Host::probe().unwrap().open(&cgroup_path(&container.request)).unwrap();
    assert_eq!(group.stats().unwrap().pids_limit, Some(77));
    let log = container.request.dir.join("log");
    let (finished, path) = (container.request.clone(), cgroup_path(&container.request).to_string());
    let hierarchies = std::fs::read_to_string("/proc/self/cgroup").unwrap().lines().count();
    let told = || std::fs::read_to_string(&log).unwrap();
    eventually("it has told", || told().lines().count() == hierarchies);
    assert!(told().lines().all(|line| line.contains(&path)), "it is in it in every hierarchy: {}", told());
    container.kill(9);
    assert_eq!(container.finish().code, 137);
    assert!(!exists(&finished));

    // Not where this container's is to be: removed, and another made.
    let (asked, other) = (world.request("exit 6"), world.request("true"));
    let waiting = world.zygote.prepare(&ahead(&other)).unwrap();
    eventually("it is made before anybody asks", || exists(&other));
    let container = world.start_by(Some(waiting), asked, ShimFds::default());
    assert_eq!(container.finish().code, 6);
    assert!(!exists(&other));

    // Not wanted at all.
    let waiting = world.zygote.prepare(&ahead(&other)).unwrap();
    eventually("it is made before anybody asks", || exists(&other));
    assert!(waiting.end(Duration::from_secs(20)));
    assert!(!exists(&other));

    // Removed by somebody in the meantime.
    let request = world.request("exit 7");
    let waiting = world.zygote.prepare(&ahead(&request)).unwrap();
    eventually("it is made before anybody asks", || exists(&request));
    cgroup::Host::probe().unwrap().open(&cgroup_path(&request)).unwrap().remove().unwrap();
    let container = world.start_by(Some(waiting), request, ShimFds::default());
    assert_eq!(container.finish().code, 7);

    // A launch that fails.
    let mut request = world.request("true");
    request.spec.root_mut().as_mut().unwrap().set_path("/no/such/root".into());
    let waiting = world.zygote.prepare(&ahead(&request)).unwrap();
    eventually("it is made before anybody asks", || exists(&request));
    let handle = world.zygote.spawn(Some(waiting), &request, ShimFds::default()).unwrap();
    Client::of(handle.control).failed();
    wait_end(&handle.pidfd);
    assert!(!exists(&request));
}

#[test]
fn a_new_daemon_hears_of_a_process_from_its_shim_and_later_from_the_directory() {
    let world = World::new();
    let request = world.request("sleep 1000");
    let handle = world.zygote.spawn(None, &request, ShimFds::default()).unwrap();
    // As soon as there is a state there is a socket: who comes while the container is being started waits.
    eventually("the shim has spoken", || read_state(&request.dir).unwrap().is_some());
    let watch = connect(&request.dir, &Request::Watch).unwrap();
    let told = await_start(&watch, PATIENCE).unwrap();
    let started = Client::of(handle.control).started();
    assert_eq!((told.pid, told.start_time, &told.at), (started.pid, started.start_time, &started.at));
    let process = ProcessRef { pid: told.pid, start_time: told.start_time };
    eventually("it is written down", || read_state(&request.dir).unwrap().is_some_and(|state| state.init.is_some()));
    let state = read_state(&request.dir).unwrap().unwrap();
    assert_eq!((state.init, state.started), (Some(process), Some(told.at)));
    kill9(told.pid);
    wait_end(&handle.pidfd);
    assert_nothing_left(&request);
    assert!(matches!(connect(&request.dir, &Request::Watch), Err(shim::ShimError::NotRunning { .. })));
}

#[test]
fn what_a_container_had_is_taken_down_after_its_end_is_told() {
    let world = World::new();
    let container = world.start(world.request("sleep 1000"));
    let open: Vec<_> = std::fs::read_dir(format!("/proc/{}/fd", container.pid)).unwrap().collect();
    let held: Vec<_> = open.into_iter().filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok()).collect();
    // Or the last process would take it down in its own end, which everybody waits for.
    for name in ["mnt", "ipc"] {
        let namespace = std::fs::read_link(format!("/proc/{}/ns/{name}", container.started.pid)).unwrap();
        assert!(held.contains(&namespace), "{namespace:?} of {held:?}");
    }
    container.kill(9);
    assert_eq!(container.finish().code, 137);
}

#[test]
fn signals_that_happen_by_accident_do_not_end_a_shim() {
    let world = World::new();
    let container = world.start(world.request("sleep 1000"));
    for signal in [Signal::HUP, Signal::INT, Signal::TERM, Signal::PIPE, Signal::QUIT, Signal::USR1] {
        kill_process(Pid::from_raw(container.pid).unwrap(), signal).unwrap();
    }
    let mut watch = container.connect(&Request::Watch);
    watch.started();
    container.kill(9);
    container.finish();
}

#[test]
fn the_daemon_and_the_zygote_die_and_the_container_logs_on() {
    let world = World::new();
    let request = world.request("i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; sleep 0.01; done; exit 9");
    let mut daemon = Command::new(program()).arg("daemon").stdin(Stdio::piped()).spawn().unwrap();
    serde_json::to_writer(daemon.stdin.take().unwrap(), &request).unwrap();
    eventually("the container runs", || read_state(&request.dir).unwrap().is_some_and(|state| state.init.is_some()));
    let state = read_state(&request.dir).unwrap().unwrap();
    let zygote = parent_of(state.shim.pid);
    assert_eq!(parent_of(zygote), daemon.id() as i32);
    let zygote = ProcessRef::of(zygote).unwrap();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    eventually("the zygote ends with its daemon", || zygote.open().unwrap().is_none_or(|fd| is_ended(&fd)));
    // The next daemon adopts the shim.
    let shim = state.shim.open().unwrap().expect("the shim lives on");
    let mut watch = Client::of(connect(&request.dir, &Request::Watch).unwrap());
    assert_eq!(watch.started().pid, state.init.unwrap().pid);
    assert_eq!(watch.exited().code, 9);
    wait_end(&shim);
    let lines: Vec<_> = crate::harness::log_of(&request.dir).into_iter().map(|(_, line)| line).collect();
    let expected: Vec<_> = (1..=300).map(|n| format!("line {n}\n")).collect();
    assert_eq!(lines, expected, "every line, in order");
    assert_nothing_left(&request);
}

#[test]
fn an_exit_is_recorded_while_nobody_listens() {
    let world = World::new();
    let container = world.start(world.request("sleep 0.2; exit 33"));
    let (dir, request, pidfd) = (container.dir, container.request, container.pidfd);
    drop(container.control);
    drop(world.zygote);
    wait_end(&pidfd);
    let exit = read_exit(&dir).unwrap().unwrap();
    assert_eq!(exit.code, 33);
    assert!(exit.at.ends_with('Z'));
    assert_eq!(read_state(&dir).unwrap().unwrap().cgroup, None);
    assert_nothing_left(&request);
}

#[test]
fn a_zygote_that_dies_is_started_again() {
    let world = World::new();
    let first = world.start(world.request("sleep 1000"));
    kill9(parent_of(first.pid));
    let second = world.start(world.request("exit 4"));
    assert_eq!(second.finish().code, 4);
    first.kill(9);
    first.finish();
}

#[test]
fn processes_of_a_shared_pid_namespace_end_with_the_container() {
    let world = World::new();
    let mut request = world.request("sleep 1000 & echo started; exit 2");
    let linux = request.spec.linux_mut().as_mut().unwrap();
    let namespaces = linux.namespaces().clone().unwrap();
    let kept = namespaces.into_iter().filter(|n| n.typ() != oci::runtime_spec::LinuxNamespaceType::Pid).collect();
    linux.set_namespaces(Some(kept));
    let started = Instant::now();
    let container = world.start(request);
    assert_eq!(container.finish().code, 2);
    assert!(started.elapsed() < PATIENCE);
}

#[test]
fn an_oom_kill_is_told() {
    let world = World::new();
    let mut request = world.request("exec dd if=/dev/zero of=/dev/null bs=200M count=1");
    let resources = serde_json::json!({"memory": {"limit": 32 << 20}});
    let resources = serde_json::from_value(resources).unwrap();
    request.spec.linux_mut().as_mut().unwrap().set_resources(Some(resources));
    let exit = world.start(request).finish();
    assert_eq!((exit.code, exit.oom_killed), (137, true));
}

#[test]
fn a_root_and_a_network_namespace_may_come_as_descriptors() {
    use rustix::mount::{OpenTreeFlags, open_tree};
    let world = World::new();
    let mut request = world.request("read line < /etc/made-for-this; echo $line; exec true");
    let root = world.dir.path().join("root");
    std::fs::write(root.join("etc/made-for-this"), "from the descriptor\n").unwrap();
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let rootfs = Some(open_tree(rustix::fs::CWD, &root, flags).unwrap());
    request.spec.root_mut().as_mut().unwrap().set_path("/no/such/root".into());
    let linux = request.spec.linux_mut().as_mut().unwrap();
    let mut namespaces = linux.namespaces().clone().unwrap();
    namespaces.push(serde_json::from_value(serde_json::json!({"type": "network"})).unwrap());
    linux.set_namespaces(Some(namespaces));
    let netns = std::thread::spawn(|| {
        sys::namespace::unshare(sys::process::CloneFlags::NEWNET).unwrap();
        File::open("/proc/thread-self/ns/net").unwrap()
    });
    let netns = netns.join().unwrap();
    let container = world.start_with(request, ShimFds { rootfs, netns: Some(netns.into()), attach: None });
    let dir = container.dir.clone();
    assert_eq!(container.finish().code, 0);
    assert_eq!(crate::harness::log_of(&dir)[0].1, "from the descriptor\n");
}

#[test]
fn pausing_stops_everything_until_it_resumes() {
    let world = World::new();
    let container = world.start(world.request("while true; do echo tick; sleep 0.01; done"));
    eventually("it ticks", || container.log().len() > 3);
    container.connect(&Request::Pause).ok();
    assert!(read_state(&container.dir).unwrap().unwrap().paused);
    std::thread::sleep(Duration::from_millis(100));
    let before = container.log().len();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(container.log().len(), before);
    container.connect(&Request::Resume).ok();
    eventually("it ticks again", || container.log().len() > before + 3);
    container.kill(9);
    container.finish();
}

#[test]
fn a_trace_names_the_steps_in_order() {
    let world = World::new();
    let mut request = world.request("true");
    request.trace = true;
    let mut container = world.start(request);
    let mut steps = std::mem::take(&mut container.started.steps);
    steps.extend(container.finish().steps);
    assert!(steps.first().unwrap().name == "shim told" && steps.last().unwrap().name == "exit recorded");
    assert!(steps.windows(2).all(|pair| pair[0].at_ns <= pair[1].at_ns), "{steps:?}");
}

#[test]
fn a_shim_is_small() {
    let world = World::new();
    let container = world.start(world.request("sleep 0.3; seq 1 100000; sleep 1000"));
    let mut client = container.attach(false);
    client.read_until("\n100000\n");
    let own = own_kib(container.pid);
    assert_eq!(std::fs::read_dir(format!("/proc/{}/task", container.pid)).unwrap().count(), 1, "one thread");
    assert!(own < 600, "a shim with a running container holds {own} KiB of its own");
    drop(client);
    container.kill(9);
    container.finish();
}

#[test]
fn a_full_disk_neither_stops_nor_ends_the_container() {
    let world = World::new();
    let request =
        world.request("seq 1 40000; echo > /tmp/out; while [ ! -e /tmp/go ]; do sleep 0.01; done; echo after; exit 8");
    // A file system of 256 KiB of this thread's own mount namespace, which the zygote, started from here, shares.
    sys::namespace::unshare(sys::process::CloneFlags::NEWNS).unwrap();
    rustix::mount::mount_change(
        "/",
        rustix::mount::MountPropagationFlags::REC | rustix::mount::MountPropagationFlags::PRIVATE,
    )
    .unwrap();
    let small = world.dir.path().join("small");
    std::fs::create_dir(&small).unwrap();
    rustix::mount::mount("tmpfs", &small, "tmpfs", rustix::mount::MountFlags::empty(), Some(c"size=256k")).unwrap();
    let zygote = shim::Zygote::start_program(&program()).unwrap();
    let mut request = request;
    request.log = Some(shim::LogConfig { max_size: 0, max_files: 1, ..shim::LogConfig::new(small.join("log")) });
    let handle = zygote.spawn(None, &request, ShimFds::default()).unwrap();
    let mut control = Client::of(handle.control);
    control.started();
    let state = || read_state(&request.dir).unwrap().unwrap();
    eventually("the loss is recorded", || state().log_failure.is_some());
    assert!(state().log_lines_lost > 0);
    eventually("the container writes on", || world.dir.path().join("root/tmp/out").exists());
    std::thread::sleep(Duration::from_millis(300));
    File::options().write(true).open(small.join("log")).unwrap().set_len(0).unwrap();
    std::fs::write(world.dir.path().join("root/tmp/go"), "").unwrap();
    assert_eq!(control.exited().code, 8);
    wait_end(&handle.pidfd);
    let log = std::fs::read_to_string(small.join("log")).unwrap();
    assert_eq!(log.matches("log lines were lost since").count(), 1, "{log:?}");
    assert!(log.contains("No space left on device") && log.contains("after\\n"));
    assert_eq!(state().log_failure, None);
    assert!(state().log_lines_lost > 1000);
    rustix::mount::unmount(&small, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_nothing_left(&request);
}

fn parent_of(pid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

fn is_ended(pidfd: &std::os::fd::OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&now)).unwrap() == 1
}
