// SPDX-License-Identifier: Apache-2.0
//! Images, volumes and containers that mean harm: one test for each class of attack that has hit a runtime, named
//! after the report where there is one. What concerns descriptors and our own program is in `escape`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bundle::{Bundle, example};

/// A directory beside the bundle's root, bound somewhere in it.
fn volume(bundle: &Bundle) -> PathBuf {
    let path = bundle.path().join("volume");
    fs::create_dir_all(&path).unwrap();
    path
}

fn bind(source: &Path, destination: &str) -> Value {
    json!({ "destination": destination, "type": "bind", "source": source, "options": ["rbind", "rw"] })
}

/// The mounts of a bundle without those at and below `path`.
fn without(bundle: &Bundle, path: &str) -> Vec<Value> {
    let mounts = bundle.config["mounts"].as_array().unwrap().clone();
    mounts.into_iter().filter(|mount| !Path::new(mount["destination"].as_str().unwrap()).starts_with(path)).collect()
}

/// How many mounts this namespace has; none may be added by a container.
fn host_mounts() -> usize {
    fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count()
}

/// A host's directory that must stay empty.
fn outside(bundle: &Bundle) -> PathBuf {
    let path = bundle.path().join("outside");
    fs::create_dir(&path).unwrap();
    path
}

fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).unwrap().next().is_none()
}

/// A container that runs `script` for ever with the volume at `/vol`: the attacker of a race.
fn attacker(volume: &Path, script: &str) -> Bundle {
    let attacker = Bundle::script(&format!("cd /vol; while :; do {script}; done 2>/dev/null"));
    let mounts = [attacker.config["mounts"].as_array().unwrap().clone(), vec![bind(volume, "/vol")]].concat();
    let attacker = attacker.set("/mounts", json!(mounts));
    symlink("busybox", attacker.rootfs("bin/ln")).unwrap();
    symlink("busybox", attacker.rootfs("bin/rm")).unwrap();
    symlink("busybox", attacker.rootfs("bin/mv")).unwrap();
    attacker.start()
}

/// CVE-2019-5736 with the attack as the container's entry point: its interpreter is our own program, which then is
/// opened for writing. It waits there for somebody to read its log.
#[test]
fn cve_2019_5736_an_entry_point_interpreted_by_our_program_cannot_overwrite_it() {
    let bundle = Bundle::new(&["/entry"]).set("/root/readonly", json!(false));
    fs::write(bundle.rootfs("entry"), "#!/proc/self/exe --log=/log\n").unwrap();
    fs::set_permissions(bundle.rootfs("entry"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, bundle.rootfs("log"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let bundle = bundle.start();
    let before = fs::read(example("oci")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !bundle.exec("cat /proc/1/cmdline").out.contains("/entry") {
        assert!(Instant::now() < deadline, "our program does not run inside");
    }
    let ran = bundle.exec("echo overwritten > /proc/1/exe");
    assert!(ran.err.contains("Read-only file system"), "{ran:?}");
    // And not when it has ended, by a descriptor opened before.
    let ran = bundle
        .exec("exec 5</proc/1/exe; cat /log >/dev/null & echo x > /log; sleep 1; echo overwritten > /proc/self/fd/5");
    assert_ne!(ran.code, Some(0), "{ran:?}");
    assert_eq!(fs::read(example("oci")).unwrap(), before);
}

/// CVE-2024-21626 by `exec`: a working directory or a command by way of a descriptor of the host, and by way of a link
/// of the image to one.
#[test]
fn cve_2024_21626_descriptors_are_no_way_out_of_an_exec() {
    let bundle = Bundle::new(&["sleep", "100"]);
    for number in 3..16 {
        symlink(format!("/proc/self/fd/{number}"), bundle.rootfs(&format!("way{number}"))).unwrap();
    }
    let bundle = bundle.start();
    for number in 3..16 {
        for directory in [format!("/proc/self/fd/{number}"), format!("/way{number}"), format!("/way{number}/..")] {
            let oci = bundle.command(&["exec", "--cwd", &directory, &bundle.id, "pwd"]);
            let ran = bundle.finish(with_open_directories(&oci));
            assert_eq!(ran.code, Some(255), "{directory}: {ran:?}");
            assert!(ran.err.contains("working directory"), "{ran:?}");
        }
        let command = format!("/proc/self/fd/{number}/../../bin/sh");
        let oci = bundle.command(&["exec", &bundle.id, &command, "-c", "echo escaped"]);
        let ran = bundle.finish(with_open_directories(&oci));
        assert_eq!((ran.code, ran.out.as_str()), (Some(127), ""), "{ran:?}");
    }
    // The same as the container's own working directory, through a link of the image.
    for number in 3..16 {
        let run = Bundle::new(&["pwd"]).set("/process/cwd", json!("/way"));
        symlink(format!("/proc/self/fd/{number}"), run.rootfs("way")).unwrap();
        let ran = run.finish(with_open_directories(&run.command(&["run", &run.id])));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        run.left_nothing();
    }
}

fn with_open_directories(oci: &Command) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "exec 3</ 5</etc 7</ 9</; exec \"$@\"", "sh"]).arg(oci.get_program()).args(oci.get_args());
    command.current_dir(oci.get_current_dir().unwrap());
    command
}

/// CVE-2021-30465: a volume shared by two containers, in which one replaces a directory by a link to the host's files
/// while the other's mounts are made.
#[test]
fn cve_2021_30465_a_directory_swapped_during_mounting_leads_nowhere_else() {
    let victim = Bundle::script("grep ' - tmpfs race ' /proc/self/mountinfo | cut -d' ' -f5");
    let (volume, outside) = (volume(&victim), outside(&victim));
    fs::create_dir(volume.join("dir")).unwrap();
    let mounts = victim.config["mounts"].as_array().unwrap().clone();
    let race = json!({ "destination": "/vol/dir/deep/m", "type": "tmpfs", "source": "race" });
    let over = bind(&victim.path().join("rootfs/etc"), "/vol/dir/deep/e");
    let victim = victim.set("/mounts", json!([mounts, vec![bind(&volume, "/vol"), race, over]].concat()));
    let swap = format!(
        "rm -rf dir; ln -s {} dir; rm dir; ln -s ../../../../../..{} dir; rm dir; mkdir -p dir/deep/m",
        outside.display(),
        outside.display()
    );
    let attacker = attacker(&volume, &swap);
    let before = host_mounts();
    let (mut started, mut refused, mut seen) = (0, 0, 0);
    let deadline = Instant::now() + Duration::from_secs(4);
    while Instant::now() < deadline {
        let ran = victim.run();
        match ran.code {
            Some(0) => {
                started += 1;
                // Wherever the link led, it led there inside of the root.
                let places: Vec<&str> = ran.out.lines().collect();
                // None at all when the directory it was mounted on was removed meanwhile.
                let inside = |place: &&str| place.starts_with("/vol/dir/") || Path::new(place).starts_with(&outside);
                assert!(places.len() <= 1 && places.iter().all(inside), "{ran:?}");
                seen += places.len();
            }
            _ => refused += 1,
        }
        assert!(is_empty(&outside), "something of the host was changed");
        assert_eq!(host_mounts(), before, "a mount reached the host");
        victim.left_nothing();
    }
    let raced = started > 10 && seen > 0 && started + refused > 50;
    assert!(raced, "{started} started, {seen} with the mount, {refused} refused: no race took place");
    drop(attacker);
}

/// CVE-2019-19921: `/proc` or `/sys` is a link, or lies on a volume that the attacker has prepared.
#[test]
fn cve_2019_19921_proc_is_mounted_where_it_belongs_or_nowhere() {
    for place in ["proc", "sys"] {
        let bundle = Bundle::new(&["true"]).set("/root/readonly", json!(false));
        let volume = volume(&bundle);
        fs::create_dir_all(volume.join(place)).unwrap();
        fs::remove_dir(bundle.rootfs(place)).unwrap();
        symlink(format!("vol/{place}"), bundle.rootfs(place)).unwrap();
        let mut mounts = bundle.config["mounts"].as_array().unwrap().clone();
        mounts.insert(0, bind(&volume, "/vol"));
        let bundle = bundle.set("/mounts", json!(mounts));
        bundle.run().fails(1, "ELOOP");
        assert!(is_empty(&volume.join(place)));
        bundle.left_nothing();
    }
    // A volume over the place itself, before or after the real one: what lies there in the end must not hide that the
    // masks are missing.
    for first in [true, false] {
        let bundle = Bundle::script("cat /proc/timer_list; echo over").set("/root/readonly", json!(false));
        let volume = volume(&bundle);
        fs::write(volume.join("timer_list"), "fake\n").unwrap();
        let mut mounts = bundle.config["mounts"].as_array().unwrap().clone();
        let at = if first { 0 } else { mounts.len() };
        mounts.insert(at, bind(&volume, "/proc"));
        let bundle = bundle.set("/mounts", json!(mounts)).set("/linux/maskedPaths", json!(["/proc/timer_list"]));
        let ran = bundle.run();
        if first {
            assert_eq!(ran.ok(), "over\n");
        } else {
            ran.fails(1, "not on procfs");
        }
        bundle.left_nothing();
    }
}

/// CVE-2025-31133: what masks a file is the host's null device, whatever the container's `/dev/null` is or becomes.
#[test]
fn cve_2025_31133_masks_do_not_come_from_the_containers_dev() {
    let script = "stat -c '%t:%T' /proc/keys; [ -s /proc/timer_list ] && echo leaked; true";
    let bundle = Bundle::script(script).set("/linux/maskedPaths", json!(["/proc/keys", "/proc/timer_list"]));
    let volume = volume(&bundle);
    fs::write(volume.join("target"), "the attacker's\n").unwrap();
    symlink("target", volume.join("null")).unwrap();
    let mounts = [without(&bundle, "/dev"), vec![bind(&volume, "/dev")]].concat();
    let bundle = bundle.set("/mounts", json!(mounts));
    let attacker = attacker(&volume, "ln -s /proc/sysrq-trigger n; mv n null; ln -s target n; mv n null");
    let deadline = Instant::now() + Duration::from_secs(1);
    while Instant::now() < deadline {
        assert_eq!(bundle.run().ok(), "1:3\n");
    }
    assert_eq!(fs::read_to_string(volume.join("target")).unwrap(), "the attacker's\n");
    drop(attacker);
    // Where the image's own /dev is used, and its null device is something else, there is no container.
    let image = Bundle::new(&["true"]).set("/root/readonly", json!(false));
    symlink("/etc/passwd", image.rootfs("dev/null")).unwrap();
    let mounts = without(&image, "/dev");
    let image = image.set("/mounts", json!(mounts));
    image.run().fails(1, "is not the device that the container is to have there");
    image.left_nothing();
}

/// CVE-2025-52565: `/dev/console` is a link to somewhere in procfs, or the terminal's name is.
#[test]
fn cve_2025_52565_the_console_is_mounted_where_it_belongs_or_nowhere() {
    for target in ["/proc/sysrq-trigger", "/proc/self/attr/current", "../etc/passwd", "/dev/missing"] {
        let bundle = Bundle::new(&["true"]).set("/process/terminal", json!(true));
        let volume = volume(&bundle);
        fs::create_dir(volume.join("pts")).unwrap();
        symlink(target, volume.join("console")).unwrap();
        symlink("/etc/passwd", volume.join("pts/0")).unwrap();
        let pts = bundle.config["mounts"][2].clone();
        assert_eq!(pts["destination"], "/dev/pts");
        let mounts = [without(&bundle, "/dev"), vec![bind(&volume, "/dev"), pts]].concat();
        let bundle = bundle.set("/mounts", json!(mounts)).set("/root/readonly", json!(false));
        let _listener = std::os::unix::net::UnixListener::bind(bundle.path().join("socket")).unwrap();
        let ran = bundle.oci(&["run", "--detach", "--console-socket", "socket", &bundle.id]);
        ran.fails(1, "terminal of user 0 and /dev/console");
        assert!(!fs::exists(volume.join("missing")).unwrap(), "the link was followed");
        bundle.left_nothing();
    }
}

/// A `/proc` of the attacker's making: a volume with files where the kernel's would be.
fn fake_proc(bundle: &Bundle) -> (PathBuf, Vec<Value>) {
    let volume = volume(bundle);
    for path in ["sys/net/ipv4/ip_forward", "sys/kernel/msgmax", "self/oom_score_adj", "self/attr/exec", "self/fd/x"] {
        fs::create_dir_all(volume.join(path).parent().unwrap()).unwrap();
        fs::write(volume.join(path), "fake\n").unwrap();
    }
    symlink("self", volume.join("thread-self")).unwrap();
    let real = json!({ "destination": "/real", "type": "proc", "source": "proc" });
    let mounts = [without(bundle, "/proc"), vec![bind(&volume, "/proc"), real]].concat();
    (volume, mounts)
}

fn untouched(volume: &Path) {
    for path in ["sys/net/ipv4/ip_forward", "sys/kernel/msgmax", "self/oom_score_adj", "self/attr/exec"] {
        assert_eq!(fs::read_to_string(volume.join(path)).unwrap(), "fake\n", "{path} was written to");
    }
}

/// CVE-2025-52881: what is written to procfs reaches the kernel, not what the container has in that place; a kernel
/// parameter, the OOM score, and both again for a process that joins.
#[test]
fn cve_2025_52881_writes_to_procfs_reach_the_kernel() {
    let bundle = Bundle::new(&["sleep", "100"]);
    let (volume, mounts) = fake_proc(&bundle);
    let bundle = bundle
        .set("/mounts", json!(mounts))
        .set("/process/oomScoreAdj", json!(300))
        .set("/linux/maskedPaths", json!([]))
        .set("/linux/readonlyPaths", json!([]))
        .set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1", "kernel.msgmax": "65537" }));
    let swap = "mkdir -p n; ln -s /etc thread-self2; mv thread-self2 thread-self; ln -s self n2; mv n2 thread-self";
    let attacker = attacker(&volume, swap);
    let bundle = bundle.start();
    let said = "cat /real/sys/net/ipv4/ip_forward /real/sys/kernel/msgmax /real/1/oom_score_adj";
    assert_eq!(bundle.exec(said).ok(), "1\n65537\n300\n");
    let mut process = bundle.config["process"].clone();
    process["oomScoreAdj"] = json!(400);
    process["args"] = json!(["sh", "-c", "cat /real/self/oom_score_adj"]);
    fs::write(bundle.path().join("process.json"), process.to_string()).unwrap();
    assert_eq!(bundle.oci(&["exec", "--process", "process.json", &bundle.id]).ok(), "400\n");
    untouched(&volume);
    drop(attacker);
}

/// A container that has replaced everything another process looks at when it joins: its own user list by a pipe that
/// nobody writes to, its terminals by a link, its `/proc` by nothing.
#[test]
fn a_process_joins_a_hostile_container_unharmed() {
    let names = ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"];
    let script = "rm /etc/passwd; mkfifo /etc/passwd; umount /dev/pts; ln -s /dev/null /dev/pts/ptmx;
        umount -l /proc; touch /tmp/ready; exec sleep 100";
    let bundle = Bundle::script(script)
        .set("/root/readonly", json!(false))
        .set("/linux/maskedPaths", json!([]))
        .set("/linux/readonlyPaths", json!([]))
        .set("/process/capabilities", json!({ "bounding": names, "effective": names, "permitted": names }));
    for applet in ["rm", "mkfifo", "umount", "ln"] {
        symlink("busybox", bundle.rootfs("bin").join(applet)).unwrap();
    }
    let bundle = bundle.start();
    let ready = bundle.rootfs("tmp/ready");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !ready.exists() {
        assert!(Instant::now() < deadline, "not ready: {}", fs::read_to_string(bundle.path().join("err")).unwrap());
        std::thread::sleep(Duration::from_millis(5));
    }
    // Who waited for somebody to write to the pipe would wait for ever.
    let oci = bundle.command(&["exec", &bundle.id, "sh", "-c", "echo $HOME; ls /proc"]);
    let mut limited = Command::new("timeout");
    limited.args(["--signal=KILL", "10"]).arg(oci.get_program()).args(oci.get_args());
    limited.current_dir(bundle.path());
    assert_eq!(bundle.finish(limited).ok(), "/\n");
    let _listener = std::os::unix::net::UnixListener::bind(bundle.path().join("socket")).unwrap();
    let args = ["exec", "--tty", "--detach", "--console-socket", "socket", &bundle.id, "true"];
    bundle.oci(&args).fails(255, "/dev/pts/ptmx");
    bundle.oci(&["delete", "--force", &bundle.id]).ok();
    bundle.left_nothing();
}

/// A container that has moved itself below its own cgroup is found, joined and removed all the same.
#[test]
fn a_container_that_moves_in_its_cgroup_is_not_lost() {
    let script =
        "mkdir /sys/fs/cgroup/pids/below && echo 0 > /sys/fs/cgroup/pids/below/tasks; touch /tmp/ready; exec sleep 100";
    let bundle = Bundle::script(script).set("/root/readonly", json!(false));
    let index = bundle.config["mounts"].as_array().unwrap().len() - 1;
    let bundle = bundle.set(&format!("/mounts/{index}/options"), json!(["nosuid", "noexec", "nodev"]));
    let bundle = bundle.start();
    while !bundle.rootfs("tmp/ready").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = bundle.state()["pid"].to_string();
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(groups.contains(&format!("/{}/below", bundle.id)), "it did not move: {groups}");
    assert!(bundle.exec("cat /proc/self/cgroup").ok().lines().all(|line| line.ends_with(":/")));
    bundle.oci(&["delete", "--force", &bundle.id]).ok();
    bundle.left_nothing();
    assert!(!fs::exists(format!("/proc/{pid}/root/bin")).unwrap());
}

/// A pid file's place is prepared with links to a file of the host, under its own name and under that of the
/// temporary file beside it.
#[test]
fn a_pid_file_is_written_through_no_link() {
    let bundle = Bundle::new(&["sleep", "100"]);
    let victim = bundle.path().join("victim");
    fs::write(&victim, "precious\n").unwrap();
    let directory = bundle.path().join("pids");
    fs::create_dir(&directory).unwrap();
    symlink(&victim, directory.join("pid")).unwrap();
    for number in 0..2000 {
        symlink(&victim, directory.join(format!("pid.{}", std::process::id() + number))).unwrap();
    }
    bundle.oci(&["run", "--detach", "--pid-file", "pids/pid", &bundle.id]).ok();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious\n");
    assert!(fs::symlink_metadata(directory.join("pid")).unwrap().is_file());
    assert_eq!(fs::read_to_string(directory.join("pid")).unwrap(), bundle.state()["pid"].to_string());
}

/// A process that is nobody's container, and ends with the test.
struct Stranger(Child);

impl Stranger {
    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The container has ended, and its process's number is another's by now: nothing may reach that one.
#[test]
fn a_process_number_given_anew_is_not_the_container() {
    let bundle = Bundle::new(&["true"]).start();
    while bundle.state()["status"] != "stopped" {
        std::thread::sleep(Duration::from_millis(5));
    }
    // The kernel counts start times in hundredths of a second.
    std::thread::sleep(Duration::from_millis(30));
    let mut stranger = Stranger(Command::new("sleep").arg("100").spawn().unwrap());
    let path = bundle.path().join("state").join(&bundle.id).join("state.json");
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["pid"] = json!(stranger.0.id());
    fs::write(&path, record.to_string()).unwrap();
    let state = bundle.state();
    assert_eq!((&state["status"], &state["pid"]), (&json!("stopped"), &json!(0)));
    bundle.oci(&["kill", &bundle.id, "KILL"]).fails(1, "stopped");
    bundle.oci(&["kill", "--all", &bundle.id, "KILL"]).ok();
    bundle.exec("true").fails(255, "stopped");
    bundle.oci(&["start", &bundle.id]).fails(1, "stopped");
    bundle.oci(&["delete", "--force", &bundle.id]).ok();
    bundle.left_nothing();
    assert!(stranger.lives());
}
