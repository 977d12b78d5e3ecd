// SPDX-License-Identifier: Apache-2.0
//! Log drivers as Docker's own command line asks for them and reads their logs.

use end_to_end::docker_cli::{docker, finish};
use testkit::Daemon;

#[test]
fn the_docker_command_line_chooses_drivers_and_reads_their_logs() {
    let daemon = Daemon::with_busybox();
    let ok = |arguments: &[&str]| docker(&daemon, arguments);
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
    finish(&daemon, &["logs", "mute"]).fails(1).saying("none");
    for (flag, value, word) in [("--log-opt", "max-sise=1m", "max-sise"), ("--log-driver", "paper", "paper")] {
        let refused = finish(&daemon, &["create", flag, value, "busybox", "true"]).saying(word);
        assert_ne!(refused.code, 0);
    }
}
