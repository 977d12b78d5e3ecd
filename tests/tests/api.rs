// SPDX-License-Identifier: Apache-2.0
//! The Docker Engine API as a whole: each route is in the state that `docs/api.md` gives it, whatever the version.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::Daemon;

/// Docker's routes, as its specification of 1.55 lists them.
const DOCKERS: &str = "
GET /_ping /version /info /events /system/df /containers/json /containers/{id}/json /containers/{id}/top
GET /containers/{id}/logs /containers/{id}/changes /containers/{id}/export /containers/{id}/stats
GET /containers/{id}/attach/ws /containers/{id}/archive /exec/{id}/json /images/json /images/{name}/json
GET /images/{name}/history /images/{name}/attestations /images/search /images/{name}/get /images/get /distribution/{name}/json /networks
GET /networks/{id} /volumes /volumes/{name} /plugins /plugins/privileges /plugins/{name}/json /swarm
GET /swarm/unlockkey /nodes /nodes/{id} /services /services/{id} /services/{id}/logs /tasks /tasks/{id}
GET /tasks/{id}/logs /secrets /secrets/{id} /configs /configs/{id}
HEAD /_ping /containers/{id}/archive
PUT /containers/{id}/archive /volumes/{name}
POST /auth /containers/create /containers/prune /containers/{id}/resize /containers/{id}/start
POST /containers/{id}/stop /containers/{id}/restart /containers/{id}/kill /containers/{id}/update
POST /containers/{id}/rename /containers/{id}/pause /containers/{id}/unpause /containers/{id}/attach
POST /containers/{id}/wait /containers/{id}/exec /exec/{id}/start /exec/{id}/resize /commit /images/create
POST /images/{name}/push /images/{name}/tag /images/load /images/prune /build /build/prune /session
POST /networks/create /networks/{id}/connect /networks/{id}/disconnect /networks/prune /volumes/create
POST /volumes/prune /plugins/pull /plugins/create /plugins/{name}/enable /plugins/{name}/disable
POST /plugins/{name}/push /plugins/{name}/set /plugins/{name}/upgrade /swarm/init /swarm/join /swarm/leave
POST /swarm/update /swarm/unlock /nodes/{id}/update /services/create /services/{id}/update /secrets/create
POST /secrets/{id}/update /configs/create /configs/{id}/update
DELETE /containers/{id} /images/{name} /networks/{id} /volumes/{name} /plugins/{name} /nodes/{id}
DELETE /services/{id} /secrets/{id} /configs/{id}";

/// A row of `docs/api.md`.
#[derive(Debug)]
struct Row {
    method: String,
    route: String,
    state: String,
}

fn source(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rows() -> Vec<Row> {
    let text = source("docs/api.md");
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let route = cells.get(2)?.strip_prefix('`')?.strip_suffix('`').filter(|route| route.starts_with('/'))?;
        Some(Row { method: cells[1].to_owned(), route: route.to_owned(), state: cells[3].to_owned() })
    };
    text.lines().filter_map(row).collect()
}

/// The status, the headers and the beginning of the body that a request is answered with.
fn ask(daemon: &Daemon, method: &str, path: &str) -> (u16, String, String) {
    let stream = UnixStream::connect(daemon.socket()).expect("a socket");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    (&stream).write_all(head.as_bytes()).expect("it is sent");
    let mut reader = BufReader::new(&stream);
    let (mut headers, mut line) = (String::new(), String::new());
    while reader.read_line(&mut line).expect("a head") > 2 {
        headers.push_str(&line.to_ascii_lowercase());
        line.clear();
    }
    let status = headers.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let mut body = String::new();
    // An answer that goes on without end is not an error, whose text is what is looked for.
    if status >= 400 || headers.contains("content-length") {
        reader.read_to_string(&mut body).expect("a body");
    }
    (status, headers, body)
}

fn get(daemon: &Daemon, path: &str) -> (u16, Value) {
    let (status, _, body) = ask(daemon, "GET", path);
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
}

#[test]
fn every_route_of_dockers_is_in_the_list() {
    let rows = rows();
    for line in DOCKERS.lines().filter(|line| !line.is_empty()) {
        let (method, routes) = line.split_once(' ').expect("a method");
        for route in routes.split(' ') {
            let listed = rows.iter().filter(|row| row.method == method && row.route == route).count();
            assert_eq!(listed, 1, "{method} {route}");
        }
    }
}

#[test]
fn every_route_in_the_router_is_in_the_list() {
    let rows = rows();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/engine-api/src/routes");
    let mut seen = 0;
    for file in std::fs::read_dir(directory).expect("the routes") {
        let text = std::fs::read_to_string(file.expect("an entry").path()).unwrap_or_default();
        for (_, rest) in text.match_indices(".route(\"").map(|(at, _)| text.split_at(at + 8)) {
            let (path, rest) = rest.split_once('"').expect("a path");
            let handlers = rest.lines().next().unwrap_or_default();
            for method in ["get", "post", "put", "delete", "head"] {
                if !handlers.contains(&format!("{method}(")) {
                    continue;
                }
                // `{*name}` is the beginning of several routes.
                let (whole, beginning) = match path.split_once("{*") {
                    Some((beginning, _)) => (None, beginning),
                    None => (Some(normal(path)), path),
                };
                let is_it = |row: &&Row| match &whole {
                    Some(whole) => normal(&row.route) == *whole,
                    None => row.route.starts_with(beginning),
                };
                let row = rows.iter().find(|row| row.method == method.to_uppercase() && is_it(row));
                assert!(row.is_some_and(|row| row.state != "missing"), "{method} {path}: {row:?}");
                seen += 1;
            }
        }
    }
    assert!(seen > 90, "{seen}");
}

/// A route whose parameters all have the same name.
fn normal(route: &str) -> String {
    let segments = route.split('/').map(|segment| if segment.starts_with('{') { "{}" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

#[test]
fn every_route_is_in_the_state_that_the_list_says() {
    let daemon = Daemon::builder().start();
    for Row { method, route, state } in rows() {
        let path = route.replace("{id}", "nobody").replace("{name}", "nobody").replace("{checkpoint}", "none");
        let (status, _, body) = ask(&daemon, &method, &path);
        let lost = body.contains("page not found") || (method == "HEAD" && body.is_empty() && status == 404);
        let expected = match state.as_str() {
            "missing" => lost,
            "refused" => status == 501 && !lost,
            "empty" => !lost && matches!(status, 200 | 204 | 404 | 503),
            // Of what is not there, that is said; of what is asked without a body, that one is missing.
            "served" => status != 501 && (!lost || method == "HEAD"),
            other => panic!("{method} {route}: there is no state {other:?}"),
        };
        assert!(expected, "{method} {route} is {state} by docs/api.md, and answers {status}: {body}");
    }
}

#[test]
fn a_node_in_no_swarm_says_so_in_the_words_that_clients_look_for() {
    let daemon = Daemon::builder().start();
    for path in ["/swarm", "/services", "/v1.30/nodes", "/tasks/x", "/v1.47/secrets", "/configs"] {
        let (status, answer) = get(&daemon, path);
        assert_eq!(status, 503, "{path}");
        assert!(answer["message"].as_str().is_some_and(|text| text.starts_with("This node is not a swarm manager")));
    }
    let (_, info) = get(&daemon, "/info");
    assert_eq!(info["Swarm"]["LocalNodeState"], "inactive");
    assert_eq!(get(&daemon, "/plugins"), (200, json!([])));
    assert_eq!(ask(&daemon, "POST", "/plugins/pull?remote=x").0, 501);
    assert_eq!(ask(&daemon, "DELETE", "/plugins/a/b").0, 404);
}

#[test]
fn versions_have_the_shapes_that_they_had() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["create", "--name", "made", "busybox", "true"]);
    let image = |version: &str| {
        let (status, list) =
            get(&daemon, &format!("/v{version}/images/json?filters=%7B%22reference%22%3A%5B%22busybox%22%5D%7D"));
        assert_eq!(status, 200, "{version}");
        list[0].clone()
    };
    let (old, new) = (image("1.43"), image("1.51"));
    assert_eq!(old["VirtualSize"], old["Size"]);
    assert_eq!((&old["Containers"], &new["Containers"]), (&json!(-1), &json!(1)));
    assert!(new.get("VirtualSize").is_none());
    let inspected = |version: &str| get(&daemon, &format!("/v{version}/images/busybox/json")).1;
    assert_eq!(inspected("1.24")["Config"]["Tty"], false);
    assert!(inspected("1.44").get("ContainerConfig").is_some() && inspected("1.45").get("ContainerConfig").is_none());
    assert!(inspected("1.47").get("Descriptor").is_none() && inspected("1.48").get("Descriptor").is_some());
    assert!(inspected("1.50")["Config"].get("Tty").is_none());
    let (_, list) = get(&daemon, "/v1.24/images/json?filter=busybox");
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    let usage = |path: &str| get(&daemon, path).1;
    assert!(usage("/v1.41/system/df?type=image")["Containers"].as_array().is_some_and(|list| list.len() == 1));
    let images_only = usage("/v1.42/system/df?type=image");
    assert_eq!((images_only.get("Containers"), images_only.get("Volumes")), (None, None));
    assert!(images_only["Images"].as_array().is_some_and(|list| list.len() == 1));
    assert_eq!(get(&daemon, "/v1.42/system/df?type=colour").0, 400);
    for (path, words) in [("/v1.23/info", "is too old"), ("/v1.99/info", "is too new")] {
        let (status, answer) = get(&daemon, path);
        assert!(status == 400 && answer["message"].as_str().is_some_and(|text| text.contains(words)), "{answer}");
    }
    assert_eq!(get(&daemon, "/v1.29/distribution/busybox/json").0, 404);
}

#[test]
fn every_answer_says_who_answers() {
    let daemon = Daemon::builder().start();
    for path in ["/_ping", "/v1.41/version", "/nowhere", "/v9.9/info"] {
        let (_, headers, _) = ask(&daemon, "GET", path);
        for header in
            ["api-version: 1.55\r\n", "ostype: linux\r\n", "docker-experimental: false\r\n", "server: corten/"]
        {
            assert!(headers.contains(header), "{path}: {headers}");
        }
    }
    let (status, headers, body) = ask(&daemon, "HEAD", "/_ping");
    assert!(status == 200 && headers.contains("swarm: inactive") && body.is_empty(), "{headers}");
}

#[test]
fn what_a_registry_has_is_told_without_a_pull() {
    let daemon = Daemon::builder().start();
    // Nobody listens there: the registry's error comes through, with its status.
    let (status, answer) = get(&daemon, "/distribution/127.0.0.1:1/a/b/json");
    assert_eq!(status, 503, "{answer}");
    assert_eq!(get(&daemon, "/distribution/NO/json").0, 400);
}
