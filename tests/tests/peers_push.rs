// SPDX-License-Identifier: Apache-2.0
//! Images to the world: pushed into Debian's registry, read there by skopeo, with and without a login.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::Mode;
use serde_json::Value;
use testkit::Daemon;
use testkit::corten::Finished;
use testkit::fixtures::busybox;
use testkit::fixtures::registry::{PASSWORD, Registry, USER};
use testkit::terminal::Terminal;

/// Imports busybox under this name.
fn import(daemon: &Daemon, name: &str) {
    let archive = daemon.path().join("busybox.tar");
    busybox::write(&archive);
    daemon.ok(&["import", "-c", "CMD [\"echo\", \"pushed\"]", &archive.to_string_lossy(), name]);
}

fn id(daemon: &Daemon, name: &str) -> String {
    daemon.inspect(name)["Id"].as_str().expect("an id").to_owned()
}

#[test]
fn an_image_is_pushed_and_pulled_back_and_pushed_again_for_nothing() {
    let daemon = Daemon::builder().start();
    let registry = Registry::start(&daemon);
    let name = registry.name("team/app:v1");
    import(&daemon, &name);
    let id = id(&daemon, &name);
    let pushed = daemon.corten(&["push", &name]).ok();
    assert_eq!(pushed.text(), name);
    assert!(pushed.stderr.contains(": Pushed") && pushed.stderr.contains("v1: digest: sha256:"), "{pushed}");
    let manifest = registry.manifest(&name);
    assert_eq!(manifest["config"]["digest"], id.as_str());
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    let again = daemon.corten(&["push", &name]).ok();
    assert!(again.stderr.contains("Layer already exists") && !again.stderr.contains(": Pushed"), "{again}");
    assert_eq!(daemon.corten(&["push", "-q", &name]).ok().stderr, "");
    daemon.ok(&["rmi", &name]);
    assert_eq!(daemon.ok(&["run", "--rm", &name]), "pushed");
    assert_eq!(self::id(&daemon, &name), id);
}

#[test]
fn layers_are_compressed_as_asked_and_all_tags_pushed() {
    let daemon = Daemon::builder().start();
    let registry = Registry::start(&daemon);
    let (one, two) = (registry.name("app:one"), registry.name("app:two"));
    import(&daemon, &one);
    import(&daemon, &two);
    daemon.ok(&["push", "--all-tags", "--compression", "zstd", &registry.name("app")]);
    let tags: Value = serde_json::from_str(&registry.skopeo(&[
        "list-tags",
        "--tls-verify=false",
        &format!("docker://{}", registry.name("app")),
    ]))
    .unwrap();
    assert_eq!(tags["Tags"], serde_json::json!(["one", "two"]));
    let plain = fs::metadata(daemon.path().join("busybox.tar")).unwrap().len();
    for name in [&one, &two] {
        let layer = &registry.manifest(name)["layers"][0];
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
        assert!(layer["size"].as_u64().unwrap() < plain * 7 / 10, "{layer} of {plain}");
    }
    daemon.ok(&["push", "--compression", "gzip", &one]);
    assert_eq!(registry.manifest(&one)["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    let target = format!("dir:{}", daemon.path().join("copy").display());
    registry.skopeo(&["--insecure-policy", "copy", "--src-tls-verify=false", &format!("docker://{one}"), &target]);
    daemon.ok(&["rmi", &one, &two]);
    assert_eq!(daemon.ok(&["run", "--rm", &one]), "pushed");
    daemon.fails(&["push", "-a", &one], 1).saying("--all-tags");
    daemon.fails(&["push", "--compression", "lzma", &one], 125).saying("lzma");
}

#[test]
fn what_cannot_be_pushed_says_why() {
    let daemon = Daemon::builder().start();
    daemon.fails(&["push", "127.0.0.1:5000/nothing"], 1).saying("nothing");
    let name = "127.0.0.1:5000/app";
    import(&daemon, name);
    daemon.fails(&["push", name], 1).saying("cannot reach registry 127.0.0.1:5000");
    let registry = Registry::start(&daemon);
    let push = ["push", "--compression", "keep", name];
    let layer = {
        daemon.ok(&push);
        registry.manifest(name)["layers"][0]["digest"].as_str().unwrap().to_owned()
    };
    fs::remove_file(daemon.path().join("data/content/blobs").join(layer.replace(':', "/"))).unwrap();
    daemon.ok(&push);
    fs::remove_file(registry.blob(&layer)).unwrap();
    daemon.fails(&push, 1).saying(&format!("blob {layer}")).saying("not on this host");
}

/// `corten` of a user whose home is in the daemon's directory.
fn as_user(daemon: &Daemon, arguments: &[&str], input: &str) -> Finished {
    let home = daemon.path().join("home");
    fs::create_dir_all(&home).expect("a directory");
    let path = format!("{}:/usr/bin:/bin", daemon.path().join("bin").display());
    let variables = [("HOME", home.to_str().expect("a path in UTF-8")), ("PATH", &path), ("XDG_CONFIG_HOME", "")];
    daemon.spawn_with(arguments, input.as_bytes(), &variables).wait()
}

/// Every file below a directory, with its content.
fn files(directory: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    entries
        .flat_map(
            |path| if path.is_dir() { files(&path) } else { vec![(path.clone(), fs::read(&path).expect("a file"))] },
        )
        .collect()
}

#[test]
fn a_login_is_proved_kept_sealed_used_and_forgotten() {
    let daemon = Daemon::builder().start();
    let registry = Registry::with_login(&daemon);
    let (name, server) = (registry.name("private:1"), registry.name("").trim_end_matches('/').to_owned());
    import(&daemon, &name);
    as_user(&daemon, &["push", &name], "").fails(1).saying("corten login");
    let login = ["login", "-u", USER, "--password-stdin", &server];
    let wrong = as_user(&daemon, &login, "wrong\n").fails(1).saying("credentials");
    assert!(!wrong.stderr.contains("wrong"), "the password is repeated\n{wrong}");
    as_user(&daemon, &["push", &name], "").fails(1);
    let right = as_user(&daemon, &login, &format!("{PASSWORD}\n")).ok();
    assert_eq!(right.text(), "Login Succeeded");
    assert!(right.stderr.contains("credentials") && right.stderr.contains("credsStore"), "{right}");
    let kept = files(&daemon.path().join("home"));
    assert!(kept.iter().any(|(path, _)| path.ends_with(".config/corten/credentials")), "{kept:?}");
    for (path, content) in &kept {
        assert!(!content.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes()), "{path:?}");
        let mode = Mode::from_raw_mode(fs::metadata(path).unwrap().permissions().mode());
        assert!(!mode.intersects(Mode::RWXG | Mode::RWXO), "{path:?} {mode:?}");
    }
    as_user(&daemon, &["push", &name], "").ok();
    daemon.ok(&["rmi", &name]);
    daemon.fails(&["pull", &name], 1).saying("corten login");
    assert_eq!(as_user(&daemon, &["run", "--rm", &name], "").ok().text(), "pushed");
    assert!(!daemon.log().contains(PASSWORD));
    assert!(as_user(&daemon, &["logout", &server], "").ok().text().contains("Removed the login"));
    assert!(as_user(&daemon, &["logout", &server], "").ok().text().contains("Not logged in"));
    as_user(&daemon, &["push", &name], "").fails(1).saying("corten login");
    as_user(&daemon, &["login", &server], "").fails(1).saying("--password-stdin");
    as_user(&daemon, &["login", "--password-stdin", &server], "x").fails(1).saying("--username");
}

#[test]
fn a_credential_helper_keeps_the_password_and_gets_it_through_a_pipe() {
    let daemon = Daemon::builder().start();
    let registry = Registry::with_login(&daemon);
    let (name, server) = (registry.name("private:1"), registry.name("").trim_end_matches('/').to_owned());
    import(&daemon, &name);
    let (bin, kept) = (daemon.path().join("bin"), daemon.path().join("kept"));
    fs::create_dir_all(&bin).unwrap();
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {kept}.arguments\ncase $1 in\nstore) cat > {kept};;\nerase) rm {kept};;\n\
         get) cat {kept} 2>/dev/null || {{ echo 'credentials not found in native keychain'; exit 1; }};;\nesac\n",
        kept = kept.display()
    );
    fs::write(bin.join("docker-credential-test"), script).unwrap();
    fs::set_permissions(bin.join("docker-credential-test"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(daemon.path().join("home/.docker")).unwrap();
    let config = daemon.path().join("home/.docker/config.json");
    fs::write(&config, r#"{"credsStore":"test"}"#).unwrap();
    as_user(&daemon, &["push", &name], "").fails(1).saying("corten login");
    let login = ["login", "-u", USER, "--password-stdin", &server];
    as_user(&daemon, &login, PASSWORD).ok().stderr.find("docker-credential-test").expect("it is said who keeps it");
    let stored: Value = serde_json::from_slice(&fs::read(&kept).unwrap()).unwrap();
    assert_eq!(stored, serde_json::json!({"ServerURL": server, "Username": USER, "Secret": PASSWORD}));
    assert!(!fs::read_to_string(kept.with_extension("arguments")).unwrap().contains(PASSWORD));
    assert!(!daemon.path().join("home/.config").exists(), "nothing is kept twice");
    as_user(&daemon, &["push", &name], "").ok();
    as_user(&daemon, &["logout", &server], "").ok();
    assert!(!kept.exists());
    as_user(&daemon, &["push", &name], "").fails(1);
    fs::write(&config, r#"{"credHelpers":{"127.0.0.1:5000":"absent"}}"#).unwrap();
    as_user(&daemon, &["push", &name], "").fails(1).saying("docker-credential-absent");
    as_user(&daemon, &login, PASSWORD).fails(1).saying("docker-credential-absent");
}

#[test]
fn dockers_command_line_logs_in_and_pushes_and_its_login_is_good_for_corten() {
    let daemon = Daemon::builder().start();
    let registry = Registry::with_login(&daemon);
    let (name, server) = (registry.name("private:1"), registry.name("").trim_end_matches('/').to_owned());
    import(&daemon, &name);
    let home = daemon.path().join("home");
    fs::create_dir_all(&home).unwrap();
    let docker = |arguments: &[&str], input: &str| {
        let mut command = testkit::process::command("docker");
        command.args(arguments).env("DOCKER_HOST", daemon.host()).env("HOME", &home);
        let input = input.as_bytes().to_vec();
        daemon.sandbox().run(move || testkit::corten::Running::start(command, input)).wait()
    };
    docker(&["push", &name], "").fails(1);
    docker(&["login", "-u", USER, "--password-stdin", &server], "wrong").fails(1);
    docker(&["login", "-u", USER, "--password-stdin", &server], PASSWORD).ok();
    let pushed = docker(&["push", &name], "").ok();
    assert!(pushed.stdout.contains("1: digest: sha256:"), "{pushed}");
    let again = as_user(&daemon, &["push", &name], "").ok();
    assert!(again.stderr.contains("Layer already exists"), "Docker's plain entry is read\n{again}");
    let out = as_user(&daemon, &["logout", &server], "").ok();
    assert!(out.stderr.contains("docker logout"), "{out}");
}

#[test]
fn a_password_that_is_typed_is_not_shown_and_may_be_given_up() {
    let daemon = Daemon::builder().start();
    let registry = Registry::with_login(&daemon);
    let server = registry.name("").trim_end_matches('/').to_owned();
    let home = daemon.path().join("home");
    fs::create_dir_all(&home).unwrap();
    let mut command = testkit::process::command(testkit::corten::binary());
    command.args(["login", &server]).env("CORTEN_HOST", daemon.host()).env("HOME", &home).env("XDG_CONFIG_HOME", "");
    let mut terminal = Terminal::start(daemon.sandbox(), &command, 24, 80);
    terminal.expect("Username: ");
    terminal.send(&format!("{USER}\n"));
    terminal.expect("Password: ");
    terminal.send(&format!("{PASSWORD}\n"));
    terminal.expect("Login Succeeded");
    assert_eq!(terminal.wait(), 0);
    assert!(!terminal.shown().contains(PASSWORD), "{}", terminal.shown());
    assert!(terminal.echoes());
    let mut terminal = Terminal::start(daemon.sandbox(), &command, 24, 80);
    terminal.expect("Username: ");
    terminal.send(&format!("{USER}\n"));
    terminal.expect("Password: ");
    terminal.send("half a pass\u{3}");
    assert_eq!(terminal.wait(), 130);
    assert!(terminal.echoes(), "the terminal is left as it was");
}
