// SPDX-License-Identifier: Apache-2.0
//! What version 1.52 of the Engine API and those after it have changed, for newer clients and for older ones.

use serde_json::{Value, json};
use testkit::Daemon;
use testkit::http::ask;

const MAC: &str = "02:42:00:00:00:07";

fn get(daemon: &Daemon, path: &str) -> Value {
    ask(daemon, "GET", path, &[], b"").expect(200)
}

fn create(daemon: &Daemon, version: &str, name: &str, body: &Value) -> (u16, Value) {
    let path = format!("{version}/containers/create?name={name}");
    let answer = ask(daemon, "POST", &path, &[], body.to_string().as_bytes());
    (answer.status, answer.json())
}

#[test]
fn a_container_has_what_its_readers_version_has() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["network", "create", "mine"]);
    daemon.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "600"]);
    daemon.ok(&["network", "connect", "--alias", "a", "mine", "box"]);
    let of = |version: &str| get(&daemon, &format!("{version}/containers/box/json"));
    let (old, new, unnamed) = (of("/v1.51"), of("/v1.52"), of(""));
    let address = &new["NetworkSettings"]["Networks"]["bridge"]["IPAddress"];
    assert!(address.as_str().is_some_and(|address| !address.is_empty()), "{new}");
    for told in [&old, &unnamed] {
        assert_eq!((&told["NetworkSettings"]["IPAddress"], &told["GraphDriver"]["Name"]), (address, &json!("overlay")));
    }
    for field in ["IPAddress", "Bridge", "HairpinMode", "MacAddress", "SecondaryIPAddresses"] {
        assert!(new["NetworkSettings"].get(field).is_none(), "{field}: {new}");
    }
    assert!(new.get("GraphDriver").is_none() && old.get("Storage").is_none());
    assert_eq!(new["Storage"]["RootFS"]["Snapshot"]["Name"], "overlay");
    let aliases = |told: &Value| told["NetworkSettings"]["Networks"]["mine"]["Aliases"].clone();
    let short = &new["Id"].as_str().expect("an id")[..12];
    assert_eq!((aliases(&of("/v1.44")), aliases(&old)), (json!(["a", short]), json!(["a"])));
    let listed = |version: &str| get(&daemon, &format!("{version}/containers/json"))[0]["Health"].clone();
    assert_eq!((listed("/v1.51"), listed("/v1.52")), (Value::Null, json!({"Status": "none", "FailingStreak": 0})));
    assert_eq!(get(&daemon, "/v1.52/containers/box/stats?stream=0&one-shot=1")["os_type"], "linux");
    let status = |version: &str| get(&daemon, &format!("{version}/networks/mine"))["Status"].clone();
    let subnets = status("/v1.52")["IPAM"]["Subnets"].clone();
    let numbers = subnets.as_object().and_then(|map| map.values().next()).expect("a subnet").clone();
    assert_eq!(numbers["IPsInUse"], 4, "the network, its gateway, its broadcast address, and one container");
    assert!(numbers["DynamicIPsAvailable"].as_u64().is_some_and(|free| (free + 4).is_power_of_two()), "{numbers}");
    assert_eq!(status("/v1.51"), Value::Null);
}

#[test]
fn images_and_the_disk_are_told_of_in_the_readers_words() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["create", "--name", "made", "busybox", "true"]);
    let image = |version: &str| get(&daemon, &format!("{version}/images/busybox/json"));
    let (old, new, unnamed) = (image("/v1.51"), image("/v1.52"), image(""));
    for told in [&old, &unnamed] {
        assert_eq!(
            (&told["Author"], &told["Config"]["User"], &told["Config"]["Env"]),
            (&json!(""), &json!(""), &Value::Null)
        );
    }
    for field in ["Author", "Parent", "DockerVersion", "GraphDriver"] {
        assert!(new.get(field).is_none(), "{field}: {new}");
    }
    assert!(new["Config"].get("User").is_none() && new["Config"].get("Labels").is_none(), "{new}");
    let platform = |question: &str| ask(&daemon, "GET", &format!("/v1.52/images/busybox/{question}"), &[], b"").status;
    assert_eq!(platform("json?platform=linux/s390x"), 404);
    assert_eq!(platform("history?platform=linux/s390x"), 404);
    assert_eq!(platform("json?platform=%7B%22os%22:%22linux%22,%22architecture%22:%22s390x%22%7D"), 404);
    assert_eq!(ask(&daemon, "GET", "/v1.47/images/busybox/json?platform=linux/s390x", &[], b"").status, 200);
    assert_eq!(ask(&daemon, "GET", "/v1.54/images/json?identity=1", &[], b"").status, 400);
    assert_eq!(ask(&daemon, "GET", "/v1.54/images/busybox/attestations", &[], b"").status, 404);
    assert_eq!(ask(&daemon, "GET", "/v1.55/images/busybox/attestations", &[], b"").status, 501);
    let usage = |path: &str| get(&daemon, path);
    let (old, both, verbose) =
        (usage("/v1.51/system/df"), usage("/v1.52/system/df"), usage("/v1.52/system/df?verbose=1"));
    assert!(old.get("ImageUsage").is_none() && verbose.get("Images").is_none() && verbose.get("LayersSize").is_none());
    assert_eq!(both["Images"], old["Images"]);
    let containers = &both["ContainerUsage"];
    assert_eq!(
        (&containers["TotalCount"], &containers["ActiveCount"], containers.get("Items")),
        (&json!(1), &json!(0), None)
    );
    assert_eq!(containers["Reclaimable"], containers["TotalSize"]);
    assert_eq!(
        (&both["ImageUsage"]["ActiveCount"], &both["ImageUsage"]["TotalSize"]),
        (&json!(1), &both["LayersSize"])
    );
    assert_eq!(verbose["ContainerUsage"]["Items"][0]["Names"], json!(["/made"]));
    assert!(usage("/v1.52/system/df?type=image").get("VolumeUsage").is_none());
}

#[test]
fn events_come_in_the_form_that_is_accepted() {
    let daemon = Daemon::with_busybox();
    let asked = |version: &str, accept: &str| {
        let headers = if accept.is_empty() { vec![] } else { vec![accept] };
        let answer = ask(&daemon, "GET", &format!("{version}/events?since=1&until=0s"), &headers, b"");
        let head = answer.head.clone();
        let form = head.lines().find_map(|line| line.strip_prefix("content-type: ")).expect("a type").to_owned();
        (form, String::from_utf8(answer.body).expect("text"))
    };
    for (version, accept, form, has_old_fields) in [
        ("/v1.51", "", "application/json", true),
        ("/v1.52", "", "application/jsonl", false),
        ("", "", "application/json", true),
        ("/v1.52", "Accept: application/x-ndjson", "application/x-ndjson", false),
        ("/v1.44", "Accept: application/jsonl", "application/jsonl", true),
    ] {
        let (told, text) = asked(version, accept);
        assert_eq!(told, form, "{version} {accept}");
        let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(events.len(), 2, "{text}");
        assert!(events.iter().all(|event| event.get("status").is_some() == has_old_fields), "{version}: {text}");
    }
    let (form, text) = asked("/v1.55", "Accept: application/json-seq");
    assert_eq!(form, "application/json-seq");
    assert!(text.lines().count() == 2 && text.lines().all(|line| line.starts_with("\u{1e}{")), "{text}");
}

#[test]
fn an_address_for_the_whole_container_is_one_for_its_first_network() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["network", "create", "mine"]);
    let body = json!({"Image": "busybox", "Cmd": ["cat", "/sys/class/net/eth0/address"], "MacAddress": MAC});
    let mut in_mine = body.clone();
    in_mine["HostConfig"] = json!({"NetworkMode": "mine"});
    in_mine["NetworkingConfig"] = json!({"EndpointsConfig": {"mine": {}}});
    for (version, name, body) in [("/v1.43", "old", &body), ("/v1.43", "mine", &in_mine), ("/v1.51", "warned", &body)] {
        let (status, made) = create(&daemon, version, name, body);
        assert_eq!(status, 201, "{made}");
        assert_eq!(made["Warnings"].to_string().contains("MacAddress"), version != "/v1.43", "{made}");
        assert_eq!(daemon.ok(&["start", "-a", name]), MAC, "{version}");
    }
    let shown =
        |version: &str| get(&daemon, &format!("{version}/containers/mine/json"))["Config"]["MacAddress"].clone();
    assert_eq!((shown("/v1.43"), shown("/v1.52")), (json!(MAC), Value::Null));
    let (status, refused) = create(&daemon, "/v1.52", "new", &body);
    assert!(status == 400 && refused["message"].to_string().contains("MacAddress"), "{refused}");
    let mut without = body;
    without["HostConfig"] = json!({"NetworkMode": "host"});
    assert_eq!(create(&daemon, "/v1.43", "host", &without).0, 400);
}

#[test]
fn of_a_range_of_ports_each_container_takes_a_free_one() {
    let daemon = Daemon::with_busybox();
    let run =
        |name: &str| daemon.corten(&["run", "-d", "--name", name, "-p", "8000-8001:80", "busybox", "sleep", "600"]);
    let port = |name: &str| daemon.inspect(name)["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"].clone();
    run("one").ok();
    run("two").ok();
    assert_eq!((port("one"), port("two")), (json!("8000"), json!("8001")));
    assert_eq!(daemon.inspect("one")["HostConfig"]["PortBindings"]["80/tcp"][0]["HostPort"], "8000-8001");
    run("three").fails(125).saying("all ports from 8000 to 8001 (tcp) are already in use");
    daemon.ok(&["rm", "-f", "one"]);
    let bindings = json!({"80/tcp": [{"HostPort": "8000-8001"}], "81/tcp": []});
    let body = json!({"Image": "busybox", "Cmd": ["sleep", "600"], "HostConfig": {"PortBindings": bindings}});
    let (status, made) = create(&daemon, "/v1.52", "api", &body);
    assert!(status == 201 && made["Warnings"].to_string().contains("81/tcp"), "{made}");
    daemon.ok(&["start", "api"]);
    assert_eq!(port("api"), "8000");
    let any = &daemon.inspect("api")["NetworkSettings"]["Ports"]["81/tcp"][0]["HostPort"];
    assert!(any.as_str().is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0)), "{any}");
    daemon.ok(&["run", "-d", "--name", "each", "-p", "9000-9001:90-91", "busybox", "sleep", "600"]);
    let ports = &daemon.inspect("each")["NetworkSettings"]["Ports"];
    assert_eq!((&ports["90/tcp"][0]["HostPort"], &ports["91/tcp"][0]["HostPort"]), (&json!("9000"), &json!("9001")));
    let body = json!({"Image": "busybox", "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "9-8"}]}}});
    let (status, refused) = create(&daemon, "", "wrong", &body);
    assert!(status == 400 && refused["message"].to_string().contains("9-8"), "{refused}");
}

/// What Docker's answers have in any case: readers such as Traefik, Portainer and programs in Python take it without asking.
#[test]
fn what_readers_take_for_granted_is_there() {
    const LISTED: &str = "Id Names Image ImageID Command Created Ports Labels State Status HostConfig/NetworkMode Mounts Health \
        NetworkSettings/Networks/bridge/IPAddress NetworkSettings/Networks/bridge/GlobalIPv6Address \
        NetworkSettings/Networks/bridge/NetworkID NetworkSettings/Networks/bridge/GwPriority";
    const INSPECTED: &str = "Id Created Path Args State/Status State/Pid State/ExitCode State/StartedAt Image ResolvConfPath \
        HostnamePath HostsPath LogPath Name RestartCount Driver Platform MountLabel ProcessLabel AppArmorProfile ExecIDs \
        HostConfig/Binds HostConfig/PortBindings HostConfig/RestartPolicy HostConfig/CapAdd HostConfig/VolumesFrom \
        HostConfig/PidsLimit HostConfig/Ulimits HostConfig/SecurityOpt HostConfig/ConsoleSize Mounts Config/Env Config/Cmd \
        Config/Entrypoint Config/Volumes Config/Labels Config/AttachStdout NetworkSettings/SandboxKey NetworkSettings/Ports \
        NetworkSettings/Networks/bridge/Aliases NetworkSettings/Networks/bridge/IPAMConfig";
    const HOST: &str = "Containers Images Driver Plugins/Volume Plugins/Network MemoryLimit IPv4Forwarding Debug SystemTime \
        LoggingDriver CgroupDriver NEventsListener KernelVersion OperatingSystem OSType Architecture IndexServerAddress NCPU \
        MemTotal DockerRootDir Name Labels ExperimentalBuild ServerVersion Runtimes Swarm/LocalNodeState Isolation InitBinary";
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "box", "-p", "8080:80", "busybox", "sleep", "600"]);
    for version in ["/v1.41", "/v1.55", ""] {
        let listed = get(&daemon, &format!("{version}/containers/json"))[0].clone();
        let inspected = get(&daemon, &format!("{version}/containers/box/json"));
        let host = get(&daemon, &format!("{version}/info"));
        for (answer, fields) in [(&listed, LISTED), (&inspected, INSPECTED), (&host, HOST)] {
            let is_newer = |field: &str| field == "Health" || field.ends_with("/GwPriority");
            for field in fields.split_whitespace().filter(|field| !is_newer(field) || version != "/v1.41") {
                assert!(answer.pointer(&format!("/{field}")).is_some(), "{version}: {field} is missing: {answer:#}");
            }
        }
        let hosts = inspected["HostsPath"].as_str().expect("a path");
        let text = std::fs::read_to_string(hosts).unwrap_or_else(|error| panic!("{hosts}: {error}"));
        assert!(text.contains("localhost"), "{text}");
    }
    // What was told can be asked for again.
    let mut again = get(&daemon, "/v1.55/containers/box/json");
    let mut body = again["Config"].take();
    body["HostConfig"] = again["HostConfig"].take();
    let (status, made) = create(&daemon, "/v1.55", "again", &body);
    assert_eq!(status, 201, "{made}");
}
