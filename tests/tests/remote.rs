// SPDX-License-Identifier: Apache-2.0
//! Daemons elsewhere: over TCP with mutual TLS, over SSH, on sockets of a service manager, by contexts; and called as docker.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::Daemon;
use testkit::corten::{Finished, Running, binary};
use testkit::process::command;
use testkit::sandbox::Sandbox;

const TCP: &str = "tcp://127.0.0.1:2376";
/// What may take a moment must have happened by then.
const PATIENCE: Duration = Duration::from_secs(20);

/// Certificates of two authorities: the daemon's is of `ca`, clients' are of `ca2`.
fn certificate(name: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/registry-client/tests/tls");
    directory.join(name).to_string_lossy().into_owned()
}

/// Runs `program` in the daemon's sandbox, without the daemon's address in its environment.
#[track_caller]
fn run(daemon: &Daemon, program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
    let mut command = command(program);
    command.args(arguments).env_remove("CORTEN_HOST").env("HOME", daemon.path()).envs(variables.iter().copied());
    daemon.sandbox().run(move || Running::start(command, Vec::new())).wait()
}

#[test]
fn over_tcp_both_sides_show_certificates() {
    let server = ["--tlscacert", &certificate("ca2.pem"), "--tlscert", &certificate("server.pem")].map(str::to_owned);
    let key = certificate("server.key");
    let mut builder = Daemon::builder().argument("-H").argument(TCP).argument("--tlsverify");
    for argument in server.iter().map(String::as_str).chain(["--tlskey", &key]) {
        builder = builder.argument(argument);
    }
    let daemon = builder.start();
    daemon.import_busybox();
    let corten = |tls: &[&str], command: &[&str]| {
        let arguments = [&["-H", TCP], tls, command].concat();
        run(&daemon, &binary(), &arguments, &[])
    };
    let (authority, shown, key) = (certificate("ca.pem"), certificate("client.pem"), certificate("client.key"));
    let good = ["--tlsverify", "--tlscacert", &authority, "--tlscert", &shown, "--tlskey", &key];
    let script = ["run", "--rm", "busybox", "sh", "-c", "echo over tcp; exit 3"];
    let run_there = corten(&good, &script);
    assert_eq!((run_there.text(), run_there.code), ("over tcp", 3), "{run_there}");

    // No certificate, one of another authority, one that is not for clients, no TLS at all.
    corten(&["--tlsverify", "--tlscacert", &authority], &["ps"]).fails(1).saying("tlscert");
    for other in ["server", "other", "expired"] {
        let (shown, key) = (certificate(&format!("{other}.pem")), certificate(&format!("{other}.key")));
        corten(&["--tlsverify", "--tlscacert", &authority, "--tlscert", &shown, "--tlskey", &key], &["ps"]).fails(1);
    }
    corten(&[], &["ps"]).fails(1).saying("--tlsverify");
    // A daemon that the client's authority does not know.
    let stranger = certificate("ca2.pem");
    corten(&["--tlsverify", "--tlscacert", &stranger, "--tlscert", &shown, "--tlskey", &key], &["ps"])
        .fails(1)
        .saying("not trusted");
    corten(&["--tls"], &["ps"]).fails(1).saying("--tlsverify");

    // The same from a context, and from Docker's variables.
    let settings = format!("host={TCP},ca={authority},cert={shown},key={key}");
    run(&daemon, &binary(), &["context", "create", "far", "--docker", &settings], &[]).ok();
    run(&daemon, &binary(), &["--context", "far", "ps"], &[]).ok();
    let directory = daemon.path().join("certificates");
    fs::create_dir(&directory).unwrap();
    for (from, to) in [(&authority, "ca.pem"), (&shown, "cert.pem"), (&key, "key.pem")] {
        fs::copy(from, directory.join(to)).unwrap();
    }
    let variables =
        [("CORTEN_HOST", TCP), ("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", directory.to_str().unwrap())];
    run(&daemon, &binary(), &["ps"], &variables).ok();
}

#[test]
fn certificates_are_read_anew_on_sighup() {
    let directory = tempfile::tempdir().unwrap();
    let authority = directory.path().join("authority.pem");
    fs::copy(certificate("ca2.pem"), &authority).unwrap();
    let mut builder = Daemon::builder().argument("-H").argument(TCP).argument("--tlsverify");
    let files = [authority.to_str().unwrap().to_owned(), certificate("server.pem"), certificate("server.key")];
    for (flag, file) in ["--tlscacert", "--tlscert", "--tlskey"].into_iter().zip(&files) {
        builder = builder.argument(flag).argument(file);
    }
    let daemon = builder.start();
    let (ca, shown, key) = (certificate("ca.pem"), certificate("client.pem"), certificate("client.key"));
    let ps = || {
        let flags = ["-H", TCP, "--tlsverify", "--tlscacert", &ca, "--tlscert", &shown, "--tlskey", &key, "ps"];
        run(&daemon, &binary(), &flags, &[])
    };
    let hang_up_until = |said: &str| {
        kill_process(Pid::from_raw(daemon.pid()).unwrap(), Signal::HUP).unwrap();
        let begun = Instant::now();
        while !daemon.log().contains(said) {
            assert!(begun.elapsed() < PATIENCE, "{}", daemon.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    ps().ok();
    fs::write(&authority, "no certificate").unwrap();
    hang_up_until("the certificates stay as they were");
    ps().ok();
    fs::copy(certificate("ca.pem"), &authority).unwrap();
    hang_up_until("the certificates were read anew");
    ps().fails(1);
}

#[test]
fn tcp_without_certificates_is_refused_but_for_a_loopback_address_that_is_asked_for() {
    let daemon = Daemon::builder().argument("-H").argument("tcp://127.0.0.1:2375").argument("--insecure").start();
    run(&daemon, &binary(), &["-H", "tcp://127.0.0.1:2375", "ps"], &[]).ok();
    let root = daemon.path().join("another");
    let root = root.to_str().unwrap();
    for flags in [
        &["-H", "tcp://127.0.0.1:1"][..],
        &["-H", "tcp://0.0.0.0:1"],
        &["-H", "tcp://127.0.0.1:1", "--tls"],
        &["-H", "tcp://127.0.0.1:1", "--tlsverify"],
    ] {
        daemon.fails(&[&["daemon", "--data-root", root, "--exec-root", root], flags].concat(), 1);
        assert!(!Path::new(root).exists(), "{flags:?}");
    }
    let bridge = ["--bridge", "other0", "--cgroup-parent", daemon.cgroup()];
    let everybody = ["daemon", "--data-root", root, "--exec-root", root, "-H", "tcp://0.0.0.0:1", "--insecure"];
    daemon.fails(&[&everybody[..], &bridge].concat(), 1).saying("be root");
}

#[test]
fn the_socket_is_for_its_group_alone() {
    let daemon = Daemon::builder().argument("--group").argument("4711").start();
    let metadata = fs::metadata(daemon.socket()).unwrap();
    assert_eq!((metadata.gid(), metadata.mode() & 0o777), (4711, 0o660));
}

#[test]
fn over_ssh_the_program_there_finds_the_daemon() {
    let daemon = Daemon::with_busybox();
    let programs = daemon.path().join("programs");
    fs::create_dir(&programs).unwrap();
    let (log, there) = (daemon.path().join("ssh.log"), binary());
    // It "logs in" here: what is behind the host's name is a line for a shell.
    let script = format!(
        "#!/bin/sh\necho \"$*\" >> {}\nwhile [ \"$1\" != -- ]; do shift; done\nshift 3\nexec sh -c \"{} $*\"\n",
        log.display(),
        there.display()
    );
    let ssh = programs.join("ssh");
    fs::write(&ssh, script).unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let address = format!("ssh://me@far:2222{}", daemon.socket().display());
    let there =
        |arguments: &[&str]| run(&daemon, &binary(), &[&["-H", &address], arguments].concat(), &[("PATH", &path)]);
    let finished = there(&["run", "--rm", "busybox", "sh", "-c", "echo over ssh; echo error >&2; exit 7"]);
    assert_eq!((finished.text(), finished.stderr.trim(), finished.code), ("over ssh", "error", 7), "{finished}");
    there(&["ps"]).ok();
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.starts_with("-T -o BatchMode=yes -o ConnectTimeout=30 -l me -p 2222 -- far corten -H "), "{said}");
    // Somebody else's machine, where there is nothing of ours.
    fs::write(&ssh, "#!/bin/sh\necho 'corten: not found' >&2\nexit 127\n").unwrap();
    there(&["ps"]).fails(1).saying("ssh far true");
    run(&daemon, &binary(), &["-H", "ssh://far", "ps"], &[("PATH", "/nonexistent")]).fails(1).saying("cannot run ssh");
}

#[test]
fn a_service_manager_hands_over_the_socket_and_hears_when_the_daemon_is_ready() {
    let sandbox = Sandbox::new();
    let directory = tempfile::Builder::new().prefix("corten-test-").tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let listener = UnixListener::bind(at("s")).unwrap();
    let manager = UnixDatagram::bind(at("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let flags = format!(
        "--data-root {} --exec-root {} --cgroup-parent /corten-test-fd-{}",
        at("data"),
        at("exec"),
        std::process::id()
    );
    let start = |listen_pid: &str, listener: UnixListener| {
        // The third descriptor is the first that a service manager hands over.
        let line = format!(
            "exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID={listen_pid}; exec {} daemon -H fd:// {flags}",
            binary().display()
        );
        let mut shell = command("/bin/sh");
        let log = fs::File::options().create(true).append(true).open(at("log")).unwrap();
        shell.args(["-c", &line]).env("NOTIFY_SOCKET", at("notify")).stdin(Stdio::from(OwnedFd::from(listener)));
        shell.stdout(Stdio::null()).stderr(log);
        sandbox.run(move || shell.spawn().unwrap())
    };
    // Sockets for somebody else are not touched.
    let mut other = start("1", listener.try_clone().unwrap());
    assert_eq!(other.wait().unwrap().code(), Some(1));

    let mut daemon = start("$$", listener);
    let heard = || {
        let mut message = [0; 256];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    assert_eq!(heard(), "READY=1", "{}", fs::read_to_string(at("log")).unwrap());
    let mut ps = command(binary());
    ps.args(["-H", &format!("unix://{}", at("s")), "ps", "-q"]);
    sandbox.run(move || Running::start(ps, Vec::new())).wait().ok();
    kill_process(Pid::from_raw(i32::try_from(daemon.id()).unwrap()).unwrap(), Signal::TERM).unwrap();
    assert_eq!(heard(), "STOPPING=1");
    assert!(daemon.wait().unwrap().success());
    // It is the manager's.
    assert!(Path::new(&at("s")).exists());
}

#[test]
fn what_the_configuration_file_says_are_flags() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("daemon.json");
    let second = directory.path().join("second.sock");
    fs::write(&file, r#"{"group": "4711", "debug": true}"#).unwrap();
    let daemon = Daemon::builder()
        .argument("-H")
        .argument(&format!("unix://{}", second.display()))
        .argument("--config-file")
        .argument(file.to_str().unwrap())
        .start();
    // The first socket answers; the others follow.
    let begun = Instant::now();
    while fs::metadata(&second).ok().is_none_or(|found| found.gid() != 4711) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", fs::metadata(&second));
        std::thread::sleep(Duration::from_millis(5));
    }
    let root = daemon.path().join("another");
    let root = root.to_str().unwrap();
    let refused = |text: &str, code: i32, part: &str| {
        fs::write(&file, text).unwrap();
        let flags = ["daemon", "--config-file", file.to_str().unwrap(), "--data-root", root, "--exec-root", root];
        daemon.fails(&flags, code).saying(part);
        assert!(!Path::new(root).exists());
    };
    refused(r#"{"storage-opts": ["size=1g"]}"#, 125, "storage-opt");
    refused(r#"{"storage-colour": 1}"#, 1, "storage-colour");
    refused(r#"{"hosts": ["tcp://0.0.0.0:1"]}"#, 1, "be root");
    refused("no json", 1, "JSON");
}

/// `docker`, which is this program.
fn docker(daemon: &Daemon) -> PathBuf {
    let link = daemon.path().join("docker");
    symlink(binary(), &link).expect("a new directory");
    link
}

#[test]
fn called_as_docker_it_is_docker() {
    let daemon = Daemon::with_busybox();
    let docker = docker(&daemon);
    let host = daemon.host();
    let run =
        |arguments: &[&str]| run(&daemon, &docker, arguments, &[("DOCKER_HOST", &host), ("CORTEN_HOST", "unix:///x")]);
    assert_eq!(run(&["run", "--rm", "busybox", "sh", "-c", "exit 3"]).code, 3);
    assert_eq!(run(&["run", "--rm", "busybox", "/nothing"]).code, 127);
    assert_eq!(run(&["run", "--rm", "busybox", "/etc"]).code, 126);
    run(&["run", "--nonsense", "busybox"]).fails(125);
    run(&["rm", "nothing"]).fails(1);
    assert_eq!(run(&["context", "show"]).ok().text(), "default");
    let text = run(&["context", "ls", "--format", "{{.Name}} {{.DockerEndpoint}}"]).ok();
    assert_eq!(text.text(), format!("default {host}"));
}

#[test]
fn contexts_lead_to_daemons_until_a_flag_or_variable_says_otherwise() {
    let daemon = Daemon::with_busybox();
    let host = daemon.host();
    let corten = |arguments: &[&str], variables: &[(&str, &str)]| run(&daemon, &binary(), arguments, variables);
    corten(&["context", "create", "here", "--docker", &format!("host={host}"), "--description", "this one"], &[]).ok();
    corten(&["context", "create", "nowhere", "--docker", "host=unix:///nowhere"], &[]).ok();
    corten(&["context", "create", "here"], &[]).fails(1).saying("already");
    corten(&["context", "create", "default"], &[]).fails(1);
    corten(&["context", "use", "here"], &[]).ok();
    let busybox = |finished: Finished| assert!(finished.ok().stdout.contains("busybox"));
    busybox(corten(&["images"], &[]));
    corten(&["images"], &[("CORTEN_CONTEXT", "nowhere")]).fails(1);
    corten(&["images"], &[("CORTEN_HOST", "unix:///x")]).fails(1);
    busybox(corten(&["-c", "here", "images"], &[("CORTEN_HOST", "unix:///x")]));
    busybox(corten(&["-H", &host, "images"], &[("CORTEN_CONTEXT", "nowhere")]));
    corten(&["-H", &host, "-c", "here", "images"], &[]).fails(1);
    let listed = corten(&["context", "ls", "--format", "{{.Current}} {{.Name}} {{.Description}}"], &[]).ok();
    assert!(listed.text().contains("true here this one") && listed.text().contains("false nowhere"), "{listed}");
    corten(&["context", "rm", "here"], &[]).fails(1).saying("in use");
    // To another machine and back.
    let archive = daemon.path().join("archive").to_string_lossy().into_owned();
    corten(&["context", "export", "here", &archive], &[]).ok();
    corten(&["context", "rm", "-f", "here", "nowhere"], &[]).ok();
    corten(&["-c", "here", "images"], &[]).fails(1).saying("no context");
    corten(&["context", "import", "again", &archive], &[]).ok();
    busybox(corten(&["-c", "again", "images"], &[]));
    corten(&["context", "update", "again", "--docker", "host=unix:///x"], &[]).ok();
    let inspected = corten(&["context", "inspect", "-f", "{{.Endpoints.docker.Host}}", "again"], &[]).ok();
    assert_eq!(inspected.text(), "unix:///x");
    assert_eq!(corten(&["context", "show"], &[]).ok().text(), "default");
}
