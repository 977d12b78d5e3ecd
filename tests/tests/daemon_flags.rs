// SPDX-License-Identifier: Apache-2.0
//! The daemon's flags that decide for all containers, networks and registries; and those of dockerd's that mean nothing.

use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use end_to_end::own_registry::OwnRegistry;
use testkit::Daemon;

fn with(arguments: &[&str]) -> Daemon {
    let builder = arguments.iter().fold(Daemon::builder(), |builder, argument| builder.argument(argument));
    let daemon = builder.start();
    daemon.import_busybox();
    daemon
}

#[test]
fn containers_have_the_daemons_defaults_unless_they_say_otherwise() {
    let daemon = with(&[
        "--default-ulimit=nofile=100:200",
        "--default-ulimit=core=0",
        "--default-shm-size=8m",
        "--init",
        "--no-new-privileges",
        "--seccomp-profile=unconfined",
        "--dns=10.0.0.2",
        "--dns-search=example.org",
        "--dns-opt=ndots:3",
        "--label=rack=7",
        "--ip=127.0.0.1",
    ]);
    let script = "ulimit -Sn; ulimit -c; df -m /dev/shm | tail -1 | awk '{print $2}'; cat /proc/1/comm; \
                  grep -E 'NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\t'; cat /etc/resolv.conf";
    let seen = daemon.ok(&["run", "--rm", "busybox", "sh", "-c", script]);
    let resolver = "search example.org\noptions ndots:3";
    assert!(seen.starts_with("100\n0\n8\ndocker-init\nNoNewPrivs:1\nSeccomp:0\n"), "{seen}");
    assert!(seen.contains("nameserver 10.0.0.2") && seen.contains(resolver), "{seen}");
    let own =
        ["--ulimit", "nofile=50", "--shm-size", "2m", "--init=false", "--security-opt", "no-new-privileges=false"];
    let more = ["--security-opt", "seccomp=builtin", "--dns", "10.0.0.3", "--dns-search", "."];
    let seen = daemon.ok(&[&["run", "--rm"], &own[..], &more, &["busybox", "sh", "-c", script]].concat());
    assert!(seen.starts_with("50\n0\n2\nsh\nNoNewPrivs:0\nSeccomp:2\n"), "{seen}");
    assert!(seen.contains("nameserver 10.0.0.3") && !seen.contains("10.0.0.2") && !seen.contains("search"), "{seen}");
    let id = daemon.ok(&["run", "-d", "-p", "80", "busybox", "sleep", "60"]);
    let host = daemon.inspect(&id)["HostConfig"].clone();
    assert_eq!((&host["Init"], &host["ShmSize"]), (&true.into(), &(8 << 20).into()));
    assert_eq!(host["Ulimits"][0], serde_json::json!({"Name": "nofile", "Soft": 100, "Hard": 200}));
    assert!(daemon.ok(&["port", &id]).contains("127.0.0.1:"), "{}", daemon.ok(&["port", &id]));
    assert_eq!(daemon.ok(&["info", "-f", "{{index .Labels 0}}"]), "rack=7");
}

#[test]
fn the_default_bridge_is_laid_out_as_the_daemon_says() {
    let layout = ["--bip=10.77.0.1/24", "--fixed-cidr=10.77.0.128/25", "--mtu=1400", "--icc=false"];
    let daemon = with(&[&layout[..], &["--default-address-pool=base=10.88.0.0/16,size=24"]].concat());
    daemon.ok(&["run", "-d", "--name", "server", "busybox", "httpd", "-f", "-p", "80"]);
    let address =
        daemon.ok(&["inspect", "-f", "{{.NetworkSettings.IPAddress}} {{.NetworkSettings.Gateway}}", "server"]);
    assert_eq!(address, "10.77.0.128 10.77.0.1");
    assert_eq!(daemon.ok(&["run", "--rm", "busybox", "cat", "/sys/class/net/eth0/mtu"]), "1400");
    // The host reaches it, another container of the bridge does not.
    let begun = Instant::now();
    while daemon.sandbox().run(|| TcpStream::connect("10.77.0.128:80").is_err()) {
        assert!(begun.elapsed() < Duration::from_secs(20), "the server does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    let client = daemon.corten(&["run", "--rm", "busybox", "nc", "-w", "1", "10.77.0.128", "80"]);
    assert!(client.code != 0, "{client}");
    let options = daemon.ok(&["network", "inspect", "-f", "{{json .Options}}", "bridge"]);
    assert!(options.contains(r#""com.docker.network.driver.mtu":"1400""#), "{options}");
    assert!(options.contains(r#""com.docker.network.bridge.enable_icc":"false""#), "{options}");
    daemon.ok(&["network", "create", "mine"]);
    let subnet = daemon.ok(&["network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "mine"]);
    assert_eq!(subnet, "10.88.0.0/24");
    daemon.ok(&["network", "rm", "mine"]);
}

#[test]
fn docker_hub_is_asked_for_at_its_mirror_first() {
    let daemon = with(&["--registry-mirror=http://127.0.0.1:5000", "--max-concurrent-downloads=1"]);
    let registry = OwnRegistry::start(&daemon);
    daemon.ok(&["tag", "busybox", &registry.name("library/mirrored")]);
    daemon.ok(&["push", "-q", &registry.name("library/mirrored")]);
    daemon.ok(&["rmi", &registry.name("library/mirrored")]);
    daemon.ok(&["pull", "-q", "mirrored"]);
    assert_eq!(daemon.ok(&["run", "--rm", "mirrored", "echo", "here"]), "here");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    let daemon = Daemon::builder().start();
    let file = daemon.path().join("daemon.json");
    let path = file.to_str().unwrap();
    for (flags, word) in [
        (&["--live-restore=false"][..], "outlive"),
        (&["--ipv6"], "IPv4"),
        (&["--storage-driver", "overlay2"], "--snapshotter"),
        (&["--exec-opt", "native.cgroupdriver=systemd"], "control groups"),
        (&["--add-runtime", "kata=/x"], "one runtime"),
        (&["--bip", "10.77.0.9/24"], "first address"),
        (&["--default-ulimit", "nofile"], "nofile"),
    ] {
        let failed = daemon.corten(&[&["daemon", "--validate"], flags].concat());
        assert!(failed.code != 0 && failed.stderr.contains(word), "{failed}");
    }
    // What is so anyway passes, and a file is looked at.
    fs::write(&file, r#"{"live-restore": true, "default-ulimits": {"core": {"Name": "core", "Soft": 0, "Hard": 0}}}"#)
        .unwrap();
    let validate = ["daemon", "--validate", "--config-file", path];
    assert_eq!(daemon.ok(&[&validate[..], &["--iptables", "--shutdown-timeout", "30"]].concat()), "configuration OK");
    fs::write(&file, r#"{"userland-proxy": true}"#).unwrap();
    let failed = daemon.corten(&validate);
    assert!(failed.code != 0 && failed.stderr.contains("no such proxy") && failed.stderr.contains(path), "{failed}");
}
