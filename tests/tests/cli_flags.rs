// SPDX-License-Identifier: Apache-2.0
//! What the command line has beside the flags of isolation: files of ids and labels, formats, sizes, the user's
//! configuration; and what it refuses by name.

use std::fs;

use serde_json::Value;
use testkit::Daemon;

/// The one line that is printed with this configuration of Docker's.
#[track_caller]
fn configured(daemon: &Daemon, arguments: &[&str]) -> String {
    let config = daemon.path().join("config");
    let variables = [("DOCKER_CONFIG", config.to_str().expect("a text"))];
    daemon.spawn_with(arguments, b"", &variables).wait().ok().text().to_owned()
}

fn configure(daemon: &Daemon, text: &str) {
    let config = daemon.path().join("config");
    fs::create_dir_all(&config).expect("a directory");
    fs::write(config.join("config.json"), text).expect("a file");
}

#[test]
fn the_id_goes_into_a_file_that_was_not_there() {
    let daemon = Daemon::with_busybox();
    let path = |name: &str| daemon.path().join(name).display().to_string();
    let (made, ran, left) = (path("made"), path("ran"), path("left"));
    let id = daemon.ok(&["create", "--cidfile", &made, "busybox", "true"]);
    assert_eq!(fs::read_to_string(&made).unwrap(), id);
    let id = daemon.ok(&["run", "-d", "--cidfile", &ran, "busybox", "sleep", "60"]);
    assert_eq!(fs::read_to_string(&ran).unwrap(), id);
    // One that is there may be another container's: nothing is made, and it stays what it was.
    let before = daemon.ok(&["ps", "-aq"]);
    daemon.fails(&["run", "--cidfile", &made, "busybox", "true"], 125).saying("is there already");
    assert_eq!(daemon.ok(&["ps", "-aq"]), before);
    // Where no container is made there is no file either.
    daemon.fails(&["run", "--cidfile", &left, "--pull", "never", "no-such-image", "true"], 125);
    daemon.fails(&["create", "--cidfile", &left, "--memory", "1", "busybox"], 125);
    assert!(!std::path::Path::new(&left).exists());
    daemon.fails(&["create", "--cidfile", &path("no/such/place"), "busybox"], 125).saying("no/such/place");
    assert_eq!(daemon.ok(&["run", "--rm", "--cidfile", &left, "busybox", "echo", "attached"]), "attached");
    assert_eq!(fs::read_to_string(&left).unwrap().len(), 64);
}

#[test]
fn labels_come_from_files_and_annotations_are_kept() {
    let daemon = Daemon::with_busybox();
    let file = daemon.path().join("labels");
    fs::write(&file, "# of the team\na=file\nb=2=3\n\nc\n").unwrap();
    let file = file.to_str().unwrap();
    let flags = ["--label-file", file, "--label", "a=flag", "--annotation", "org.example/k=v=w"];
    let id = daemon.ok(&[&["run", "-d"], &flags[..], &["busybox", "sleep", "60"]].concat());
    let found = daemon.inspect(&id);
    let labels = &found["Config"]["Labels"];
    assert_eq!((&labels["a"], &labels["b"], &labels["c"]), (&"flag".into(), &"2=3".into(), &"".into()));
    assert_eq!(found["HostConfig"]["Annotations"], serde_json::json!({"org.example/k": "v=w"}));
    // They outlive a daemon.
    daemon.kill();
    daemon.start();
    assert_eq!(daemon.inspect(&id)["HostConfig"]["Annotations"]["org.example/k"], "v=w");
    daemon.fails(&["create", "--annotation", "=v", "busybox"], 125).saying("=v");
    daemon.fails(&["create", "--label-file", "/no/such/file", "busybox"], 125).saying("/no/such/file");
}

/// A hook is told the container's annotations by the runtime.
#[test]
fn annotations_are_told_to_hooks() {
    let directory = tempfile::tempdir().unwrap();
    let told = directory.path().join("told");
    let edits = serde_json::json!({"hooks": [
        {"hookName": "createContainer", "path": "/bin/sh", "args": ["sh", "-c", format!("cat > {}", told.display())]},
    ]});
    let device = serde_json::json!({"name": "any", "containerEdits": edits});
    let description = serde_json::json!({"cdiVersion": "0.6.0", "kind": "example.org/hook", "devices": [device]});
    fs::write(directory.path().join("hook.json"), description.to_string()).unwrap();
    let daemon = Daemon::builder().argument("--cdi-spec-dir").argument(&directory.path().to_string_lossy()).start();
    daemon.import_busybox();
    let device = ["--device", "example.org/hook=any", "--annotation", "org.example/k=v=w"];
    daemon.ok(&[&["run", "--rm"], &device[..], &["busybox", "true"]].concat());
    let state: Value = serde_json::from_str(&fs::read_to_string(&told).unwrap()).unwrap();
    assert_eq!(state["annotations"], serde_json::json!({"org.example/k": "v=w"}));
}

#[test]
fn sizes_are_told_to_who_asks() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "--name", "wrote", "busybox", "sh", "-c", "head -c 300000 /dev/urandom > /file"]);
    daemon.ok(&["create", "--name", "new", "busybox", "true"]);
    let listed = daemon.ok(&["ps", "-a", "--size", "--format", "{{.Names}} {{.Size}}"]);
    let size = |name: &str| listed.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(size("wrote").starts_with("wrote 30") && size("wrote").contains("kB (virtual "), "{listed}");
    assert!(size("new").starts_with("new 0B (virtual "), "{listed}");
    // A template that names the size asks for it; the table has it on demand.
    assert_eq!(daemon.ok(&["ps", "-a", "--format", "{{.Names}} {{.Size}}"]), listed);
    let header = |flags: &[&str]| daemon.ok(flags).lines().next().unwrap_or_default().to_owned();
    assert!(header(&["ps", "-as"]).ends_with("SIZE") && header(&["ps", "-a"]).ends_with("NAMES"));
    let inspected: Value = serde_json::from_str(&daemon.ok(&["inspect", "--size", "wrote"])).unwrap();
    let bytes = |field: &str| inspected[0][field].as_u64().unwrap_or_default();
    assert!((300_000..400_000).contains(&bytes("SizeRw")) && bytes("SizeRootFs") > bytes("SizeRw"), "{inspected}");
    assert_eq!(daemon.inspect("wrote")["SizeRw"], Value::Null);
    let template = "{{if .SizeRw}}{{.SizeRw}}{{else}}not asked{{end}}";
    assert_eq!(daemon.ok(&["container", "inspect", "-f", template, "wrote"]), "not asked");
}

#[test]
fn formats_are_gos_templates() {
    let daemon = Daemon::with_busybox();
    let run = ["run", "-d", "--name", "web", "-l", "org.example.tier=front", "-p", "127.0.0.1:0:80", "-v", "kept:/v"];
    daemon.ok(&[&run[..], &["busybox", "sleep", "60"]].concat());
    let format = |template: &str| daemon.ok(&["inspect", "-f", template, "web"]);
    let address = format("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
    assert!(address.parse::<std::net::Ipv4Addr>().is_ok(), "{address}");
    let port = format(r#"{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}"#);
    assert!(port.parse::<u16>().is_ok_and(|port| port > 0), "{port}");
    assert_eq!(format(r#"{{index .Config.Labels "org.example.tier"}}"#), "front");
    assert_eq!(format("{{range .Mounts}}{{.Type}}:{{.Destination}}{{end}}"), "volume:/v");
    assert_eq!(format("{{with .State.Health}}{{.Status}}{{else}}unchecked{{end}}"), "unchecked");
    assert_eq!(format("{{join .Config.Cmd \",\" | upper}}"), "SLEEP,60");
    let ps = |template: &str| daemon.ok(&["ps", "--format", template]);
    assert_eq!(ps(r#"{{.Names}} {{.State}} {{.Networks}} {{.Mounts}} {{.LocalVolumes}}"#), "web running bridge kept 1");
    assert_eq!(ps(r#"table {{.Names}}\t{{.Label "org.example.tier"}}"#), "NAMES     tier\nweb       front");
    let json: Value = serde_json::from_str(&ps("json")).unwrap();
    assert_eq!((&json["Labels"], json.get("Label")), (&"org.example.tier=front".into(), None));
    daemon.fails(&["ps", "--format", "{{.Colour}}"], 1).saying("Colour");
    daemon.fails(&["ps", "--format", "{{range .Names}}"], 1).saying("{{end}}");
    assert_eq!(daemon.ok(&["inspect", "-f", "{{.Name}}", "kept"]), "kept");
    assert_eq!(daemon.ok(&["inspect", "--type", "network", "-f", "{{.Driver}}", "bridge"]), "bridge");
}

#[test]
fn the_users_configuration_counts() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "web", "busybox", "sleep", "60"]);
    let config = r#"{"psFormat": "{{.Names}}", "imagesFormat": "table {{.Tag}}", "volumesFormat": "v", "networksFormat": "{{.Name}}",
        "detachKeys": "ctrl-x,x", "proxies": {"default": {"httpProxy": "http://proxy:3128"}}}"#;
    configure(&daemon, config);
    let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(configured(&daemon, &["ps"]), "web");
    assert_eq!(lines(configured(&daemon, &["images", "busybox"])), ["TAG", "latest"]);
    assert!(lines(configured(&daemon, &["network", "ls"])).contains(&"bridge".to_owned()));
    // What is said in the command goes first.
    assert_eq!(configured(&daemon, &["ps", "--format", "{{.State}}"]), "running");
    assert_eq!(configured(&daemon, &["ps", "-q"]).len(), 12);
    assert_eq!(configured(&daemon, &["ps", "--filter", "is-task=true"]), "");
    assert_eq!(configured(&daemon, &["ps", "--filter", "is-task=false", "--filter", "isolation=default"]), "web");
    let seen = configured(&daemon, &["run", "--rm", "-e", "https_proxy=mine", "busybox", "env"]);
    for variable in ["HTTP_PROXY=http://proxy:3128", "http_proxy=http://proxy:3128", "https_proxy=mine"] {
        assert!(seen.lines().any(|line| line == variable), "{variable}: {seen}");
    }
    configure(&daemon, r#"{"psFormat": 7, "detachKeys": "ctrl-é"}"#);
    let variables = [("DOCKER_CONFIG", daemon.path().join("config").display().to_string())];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    for (command, word) in [(&["ps"][..], "psFormat"), (&["attach", "web"], "detachKeys")] {
        daemon.spawn_with(command, b"", &variables).wait().fails(1).saying(word);
    }
}

#[test]
fn keys_of_the_configuration_leave_a_terminal() {
    let daemon = Daemon::with_busybox();
    configure(&daemon, r#"{"detachKeys": "ctrl-x,x"}"#);
    let config = daemon.path().join("config").display().to_string();
    let run = ["--config", &config, "run", "-it", "--name", "shell", "busybox", "sh", "-c", "echo ready; cat"];
    let mut terminal = daemon.terminal(&run, 24, 80);
    terminal.expect("ready");
    terminal.send("\x18x");
    terminal.expect("detached");
    assert_eq!(terminal.wait(), 0);
    assert_eq!(daemon.inspect("shell")["State"]["Running"], true);
}

#[test]
fn a_terminal_shows_how_far_a_copy_is() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "60"]);
    let file = daemon.path().join("large");
    fs::write(&file, vec![7; 3 << 20]).unwrap();
    let (here, back) = (file.display().to_string(), daemon.path().join("back").display().to_string());
    let copy = |words: &[&str]| {
        let mut terminal = daemon.terminal(&[&["cp"], words].concat(), 24, 200);
        assert_eq!(terminal.wait(), 0);
        terminal.shown()
    };
    let shown = copy(&[&here, "box:/large"]);
    assert!(
        shown.contains("Copying to container - ") && shown.contains("Successfully copied 3.15MB to box:/large"),
        "{shown}"
    );
    // What was shown of the way is gone before the end is told.
    assert!(shown.contains("\x1b[KSuccessfully"), "{shown:?}");
    let shown = copy(&["box:/large", &back]);
    assert!(shown.contains("Copying from container - ") && shown.contains("Successfully copied"), "{shown}");
    assert_eq!(fs::read(&back).unwrap(), fs::read(&file).unwrap());
    assert_eq!(copy(&["-q", &here, "box:/large"]), "");
    assert_eq!(daemon.corten(&["cp", &here, "box:/large"]).ok().stderr, "");
}

#[test]
fn flags_of_dockers_without_a_meaning_are_refused_by_name() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["create", "--name", "made", "busybox", "true"]);
    for (line, word) in [
        (&["rm", "--link", "made"][..], "--link"),
        (&["start", "--checkpoint", "x", "made"], "--checkpoint"),
        (&["images", "--tree"], "--tree"),
        (&["pull", "--disable-content-trust=false", "busybox"], "Notary"),
        (&["volume", "ls", "--cluster"], "--cluster"),
        (&["volume", "create", "--availability", "active", "v"], "--availability"),
        (&["inspect", "--type", "service", "made"], "swarm"),
        (&["history", "--platform", "linux/s390x", "busybox"], "linux/s390x"),
        (&["rmi", "--platform", "linux/s390x", "busybox"], "linux/s390x"),
        (&["search", "busybox"], "search"),
    ] {
        let failed = daemon.corten(line);
        assert!(failed.code != 0 && failed.stderr.contains(word), "{failed}");
    }
    assert!(daemon.corten(&["create", "--disable-content-trust=false", "busybox"]).stderr.contains("Notary"));
    daemon.ok(&["history", "--platform", "linux", "busybox"]);
    // A value that is wrong is told as such, hyphen or not.
    daemon.fails(&["create", "--health-interval", "-1s", "busybox"], 125).saying("-1s");
    let quiet = daemon.corten(&["create", "--quiet", "--pull", "missing", "127.0.0.1:1/no/such", "true"]);
    assert!(quiet.code == 125 && !quiet.stderr.contains("Unable to find"), "{quiet}");
}
