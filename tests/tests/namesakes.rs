// SPDX-License-Identifier: Apache-2.0
//! Things that are called as routes are: which is meant, the method says.

use serde_json::{Value, json};
use testkit::Daemon;
use testkit::http::{Answer, ask};

fn request(daemon: &Daemon, method: &str, path: &str) -> Answer {
    ask(daemon, method, path, &[], b"")
}

#[test]
fn networks_and_volumes_may_be_called_as_routes_are() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["create", "--name", "box", "--network", "none", "busybox", "true"]);
    for name in ["create", "prune"] {
        daemon.ok(&["network", "create", name]);
        let found = request(&daemon, "GET", &format!("/v1.44/networks/{name}")).expect(200);
        assert_eq!(found["Name"], name, "{found}");
        assert_eq!(daemon.ok(&["network", "inspect", "--format", "{{.Name}}", name]), name);
        daemon.ok(&["run", "--rm", "--network", name, "busybox", "true"]);
        daemon.ok(&["volume", "create", name]);
        assert_eq!(request(&daemon, "GET", &format!("/volumes/{name}")).expect(200)["Name"], name);
    }
    request(&daemon, "DELETE", "/networks/create").expect(204);
    request(&daemon, "GET", "/networks/create").expect(404);
    assert_eq!(request(&daemon, "POST", "/networks/prune").expect(200), json!({"NetworksDeleted": ["prune"]}));
    request(&daemon, "DELETE", "/volumes/prune").expect(204);
    request(&daemon, "POST", "/volumes/prune").expect(200);
    assert_eq!(request(&daemon, "GET", "/volumes/create").expect(200)["Name"], "create", "one with a name stays");
}

#[test]
fn containers_and_images_may_be_called_as_routes_are() {
    let daemon = Daemon::with_busybox();
    for name in ["json", "create", "prune"] {
        daemon.ok(&["create", "--name", name, "busybox", "true"]);
        let found = request(&daemon, "GET", &format!("/v1.44/containers/{name}/json")).expect(200);
        assert_eq!(found["Name"], format!("/{name}"));
        request(&daemon, "POST", &format!("/containers/{name}/start")).expect(204);
        request(&daemon, "POST", &format!("/containers/{name}/wait")).expect(200);
    }
    let listed = request(&daemon, "GET", "/containers/json?all=1").expect(200);
    assert_eq!(listed.as_array().map(Vec::len), Some(3), "{listed}");
    for name in ["json", "create", "prune"] {
        request(&daemon, "DELETE", &format!("/containers/{name}")).expect(204);
    }
    for name in ["search", "json", "get", "load", "create", "prune"] {
        daemon.ok(&["tag", "busybox", name]);
        let found = request(&daemon, "GET", &format!("/v1.44/images/{name}/json")).expect(200);
        assert!(found["RepoTags"].to_string().contains(&format!("\"{name}:latest\"")), "{found}");
        let removed: Value = request(&daemon, "DELETE", &format!("/images/{name}")).expect(200);
        assert_eq!(removed, json!([{"Untagged": format!("{name}:latest")}]));
    }
    assert_eq!(request(&daemon, "GET", "/images/json").expect(200).as_array().map(Vec::len), Some(1));
}
