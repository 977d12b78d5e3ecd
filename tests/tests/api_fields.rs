// SPDX-License-Identifier: Apache-2.0
//! Fields and parameters of the Engine API that programs take for granted, in the versions that have them; and requests that
//! are malformed.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::Daemon;
use testkit::http::ask;

fn get(daemon: &Daemon, path: &str) -> Value {
    ask(daemon, "GET", path, &[], b"").expect(200)
}

fn status(daemon: &Daemon, method: &str, path: &str) -> u16 {
    ask(daemon, method, path, &[], b"").status
}

/// Percent-encoded, whatever it is.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// All fields that Docker's encoder always writes of `GET /info`.
const OF_INFO: &str = "ID Containers ContainersRunning ContainersPaused ContainersStopped Images Driver DriverStatus Plugins \
    MemoryLimit SwapLimit CpuCfsPeriod CpuCfsQuota CPUShares CPUSet PidsLimit IPv4Forwarding Debug NFd OomKillDisable \
    NGoroutines SystemTime LoggingDriver CgroupDriver CgroupVersion NEventsListener KernelVersion OperatingSystem OSVersion \
    OSType Architecture IndexServerAddress RegistryConfig NCPU MemTotal GenericResources DockerRootDir HttpProxy HttpsProxy \
    NoProxy Name Labels ExperimentalBuild ServerVersion Runtimes DefaultRuntime Swarm LiveRestoreEnabled Isolation InitBinary \
    ContainerdCommit RuncCommit InitCommit SecurityOptions CDISpecDirs Warnings";

#[test]
fn info_has_every_field_and_an_id_that_stays() {
    let daemon = Daemon::builder().argument("--insecure-registry=registry.example:5000").start();
    let info = get(&daemon, "/v1.55/info");
    for field in OF_INFO.split_whitespace() {
        assert!(info.get(field).is_some(), "{field}: {info}");
    }
    let id = info["ID"].as_str().expect("an id").to_owned();
    assert_eq!((id.len(), id.matches('-').count()), (36, 4), "{id}");
    let registries = &info["RegistryConfig"];
    assert_eq!(registries["IndexConfigs"]["docker.io"]["Official"], true, "{registries}");
    assert_eq!(registries["IndexConfigs"]["registry.example:5000"]["Secure"], false);
    assert_eq!(
        (&registries["Mirrors"], registries["InsecureRegistryCIDRs"].as_array().map(Vec::len)),
        (&json!([]), Some(2))
    );
    assert!(info["NFd"].as_i64() > Some(3) && info["NGoroutines"].as_i64() > Some(0), "{info}");
    assert!(info.get("BridgeNfIptables").is_none() && info["FirewallBackend"]["Driver"] == "nftables");
    let old = get(&daemon, "/v1.44/info");
    assert!(old.get("FirewallBackend").is_none() && old.get("DiscoveredDevices").is_none(), "{old}");
    assert_eq!(old["RegistryConfig"].get("AllowNondistributableArtifactsCIDRs"), Some(&Value::Null));
    daemon.kill();
    daemon.start();
    assert_eq!(daemon.ok(&["info", "--format", "{{.ID}}"]), id);
}

#[test]
fn images_tell_of_their_manifest_where_it_is_asked_for() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["create", "--name", "made", "busybox", "true"]);
    let plain = get(&daemon, "/v1.48/images/json");
    let digest = &plain[0]["Descriptor"]["digest"];
    assert!(digest.is_string() && plain[0].get("Manifests").is_none(), "{plain}");
    assert!(get(&daemon, "/v1.47/images/json")[0].get("Descriptor").is_none());
    let image = get(&daemon, "/v1.48/images/busybox/json?manifests=1");
    let manifest = &image["Manifests"][0];
    assert_eq!((&manifest["ID"], &manifest["Kind"], &manifest["Available"]), (digest, &json!("image"), &json!(true)));
    let made = get(&daemon, "/v1.48/containers/made/json");
    assert_eq!(
        (&manifest["ImageData"]["Containers"], &made["ImageManifestDescriptor"]["digest"]),
        (&json!([made["Id"]]), digest)
    );
    assert!(get(&daemon, "/v1.47/containers/made/json").get("ImageManifestDescriptor").is_none());
    let size = |name: &str| manifest["Size"][name].as_i64().expect("a size");
    assert_eq!(size("Total"), size("Content") + manifest["ImageData"]["Size"]["Unpacked"].as_i64().expect("a size"));
    assert_eq!(get(&daemon, "/v1.47/images/json?manifests=1")[0]["Manifests"][0], *manifest);
    assert!(get(&daemon, "/v1.47/images/busybox/json?manifests=1").get("Manifests").is_none());
    assert_eq!(status(&daemon, "GET", "/v1.49/images/busybox/json?manifests=1&platform=linux/amd64"), 400);
    let tagged = image["Metadata"]["LastTagTime"].as_str().expect("a time");
    assert!(tagged > "2020", "{tagged}");
    assert_eq!(
        (&plain[0]["SharedSize"], &get(&daemon, "/v1.42/images/json?shared-size=1")[0]["SharedSize"]),
        (&json!(-1), &json!(0))
    );
}

#[test]
fn archives_and_removals_may_be_of_several_platforms() {
    let daemon = Daemon::with_busybox();
    let image = get(&daemon, "/images/busybox/json");
    let own = json!({"os": "linux", "architecture": image["Architecture"]}).to_string();
    let (own, other) = (encoded(&own), encoded(r#"{"os":"linux","architecture":"mips64"}"#));
    let save = |version: &str, platforms: &[&str]| {
        let platforms: String = platforms.iter().map(|platform| format!("&platform={platform}")).collect();
        ask(&daemon, "GET", &format!("{version}/images/get?names=busybox{platforms}"), &[], b"")
    };
    assert_eq!(save("/v1.52", &[&own, &own]).status, 200);
    let missing = save("/v1.52", &[&own, &other]);
    assert!(
        missing.status >= 400 && missing.json()["message"].as_str().is_some_and(|text| text.contains("mips64")),
        "{missing}"
    );
    assert_eq!((save("/v1.51", &[&own, &other]).status, save("/v1.47", &[&other]).status), (400, 200));
    let push = status(&daemon, "POST", &format!("/v1.46/images/busybox/push?tag=latest&platform={other}"));
    assert_eq!(push, 404);
    // A container of another platform is none of this image: clients pull then.
    let create = format!("/v1.44/containers/create?platform={}", encoded("linux/mips64"));
    assert_eq!(ask(&daemon, "POST", &create, &[], br#"{"Image":"busybox","Cmd":["true"]}"#).status, 404);

    daemon.ok(&["tag", "busybox", "again"]);
    let remove = |query: &str| ask(&daemon, "DELETE", &format!("/v1.50/images/busybox?{query}"), &[], b"");
    assert_eq!(remove(&format!("platforms={own}")).status, 400);
    assert_eq!(remove(&format!("platforms={own}&platforms={other}&force=1")).status, 404);
    assert_eq!(remove("platforms=%7B").status, 400);
    let removed = remove(&format!("platforms={own}&force=1")).expect(200);
    assert!(removed.to_string().contains("\"Deleted\""), "{removed}");
    assert_eq!(get(&daemon, "/images/json"), json!([]), "it goes from all its names");
}

#[test]
fn what_runs_has_no_exit_code_yet_and_its_terminal_the_size_that_its_start_says() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "box", "--annotation", "a=b", "busybox", "sleep", "600"]);
    let made = |body: &Value| {
        let answer = ask(&daemon, "POST", "/v1.44/containers/box/exec", &[], body.to_string().as_bytes()).expect(201);
        answer["Id"].as_str().expect("an id").to_owned()
    };
    let id = made(&json!({"Cmd": ["sleep", "600"], "AttachStdout": false}));
    ask(&daemon, "POST", &format!("/v1.44/exec/{id}/start"), &[], br#"{"Detach":true}"#).expect(200);
    let running = get(&daemon, &format!("/v1.44/exec/{id}/json"));
    assert_eq!((&running["Running"], running.get("ExitCode")), (&json!(true), Some(&Value::Null)), "{running}");
    let sized = |version: &str| {
        let id = made(&json!({"Cmd": ["stty", "size"], "Tty": true, "AttachStdout": true, "ConsoleSize": [20, 70]}));
        let start = json!({"Tty": true, "ConsoleSize": [33, 99]}).to_string();
        let answer = ask(&daemon, "POST", &format!("{version}/exec/{id}/start"), &[], start.as_bytes());
        String::from_utf8_lossy(&answer.body).trim().to_owned()
    };
    assert_eq!((sized("/v1.44").as_str(), sized("/v1.41").as_str()), ("33 99", "20 70"));
    let listed = |version: &str| get(&daemon, &format!("{version}/containers/json"))[0]["HostConfig"].clone();
    assert_eq!(listed("/v1.46")["Annotations"], json!({"a": "b"}));
    assert!(listed("/v1.45").get("Annotations").is_none());
    assert_eq!(get(&daemon, "/volumes").get("Warnings"), Some(&Value::Null));
    let members =
        |version: &str| get(&daemon, &format!("{version}/networks?filters=%7B%22name%22:%5B%22bridge%22%5D%7D"));
    assert_eq!(members("/v1.27")[0]["Containers"].as_object().map(serde_json::Map::len), Some(1));
    assert_eq!(members("/v1.28")[0].get("Containers"), Some(&json!({})));
    assert!(members("/v1.52")[0].get("Containers").is_none());
}

#[test]
fn the_disk_is_told_of_by_the_kinds_that_are_asked_for() {
    let daemon = Daemon::with_busybox();
    let usage = get(&daemon, "/v1.44/system/df?type=image&type=volume");
    let names: Vec<&String> = usage.as_object().expect("an object").keys().collect();
    for (list, wanted) in
        [("Images", true), ("LayersSize", true), ("Volumes", true), ("Containers", false), ("BuildCache", false)]
    {
        assert_eq!(usage.get(list).is_some(), wanted, "{list}: {names:?}");
    }
    assert!(get(&daemon, "/v1.47/system/df")["Images"][0].get("Descriptor").is_none());
}

#[test]
fn filters_that_are_none_are_refused_on_every_route() {
    let daemon = Daemon::builder().start();
    for (method, path) in [
        ("GET", "/events?until=0s&filters="),
        ("GET", "/containers/json?filters="),
        ("GET", "/images/json?filters="),
        ("GET", "/volumes?filters="),
        ("GET", "/networks?filters="),
        ("GET", "/plugins?filters="),
        ("POST", "/containers/prune?filters="),
        ("POST", "/images/prune?filters="),
        ("POST", "/volumes/prune?filters="),
        ("POST", "/networks/prune?filters="),
        ("POST", "/build/prune?filters="),
    ] {
        for filters in ["type=image", "[]", "{\"label\":[7]}", "{\"label\":\"a\"}", "{\"label\":[\"a\"]"] {
            let answer = ask(&daemon, method, &format!("{path}{}", encoded(filters)), &[], b"");
            let told = answer.expect(400);
            assert!(told["message"].as_str().is_some_and(|text| text.starts_with("filters: ")), "{path}: {answer}");
        }
        let unknown = ask(&daemon, method, &format!("{path}{}", encoded(r#"{"colour":["red"]}"#)), &[], b"");
        assert!(unknown.status == 400 || path.starts_with("/build"), "{path}: {unknown}");
    }
}

#[test]
fn a_request_that_is_not_understood_is_told_why() {
    let daemon = Daemon::builder().start();
    let raw = |request: &str| {
        let mut stream = UnixStream::connect(daemon.socket()).expect("the daemon listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream.write_all(request.as_bytes()).expect("it is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, serde_json::from_str::<Value>(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
    };
    let (status, told) = raw("GET /events?filters={\"type\":[\"image\"]} HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(status, 400);
    assert!(told["message"].as_str().is_some_and(|text| text.contains("percent-encoded")), "{told}");
    let (status, told) = raw("nonsense\r\n\r\n");
    assert!(status == 400 && told["message"].is_string(), "{told}");
    let (status, told) = raw(&format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(70_000)));
    assert!(status == 414 && told["message"].is_string(), "{told}");
    // What is understood is answered as ever.
    let (status, told) = raw("GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!((status, &told["Os"]), (200, &json!("linux")));
}
