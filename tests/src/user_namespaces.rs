// SPDX-License-Identifier: Apache-2.0
//! User namespaces where the kernel is an older one, which stacks id-mapped layers another way, and where a control group can
//! be given to a container's root.

use testkit::Daemon;

const IDS: &str = "corten:1000000:262144\n";

/// A container's root is nobody on the host, owns its files and, if it is to, its control group; and gets at nothing of
/// another container's.
pub fn roots_are_nobody_on_the_host() {
    let builder = Daemon::builder().disk().etc("subuid", IDS).etc("subgid", IDS);
    let daemon = builder.argument("--userns-remap=default").start();
    daemon.import_busybox();
    let script =
        "cat /proc/self/uid_map; stat -c %u /bin/busybox /etc/hosts; echo x > /new; stat -c %u /new; ls /sys/class/net";
    let said = daemon.ok(&["run", "--rm", "busybox", "sh", "-c", script]);
    assert_eq!(
        said.split_whitespace().collect::<Vec<_>>(),
        ["0", "1000000", "65536", "0", "0", "0", "eth0", "lo"],
        "{said}"
    );
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "kept",
        "-v",
        "data:/data",
        "busybox",
        "sh",
        "-c",
        "echo x > /data/f; sleep 600",
    ]);
    let script = "until test -s /data/f; do :; done; stat -c %u /data/f";
    assert_eq!(daemon.ok(&["exec", "kept", "sh", "-c", script]), "0");
    let writable = ["run", "--rm", "--security-opt", "writable-cgroups", "busybox", "mkdir", "/sys/fs/cgroup/own"];
    daemon.ok(&writable);
    let script = "test -d /proc/1 || echo none; kill -9 1; cat /proc/1/environ; echo done";
    let other = ["run", "--rm", "--userns", "auto", "--pid", "container:kept", "busybox", "sh", "-c", script];
    let tried = daemon.corten(&other).ok();
    assert_eq!(tried.text(), "done", "{tried}");
    assert!(tried.stderr.contains("not permitted") && tried.stderr.contains("environ"), "{tried}");
    let script = "ls /sys/class/net; ip link set lo down || echo refused";
    let other = ["run", "--rm", "--userns", "auto", "--network", "container:kept", "busybox", "sh", "-c", script];
    assert_eq!(daemon.ok(&other), "eth0\nlo\nrefused");
    daemon.ok(&["update", "--mount", "type=tmpfs,target=/late", "kept"]);
    assert_eq!(daemon.ok(&["exec", "kept", "stat", "-c", "%u", "/late"]), "0");
    daemon.ok(&["rm", "-f", "kept"]);
}
