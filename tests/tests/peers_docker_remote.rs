// SPDX-License-Identifier: Apache-2.0
//! Docker's command line over TLS, and contexts that either program has made.

use std::path::Path;

use testkit::Daemon;
use testkit::corten::{Finished, Running, binary};
use testkit::process::command;

const TCP: &str = "tcp://127.0.0.1:2376";

fn certificate(name: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/registry-client/tests/tls");
    directory.join(name).to_string_lossy().into_owned()
}

/// Runs a program with one configuration for both, and without addresses in its environment.
#[track_caller]
fn run(daemon: &Daemon, program: &Path, arguments: &[&str]) -> Finished {
    let mut command = command(program);
    command.args(arguments).env_remove("CORTEN_HOST").env_remove("DOCKER_HOST").env("DOCKER_CONFIG", daemon.path());
    daemon.sandbox().run(move || Running::start(command, Vec::new())).wait()
}

#[test]
fn docker_shows_its_certificate_and_shares_contexts() {
    let mut builder = Daemon::builder().argument("-H").argument(TCP).argument("--tlsverify");
    for (flag, file) in [("--tlscacert", "ca2.pem"), ("--tlscert", "server.pem"), ("--tlskey", "server.key")] {
        builder = builder.argument(flag).argument(&certificate(file));
    }
    let daemon = builder.start();
    daemon.import_busybox();
    let docker = |arguments: &[&str]| run(&daemon, Path::new("docker"), arguments);
    let corten = |arguments: &[&str]| run(&daemon, &binary(), arguments);
    let (ca, shown, key) = (certificate("ca.pem"), certificate("client.pem"), certificate("client.key"));
    let tls = ["-H", TCP, "--tlsverify", "--tlscacert", &ca, "--tlscert", &shown, "--tlskey", &key];
    let script = ["run", "--rm", "busybox", "sh", "-c", "echo over tls; exit 5"];
    let there = docker(&[&tls[..], &script].concat());
    assert_eq!((there.text(), there.code), ("over tls", 5), "{there}");
    let stranger = ["-H", TCP, "--tlsverify", "--tlscacert", &ca, "--tlscert", &certificate("server.pem"), "--tlskey"];
    docker(&[&stranger[..], &[&certificate("server.key"), "ps"]].concat()).fails(1);

    let settings = format!("host={TCP},ca={ca},cert={shown},key={key}");
    docker(&["context", "create", "theirs", "--docker", &settings, "--description", "of docker"]).ok();
    corten(&["context", "create", "ours", "--docker", &settings]).ok();
    for name in ["theirs", "ours"] {
        assert!(corten(&["-c", name, "images"]).ok().stdout.contains("busybox"));
        assert!(docker(&["-c", name, "images"]).ok().stdout.contains("busybox"));
    }
    corten(&["context", "use", "theirs"]).ok();
    assert_eq!(docker(&["context", "show"]).ok().text(), "theirs");
    let archive = daemon.path().join("archive").to_string_lossy().into_owned();
    docker(&["context", "export", "theirs", &archive]).ok();
    corten(&["context", "import", "moved", &archive]).ok();
    docker(&["-c", "moved", "ps"]).ok();
    let list = |finished: Finished| finished.ok().text().to_owned();
    let format = ["context", "ls", "--format", "{{.Name}} {{.DockerEndpoint}} {{.Current}}"];
    let named =
        |text: String| text.lines().filter(|line| !line.starts_with("default")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(named(list(corten(&format))), named(list(docker(&format))));
}
