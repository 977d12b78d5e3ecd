// SPDX-License-Identifier: Apache-2.0
//! Log drivers as Docker's own command line asks for them and reads their logs.

use testkit::process::command;
use testkit::{Daemon, Finished, Running};

/// `docker` with these arguments, as a client of Corten.
fn docker(daemon: &Daemon, arguments: &[&str]) -> Finished {
    let mut docker = command("docker");
    docker.args(arguments).env("DOCKER_HOST", daemon.host()).env("DOCKER_CONFIG", daemon.path());
    daemon.sandbox().run(move || Running::start(docker, Vec::new())).wait()
}

#[test]
fn the_docker_command_line_chooses_drivers_and_reads_their_logs() {
    let daemon = Daemon::with_busybox();
    let ok = |arguments: &[&str]| docker(&daemon, arguments).ok().text().to_owned();
    assert_eq!(ok(&["info", "--format", "{{.LoggingDriver}}"]), "json-file");
    assert!(ok(&["info", "--format", "{{json .Plugins.Log}}"]).contains("\"fluentd\""));
    for driver in ["json-file", "local"] {
        let log = ["--log-driver", driver, "--log-opt", "max-size=20k", "--log-opt", "max-file=30"];
        let tag = ["--log-opt", "tag={{.Name}}", "--log-opt", "labels=team", "--label", "team=a/b"];
        let run = ["run", "--name", driver, "--network", "none"];
        let script = ["busybox", "sh", "-c", "seq 1 2000; echo oops >&2"];
        ok(&[&run[..], &log, &tag, &script].concat());
        let config = ok(&[
            "inspect",
            "--format",
            "{{.HostConfig.LogConfig.Type}} {{index .HostConfig.LogConfig.Config \"max-file\"}}",
            driver,
        ]);
        assert_eq!(config, format!("{driver} 30"));
        let expected: String = (1..=2000).map(|number| format!("{number}\n")).collect();
        assert_eq!(ok(&["logs", driver]), expected.trim_end(), "{driver}, over its rotated files");
        assert_eq!(ok(&["logs", "--follow", "--tail", "11", driver]).lines().last(), Some("2000"), "{driver}");
        let details = ok(&["logs", "--details", "--tail", "5", driver]);
        assert_eq!(details.lines().last(), Some(&*format!("tag={driver},team=a%2Fb 2000")), "{driver}");
        let stamped = ok(&["logs", "--timestamps", driver]);
        let time = stamped.lines().nth(1499).and_then(|line| line.split(' ').next()).expect("a time").to_owned();
        assert_eq!(ok(&["logs", "--since", &time, driver]).lines().next(), Some("1500"), "{driver}");
        assert_eq!(ok(&["logs", "--until", &time, driver]).lines().last(), Some("1500"), "{driver}");
    }
    let path = ok(&["inspect", "--format", "{{.LogPath}}", "json-file"]);
    let newest = std::fs::read_to_string(path).expect("the log");
    let last: serde_json::Value = serde_json::from_str(newest.lines().last().expect("a line")).expect("JSON");
    assert!(last["time"].is_string() && last["attrs"]["tag"] == "json-file", "{last}");

    ok(&["run", "--name", "mute", "--log-driver", "none", "busybox", "echo", "x"]);
    docker(&daemon, &["logs", "mute"]).saying("none");
    docker(&daemon, &["create", "--log-opt", "max-sise=1m", "busybox", "true"]).saying("max-sise");
    docker(&daemon, &["create", "--log-driver", "paper", "busybox", "true"]).saying("paper");
}
