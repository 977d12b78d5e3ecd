// SPDX-License-Identifier: Apache-2.0
//! `container prune` and `system prune`: what is unused goes, what is used stays, and the user is asked.

use serde_json::{Value, json};
use testkit::Daemon;
use testkit::http::ask;

fn names(daemon: &Daemon) -> Vec<String> {
    let mut names: Vec<String> =
        daemon.ok(&["ps", "-a", "--format", "{{.Names}}"]).lines().map(str::to_owned).collect();
    names.sort();
    names
}

fn prune(daemon: &Daemon, filters: &Value) -> Value {
    // Of what stands in filters, these have a meaning in an address.
    let filters = filters.to_string().replace('"', "%22").replace('{', "%7B").replace('}', "%7D");
    ask(daemon, "POST", &format!("/v1.47/containers/prune?filters={filters}"), &[], b"").expect(200)
}

#[test]
fn containers_that_do_not_run_go_by_label_and_age() {
    let daemon = Daemon::with_busybox();
    let created = |name: &str, label: &str| daemon.ok(&["create", "--name", name, "--label", label, "busybox", "true"]);
    let (web, keep) = (created("web", "tier=web"), created("keep", "keep"));
    let fill = "head -c 300000 /dev/zero > /file";
    daemon.ok(&["run", "--name", "full", "--label", "tier=db", "busybox", "sh", "-c", fill]);
    daemon.ok(&["run", "-d", "--name", "runs", "busybox", "sleep", "600"]);
    daemon.ok(&["run", "-d", "--name", "stands", "busybox", "sleep", "600"]);
    daemon.ok(&["pause", "stands"]);

    let pruned = prune(&daemon, &json!({"label": ["tier=web"]}));
    assert_eq!(pruned["ContainersDeleted"], json!([web]));
    assert_eq!(prune(&daemon, &json!({"until": ["1h"]}))["ContainersDeleted"], json!([]), "none is an hour old");
    let pruned = prune(&daemon, &json!({"label!": {"keep": true}, "until": ["0s"]}));
    assert_eq!(pruned["ContainersDeleted"].as_array().map(Vec::len), Some(1), "{pruned}");
    assert!(pruned["SpaceReclaimed"].as_u64().is_some_and(|bytes| bytes >= 300_000), "{pruned}");
    assert_eq!(names(&daemon), ["keep", "runs", "stands"]);

    let said = daemon.ok(&["container", "prune", "-f"]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines[0], lines[1]), ("Deleted Containers:", keep.as_str()), "{said}");
    assert!(lines[3].starts_with("Total reclaimed space: "), "{said}");
    let format = "{{json .Actor}}";
    let told = daemon.ok(&["events", "--since", "1h", "--until", "0s", "-f", "event=prune", "--format", format]);
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(told.len(), 4, "{told:?}");
    let reclaimed = pruned["SpaceReclaimed"].to_string();
    assert_eq!(told[2], json!({"ID": "", "Attributes": {"reclaimed": reclaimed}}));
    assert_eq!(ask(&daemon, "POST", "/v1.24/containers/prune", &[], b"").status, 404, "it came with 1.25");
    daemon.ok(&["unpause", "stands"]);
}

#[test]
fn system_prune_takes_what_is_unused_of_every_kind() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["tag", "busybox", "other"]);
    daemon.ok(&["create", "--name", "gone", "-v", "/anonymous", "-v", "named:/n", "busybox", "true"]);
    daemon.ok(&["network", "create", "empty"]);
    daemon.ok(&["network", "create", "lived-in"]);
    daemon.ok(&["run", "-d", "--name", "runs", "--network", "lived-in", "busybox", "sleep", "600"]);
    let left = || {
        let volumes = daemon.ok(&["volume", "ls", "-q"]).lines().count();
        let networks = daemon.ok(&["network", "ls", "-q", "-f", "type=custom"]).lines().count();
        (names(&daemon).len(), networks, volumes, daemon.ok(&["images", "-q", "other"]).lines().count())
    };
    assert_eq!(left(), (2, 2, 2, 1));
    // Nobody is there to say yes.
    let asked = daemon.corten(&["system", "prune", "-a", "--filter", "label!=x"]).ok();
    for words in ["this removes", "containers that do not run", "networks", "images without a container", "label!=x"] {
        assert!(asked.stderr.contains(words), "{asked}");
    }
    assert!(!asked.stderr.contains("volumes"), "{asked}");
    for (filter, words) in [("colour=red", "colour"), ("until=soon", "soon")] {
        daemon.fails(&["system", "prune", "-f", "--filter", filter], 1).saying(words);
    }
    daemon.fails(&["system", "prune", "-f", "--volumes", "--filter", "until=1h"], 1).saying("--volumes");
    assert_eq!(left(), (2, 2, 2, 1), "nothing was pruned");

    let said = daemon.spawn_with(&["system", "prune"], b"y\n", &[]).wait().ok();
    assert!(
        said.text().contains("Deleted Containers:\n") && said.text().contains("Deleted Networks:\nempty\n"),
        "{said}"
    );
    assert!(said.text().lines().last().is_some_and(|line| line.starts_with("Total reclaimed space: ")), "{said}");
    assert_eq!(left(), (1, 1, 2, 1));
    let said = daemon.ok(&["system", "prune", "-f", "--volumes"]);
    assert!(said.contains("Deleted Volumes:\n"), "{said}");
    assert_eq!(left(), (1, 1, 1, 1), "a volume with a name stays");
    daemon.ok(&["rm", "-f", "runs"]);
    let said = daemon.ok(&["system", "prune", "-af"]);
    assert!(said.contains("Deleted Images:\nuntagged: "), "{said}");
    assert_eq!(left(), (0, 0, 1, 0));
}

#[test]
fn a_container_may_be_called_as_a_route_is() {
    let daemon = Daemon::with_busybox();
    for name in ["prune", "create", "json"] {
        daemon.ok(&["create", "--name", name, "busybox", "true"]);
        assert_eq!(daemon.inspect(name)["Name"], format!("/{name}"));
        daemon.ok(&["rm", name]);
    }
    daemon.fails(&["rm", "prune"], 1).saying("prune");
}
