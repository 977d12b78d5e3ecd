// SPDX-License-Identifier: Apache-2.0
//! `corten oci checkpoint` and `restore` beside CRIU: the real one as far as it goes on this kernel (that it works is
//! shown in the vm lane, on a kernel it knows), and a scripted one, whose requests `protoc` reads with CRIU's own
//! definition of its messages.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use end_to_end::checkpoint::{Container, Ended};

const DEFINITION: &str = "/usr/include/criu/rpc.proto";

/// A directory for `PATH` that has a scripted CRIU, and the script.
struct Script {
    directory: tempfile::TempDir,
    answers: usize,
}

impl Script {
    fn new() -> Script {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("bin")).expect("a directory");
        symlink(env!("CARGO_BIN_EXE_scripted_criu"), directory.path().join("bin/criu")).expect("a link");
        fs::create_dir(directory.path().join("script")).expect("a directory");
        Script { directory, answers: 0 }
    }

    fn file(&self, kind: &str, number: usize) -> PathBuf {
        self.directory.path().join("script").join(format!("{kind}.{number}"))
    }

    /// The next answer, as text; CRIU stays for more.
    fn answers(mut self, text: &str) -> Script {
        fs::write(self.file("answer", self.answers), protoc("--encode=criu_resp", text.as_bytes())).expect("a file");
        self.answers += 1;
        self
    }

    /// The next answer, after which CRIU goes.
    fn ends_with(self, text: &str) -> Script {
        fs::write(self.file("last", self.answers), "").expect("a file");
        self.answers(text)
    }

    fn version(self, major: u32, minor: u32) -> Script {
        self.ends_with(&format!(
            "type: VERSION success: true version {{ major_number: {major} minor_number: {minor} }}"
        ))
    }

    /// What it was asked, as text.
    fn request(&self, number: usize) -> String {
        let bytes = fs::read(self.file("request", number)).expect("it was asked");
        String::from_utf8(protoc("--decode=criu_req", &bytes)).expect("text")
    }

    fn run(&self, container: &Container, words: &[&str]) -> Ended {
        let mut command = container.command(words);
        self.sets(&mut command);
        container.finish(command)
    }

    fn sets(&self, command: &mut Command) {
        command.env("PATH", self.directory.path().join("bin"));
        command.env("SCRIPTED_CRIU", self.directory.path().join("script"));
    }
}

fn protoc(what: &str, input: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let parent = Path::new(DEFINITION).parent().expect("a directory");
    let mut command = testkit::process::command("protoc");
    command.arg(format!("--proto_path={}", parent.display())).arg(what).arg(DEFINITION);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("protoc is installed");
    child.stdin.take().expect("a pipe").write_all(input).expect("protoc reads");
    let output = child.wait_with_output().expect("our child");
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[track_caller]
fn assert_says(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|have| have.trim() == *line), "{line:?} is not in\n{text}");
    }
}

/// The keys and values of all `ext_mnt` in a request.
fn external_mounts(request: &str) -> Vec<(String, String)> {
    let value = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
    let lines: Vec<&str> = request.lines().map(str::trim).collect();
    let found = lines.windows(3).filter(|window| window[0] == "ext_mnt {");
    found.map(|window| (value(window[1]), value(window[2]))).collect()
}

#[test]
fn without_criu_the_error_says_so_and_the_container_runs_on() {
    let container = Container::counting();
    container.start();
    container.counts_beyond(1);
    let empty = tempfile::tempdir().expect("a directory");
    for words in [["checkpoint", container.id()], ["restore", "other"]] {
        let mut command = container.command(&words);
        command.env("PATH", empty.path());
        let ended = container.finish(command);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("CRIU is not installed"), "{ended:?}");
        assert!(ended.stderr.contains("install criu"), "{ended:?}");
    }
    assert!(!container.path().join("checkpoint").exists(), "a directory for images was made");
    container.counts_beyond(container.count());
    container.end();
}

#[test]
fn a_criu_that_is_too_old_is_refused() {
    let container = Container::counting();
    container.start();
    let script = Script::new().version(2, 12);
    let ended = script.run(&container, &["checkpoint", container.id()]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("it is version 2.12.0, and 3.0.0 is needed"), "{ended:?}");
    assert_eq!(script.request(0), "type: VERSION\n");
    container.end();
}

#[test]
fn only_a_running_container_is_checkpointed() {
    let container = Container::counting();
    let missing = container.oci(&["checkpoint", container.id()]);
    assert!(missing.stderr.contains("does not exist"), "{missing:?}");
    let mut command = container.command(&["create", container.id()]);
    let null = || Stdio::null();
    assert!(command.stdin(null()).stdout(null()).stderr(null()).status().expect("it starts").success());
    let created = container.oci(&["checkpoint", container.id()]);
    assert_eq!(created.code, Some(1), "{created:?}");
    assert!(created.stderr.contains("is created, and checkpoint needs one that is running"), "{created:?}");
    container.end();
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let container = Container::counting();
    container.start();
    for (words, reason) in [
        (&["checkpoint", "--status-fd", "1", container.id()][..], "--status-fd cannot be honoured"),
        (&["checkpoint", "--empty-ns", "pid", container.id()], "--empty-ns has the value \"pid\""),
        (&["checkpoint", "--manage-cgroups-mode", "x", container.id()], "soft, full, strict or ignore"),
        (&["checkpoint", "--page-server", "here", container.id()], "ADDRESS:PORT"),
        (&["checkpoint", "--no-such", container.id()], "unknown flag \"--no-such\""),
        (&["restore", "--no-pivot", "other"], "--no-pivot cannot be honoured: CRIU restores mounts by pivot_root only"),
        (&["restore", "--console-socket", "x", "other"], "--console-socket exactly with --detach"),
    ] {
        let ended = container.oci(words);
        assert_eq!(ended.code, Some(1), "{words:?}: {ended:?}");
        assert!(ended.stderr.contains(reason), "{words:?}: {ended:?}");
    }
    container.end();
}

#[test]
fn a_dump_is_asked_for_in_criu_s_own_terms() {
    let container = Container::counting();
    container.start();
    let script = Script::new()
        .version(3, 17)
        .ends_with("type: FEATURE_CHECK success: true features { lazy_pages: true }")
        .answers("type: NOTIFY success: true notify { script: \"network-lock\" }")
        .ends_with("type: DUMP success: true");
    let words = [
        "checkpoint",
        "--leave-running",
        "--tcp-established",
        "--tcp-skip-in-flight",
        "--link-remap",
        "--ext-unix-sk",
        "--shell-job",
        "--lazy-pages",
        "--file-locks",
        "--auto-dedup",
        "--manage-cgroups-mode",
        "strict",
        "--empty-ns",
        "network",
        "--page-server",
        "10.1.2.3:4567",
        "--image-path",
        "images",
        "--work-path",
        "work",
        "--parent-path",
        "../older",
        container.id(),
    ];
    fs::create_dir(container.path().join("older")).expect("a directory");
    script.run(&container, &words).ok();
    assert_eq!(script.request(1), "type: FEATURE_CHECK\nfeatures {\n  lazy_pages: true\n}\n");
    let dump = script.request(2);
    let pid = container.state().expect("it runs")["pid"].as_i64().expect("a number");
    let root = container.path().join("rootfs");
    assert_says(
        &dump,
        &[
            "type: DUMP",
            &format!("pid: {pid}"),
            "leave_running: true",
            "ext_unix_sk: true",
            "tcp_established: true",
            "shell_job: true",
            "file_locks: true",
            "log_level: 4",
            "log_file: \"dump.log\"",
            "address: \"10.1.2.3\"",
            "port: 4567",
            "notify_scripts: true",
            &format!("root: \"{}\"", root.display()),
            "parent_img: \"../older\"",
            "track_mem: true",
            "auto_dedup: true",
            "link_remap: true",
            "manage_cgroups: true",
            "manage_cgroups_mode: STRICT",
            "empty_ns: 1073741824",
            "tcp_skip_in_flight: true",
            "lazy_pages: true",
            "orphan_pts_master: true",
            "config_file: \"/etc/criu/runc.conf\"",
        ],
    );
    assert!(!dump.contains("rst_sibling") && !dump.contains("evasive_devices"), "{dump}");
    let mounts = external_mounts(&dump);
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert!(
        mounts.contains(&pair("/data", "/data")) && mounts.contains(&pair("/proc/keys", "/dev/null")),
        "{mounts:?}"
    );
    assert!(
        mounts.iter().all(|(key, _)| key != "/proc/acpi" && key != "/proc/scsi"),
        "directories are masked by a tmpfs"
    );
    // Its streams are the host's /dev/null, which it cannot see.
    let external: Vec<&str> = dump.lines().filter(|line| line.contains("external: \"file[")).collect();
    assert_eq!(external.len(), 1, "{dump}");
    let names: Vec<String> =
        serde_json::from_slice(&fs::read(container.path().join("images/descriptors.json")).expect("a file"))
            .expect("JSON");
    assert!(names.len() == 3 && names.iter().all(|name| external[0].contains(name)), "{names:?}\n{dump}");
    // What it froze by, on whichever cgroup version.
    let freezer = dump.lines().find_map(|line| line.trim().strip_prefix("freeze_cgroup: \""));
    assert!(freezer.is_some_and(|path| Path::new(path.trim_end_matches('"')).ends_with(container.id())), "{dump}");
    assert_eq!(script.request(3), "type: NOTIFY\nnotify_success: true\n");
    container.end();
}

#[test]
fn a_dump_that_fails_shows_the_log_and_leaves_the_container_running() {
    let container = Container::counting();
    container.start();
    fs::create_dir(container.path().join("work")).expect("a directory");
    fs::write(container.path().join("work/dump.log"), "(0.1) fine\n(0.2) Error (x.c:7): a socket of no kind\n")
        .expect("a file");
    let script =
        Script::new().version(4, 0).ends_with("type: DUMP success: false cr_errno: 95 cr_errmsg: \"the first\"");
    let ended =
        script.run(&container, &["checkpoint", "--image-path", "images", "--work-path", "work", container.id()]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for part in [
        "CRIU could not checkpoint the container (Operation not supported",
        "(0.2) Error (x.c:7): a socket of no kind",
        "work/dump.log",
    ] {
        assert!(ended.stderr.contains(part), "{part:?}: {ended:?}");
    }
    container.counts_beyond(container.count());
    container.end();
}

#[test]
fn a_criu_that_dies_or_talks_nonsense_is_an_error() {
    let container = Container::counting();
    container.start();
    let died = Script::new().version(3, 17).run(&container, &["checkpoint", container.id()]);
    assert!(died.stderr.contains("CRIU ended without an answer (exit code 3)"), "{died:?}");
    let nonsense = Script::new().version(3, 17);
    fs::write(nonsense.file("answer", 1), [0x08, 0x01, 0x2a, 0x7f]).expect("a file");
    let ended = nonsense.run(&container, &["checkpoint", container.id()]);
    assert!(ended.stderr.contains("CRIU's answer cannot be read: the message ends in the middle"), "{ended:?}");
    let other = Script::new().version(3, 17).answers("type: CHECK success: true");
    let ended = other.run(&container, &["checkpoint", container.id()]);
    assert!(ended.stderr.contains("CRIU's answer is of kind 3"), "{ended:?}");
    container.counts_beyond(container.count());
    container.end();
}

#[test]
fn a_pre_dump_needs_a_kernel_that_tracks_memory() {
    let container = Container::counting();
    container.start();
    let script =
        Script::new().version(3, 17).ends_with("type: FEATURE_CHECK success: true features { mem_track: false }");
    let ended = script.run(&container, &["checkpoint", "--pre-dump", container.id()]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("CRIU cannot do tracking of changed memory on this kernel"), "{ended:?}");
    let script = Script::new()
        .version(3, 17)
        .ends_with("type: FEATURE_CHECK success: true features { mem_track: true }")
        .ends_with("type: PRE_DUMP success: true");
    script.run(&container, &["checkpoint", "--pre-dump", container.id()]).ok();
    let request = script.request(2);
    assert_says(&request, &["type: PRE_DUMP"]);
    assert!(external_mounts(&request).is_empty(), "{request}");
    container.counts_beyond(container.count());
    container.end();
}

#[test]
fn a_restore_is_asked_for_in_criu_s_own_terms() {
    let container = Container::counting();
    let images = container.path().join("images");
    fs::create_dir(&images).expect("a directory");
    fs::write(images.join("descriptors.json"), "[\"/dev/null\",\"pipe:[77]\",\"file[1a:4]\"]").expect("a file");
    // Whoever is said to be restored: a process of ours.
    let mut restored = testkit::process::command("sleep").arg("100").spawn().expect("sleep");
    let pid = restored.id();
    let script = Script::new()
        .version(3, 17)
        .answers("type: NOTIFY success: true notify { script: \"setup-namespaces\" pid: 1 }")
        .answers(&format!("type: NOTIFY success: true notify {{ script: \"post-restore\" pid: {pid} }}"))
        .ends_with(&format!("type: RESTORE success: true restore {{ pid: {pid} }}"));
    let words = [
        "restore",
        "--detach",
        "--tcp-established",
        "--ext-unix-sk",
        "--shell-job",
        "--file-locks",
        "--auto-dedup",
        "--lazy-pages",
        "--no-subreaper",
        "--manage-cgroups-mode",
        "soft",
        "--lsm-profile",
        "apparmor:one",
        "--lsm-mount-context",
        "two",
        "--image-path",
        "images",
        "--pid-file",
        "pid",
        container.id(),
    ];
    script.run(&container, &words).ok();
    let request = script.request(1);
    let root = fs::canonicalize(container.path()).expect("it is there").join("state").join(container.id());
    assert_says(
        &request,
        &[
            "type: RESTORE",
            "ext_unix_sk: true",
            "tcp_established: true",
            "evasive_devices: true",
            "shell_job: true",
            "file_locks: true",
            "log_level: 4",
            "log_file: \"restore.log\"",
            "notify_scripts: true",
            &format!("root: \"{}\"", root.join("criu-root").display()),
            "auto_dedup: true",
            "manage_cgroups: true",
            "rst_sibling: true",
            "manage_cgroups_mode: SOFT",
            "empty_ns: 1073741824",
            "lazy_pages: true",
            "orphan_pts_master: true",
            "lsm_profile: \"apparmor:one\"",
            "lsm_mount_context: \"two\"",
            "key: \"pipe:[77]\"",
            "fd: 1",
            "key: \"file[1a:4]\"",
            "fd: 2",
            &format!("path: \"/{}\"", container.id()),
        ],
    );
    let mounts = external_mounts(&request);
    let data = container.path().join("data").display().to_string();
    assert!(
        mounts.contains(&("/data".into(), data)) && mounts.contains(&("/dev/null".into(), "/dev/null".into())),
        "{mounts:?}"
    );
    assert!(!request.contains("leave_running") && !request.contains("link_remap"), "{request}");
    let state = container.state().expect("it is known");
    assert_eq!((state["pid"].as_u64(), state["status"].as_str()), (Some(pid.into()), Some("running")));
    assert_eq!(fs::read_to_string(container.path().join("pid")).expect("a pid file"), pid.to_string());
    assert!(container.path().join("rootfs/data").is_dir(), "the mount has no place");
    assert!(!root.join("criu-root").exists(), "the stage is left");
    restored.kill().expect("our child");
    restored.wait().expect("our child");
    container.end();
}

#[test]
fn a_namespace_joined_by_its_path_stays_outside() {
    let container = Container::counting();
    let path = container.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
    for namespace in config["linux"]["namespaces"].as_array_mut().expect("namespaces") {
        if namespace["type"] == "network" {
            namespace["path"] = "/proc/self/ns/net".into();
        }
    }
    fs::write(&path, config.to_string()).expect("a file");
    container.start();
    let script = Script::new().version(3, 17).ends_with("type: DUMP success: true");
    script.run(&container, &["checkpoint", "--leave-running", "--image-path", "images", container.id()]).ok();
    let link = fs::read_link("/proc/self/ns/net").expect("/proc").display().to_string().replace(":[", "[");
    let dump = script.request(1);
    assert_says(&dump, &[&format!("external: \"{link}:extRootNetNS\"")]);
    container.oci(&["delete", "--force", container.id()]).ok();
    let script = Script::new().version(3, 10);
    let ended = script.run(&container, &["restore", "--detach", "--image-path", "images", container.id()]);
    assert!(ended.stderr.contains("too old for a network namespace joined by its path"), "{ended:?}");
    let script = Script::new().version(3, 17).ends_with("type: RESTORE success: false");
    let ended = script.run(&container, &["restore", "--detach", "--image-path", "images", container.id()]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_says(&script.request(1), &["key: \"extRootNetNS\""]);
    container.end();
}

/// This kernel may be newer than what the distribution's CRIU knows. Then it says so itself, and so must we; where it
/// is content, everything must work.
#[test]
fn the_real_criu_checkpoints_and_restores_or_says_why_it_cannot() {
    let check = testkit::process::command("criu").arg("check").output().expect("criu is installed");
    if check.status.success() {
        return end_to_end::checkpoint::a_container_goes_on_counting_after_a_restore();
    }
    let container = Container::counting();
    container.start();
    container.counts_beyond(1);
    let ended = container.oci(&["checkpoint", "--image-path", "images", container.id()]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("CRIU could not checkpoint the container"), "{ended:?}");
    let said = fs::read_to_string(container.path().join("images/dump.log")).expect("a log");
    let error = said.lines().find(|line| line.contains("Error (")).expect("it says why");
    assert!(ended.stderr.contains(error), "{error:?} is not in {ended:?}");
    container.counts_beyond(container.count());
    container.end();
}
