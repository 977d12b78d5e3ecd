// SPDX-License-Identifier: Apache-2.0
//! `--trace`: each step with its time.

use testkit::Daemon;

/// The first number of a line, in whatever unit it is.
fn first_number(line: &str) -> Option<f64> {
    let from = line.find(|c: char| c.is_ascii_digit())?;
    let rest = &line[from..];
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[test]
fn every_step_has_its_time_from_the_clients_start_to_the_exit() {
    let daemon = Daemon::with_busybox();
    let traced = daemon.corten(&["run", "--rm", "--trace", "busybox", "sh", "-c", "echo out; exit 3"]);
    assert_eq!(
        (traced.code, traced.stdout.as_str()),
        (3, "out\n"),
        "a trace changes neither code nor output\n{traced}"
    );
    let lines: Vec<&str> = traced.stderr.lines().collect();
    assert!(lines.len() >= 8, "{traced}");
    let place = |words: &str| {
        let found = lines.iter().position(|line| line.to_lowercase().contains(words));
        found.unwrap_or_else(|| panic!("{words:?} is not a step of\n{traced}"))
    };
    assert!(place("client") < place("network"), "{traced}");
    assert!(place("network") < place("execve"), "{traced}");
    assert!(place("execve") < place("exit"), "{traced}");
    let times: Vec<f64> = lines.iter().filter_map(|line| first_number(line)).collect();
    assert!(times.len() >= 8, "{traced}");
    assert!(times.is_sorted(), "times go backwards\n{traced}");
}

#[test]
fn the_way_is_told_from_the_image_to_the_first_output_as_json_too() {
    let daemon = Daemon::with_busybox();
    let traced = daemon.corten(&["run", "--rm", "--trace=json", "busybox", "echo", "out"]).ok();
    assert_eq!(traced.stdout, "out\n");
    let document: serde_json::Value = serde_json::from_str(&traced.stderr).expect("JSON");
    let steps = document["Steps"].as_array().expect("steps");
    let place = |words: &str| {
        let found = steps.iter().position(|step| step["Name"].as_str().is_some_and(|name| name.contains(words)));
        found.unwrap_or_else(|| panic!("{words:?} is not a step of {document}"))
    };
    let way = ["request read", "image: found", "snapshot:", "network:", "shim told", "plan", "pivot root", "execve"];
    assert!(way.map(place).is_sorted(), "{document}");
    // The zygote and its child go on side by side: either may tell its next step first.
    assert!((place("configuration made")..place("daemon: started")).contains(&place("shim cloned")), "{document}");
    assert!(place("execve") < place("client: first output") && place("execve") < place("exit recorded"), "{document}");
    let times: Vec<f64> = steps.iter().filter_map(|step| step["Milliseconds"].as_f64()).collect();
    assert!(times.len() == steps.len() && times.is_sorted(), "{document}");
    daemon.fails(&["run", "--rm", "--trace=xml", "busybox", "true"], 125).saying("xml");
}

#[test]
fn without_it_nothing_is_said() {
    let daemon = Daemon::with_busybox();
    assert_eq!(daemon.corten(&["run", "--rm", "busybox", "true"]).ok().stderr, "");
}
