// SPDX-License-Identifier: Apache-2.0
//! Contexts, which need no daemon: what one of them says does not keep the others from being listed.

use std::fs;
use std::path::Path;

use testkit::corten::{Finished, Running, binary};
use testkit::process::command;

/// Runs `corten context` with Docker's configuration in `home`.
fn context(home: &Path, arguments: &[&str]) -> Finished {
    let mut command = command(binary());
    command.arg("context").args(arguments).env("HOME", home);
    for variable in ["CORTEN_HOST", "CORTEN_CONTEXT", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_HOST"] {
        command.env_remove(variable);
    }
    Running::start(command, Vec::new()).wait()
}

#[test]
fn one_that_cannot_be_read_is_told_beside_the_others() {
    let home = tempfile::tempdir().expect("a directory");
    for (name, host) in [("near", "unix:///near.sock"), ("far", "ssh://far"), ("torn", "ssh://torn")] {
        context(home.path(), &["create", name, "--docker", &format!("host={host}")]).ok();
    }
    let meta = home.path().join(".docker/contexts/meta");
    let of_torn = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.contains("torn"));
    let files = fs::read_dir(&meta).expect("contexts").map(|entry| entry.expect("one").path().join("meta.json"));
    let torn = files.into_iter().find(|path| of_torn(path)).expect("its record");
    fs::write(&torn, "{\"Name\": \"torn\"").expect("half of a record");
    let listed = context(home.path(), &["ls", "--format", "{{.Name}} {{.DockerEndpoint}}"]).fails(1);
    let lines: Vec<&str> = listed.text().lines().skip(1).collect();
    assert_eq!(lines, ["far ssh://far", "near unix:///near.sock"], "{listed}");
    listed.saying(torn.to_str().expect("a text")).saying("not understood");
    let names = context(home.path(), &["ls", "-q"]).fails(1);
    assert_eq!(names.text().lines().collect::<Vec<_>>(), ["default", "far", "near"], "{names}");
    // Whatever else is asked is not of it.
    context(home.path(), &["use", "far"]).ok();
    context(home.path(), &["rm", "near"]).ok();
    fs::remove_file(&torn).expect("a file");
    let listed = context(home.path(), &["ls", "-q"]).ok();
    assert_eq!(listed.text().lines().collect::<Vec<_>>(), ["default", "far"], "{listed}");
}

#[test]
fn a_new_one_leads_where_the_one_in_use_does() {
    let home = tempfile::tempdir().expect("a directory");
    context(home.path(), &["create", "far", "--docker", "host=ssh://far"]).ok();
    context(home.path(), &["create", "early"]).ok();
    context(home.path(), &["use", "far"]).ok();
    context(home.path(), &["create", "late"]).ok();
    context(home.path(), &["create", "chosen", "--from", "default"]).ok();
    let listed = context(home.path(), &["ls", "--format", "{{.Name}} {{.DockerEndpoint}}"]).ok();
    let endpoint = |name: &str| {
        let found = listed.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("{name}: {listed}")).to_owned()
    };
    assert_eq!(endpoint("late"), "ssh://far");
    assert_eq!((endpoint("early"), endpoint("chosen")), (endpoint("default"), endpoint("default")));
    assert_ne!(endpoint("default"), "ssh://far");
}
