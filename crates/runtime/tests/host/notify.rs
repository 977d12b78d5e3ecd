// SPDX-License-Identifier: Apache-2.0
//! Filters that ask somebody else. The agent of these tests looks at what it is sent and lets go of it, upon which the
//! kernel answers what is waiting for it with "no such system call".

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::bundle::Bundle;

fn profile(listener: &str) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": listener, "listenerMetadata": "told",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }] })
}

/// Takes one connection: what it says, and what its descriptor is.
fn agent(bundle: &Bundle) -> JoinHandle<(Value, String)> {
    let path = bundle.path().join("agent");
    fs::remove_file(&path).unwrap_or_default();
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let mut bytes = vec![0; 16 * 1024];
        let (length, fds) = sys::fds::recv_with(&socket, &mut bytes).unwrap();
        assert_eq!(fds.len(), 1);
        let link = fs::read_link(format!("/proc/self/fd/{}", fds[0].as_raw_fd())).unwrap();
        // Exactly one message: then the connection ends.
        assert_eq!(sys::fds::recv_with(&socket, &mut [0; 16]).unwrap().0, 0);
        (serde_json::from_slice(&bytes[..length]).unwrap(), link.to_string_lossy().into_owned())
    })
}

#[test]
fn the_listener_is_handed_over_with_the_containers_state_before_start() {
    for no_new_privileges in [true, false] {
        let bundle = Bundle::script("mkdir /dev/shm/x; exit 7").set("/linux/seccomp", profile("agent"));
        let bundle = bundle.set("/process/noNewPrivileges", json!(no_new_privileges));
        let agent = agent(&bundle);
        bundle.oci(&["create", &bundle.id]).ok();
        let (said, link) = agent.join().unwrap();
        assert_eq!(link, "anon_inode:seccomp notify");
        let pid = bundle.state()["pid"].clone();
        assert_eq!((&said["fds"], &said["metadata"], &said["pid"]), (&json!(["seccompFd"]), &json!("told"), &pid));
        let state = &said["state"];
        assert_eq!((&state["id"], &state["status"]), (&json!(bundle.id), &json!("creating")));
        assert_eq!((&state["pid"], &state["bundle"]), (&pid, &json!(bundle.path())));
        assert_eq!(said["ociVersion"], state["ociVersion"]);
        bundle.oci(&["start", &bundle.id]).ok();
    }
}

#[test]
fn the_first_process_and_others_are_asked_about() {
    let bundle = Bundle::script("mkdir /dev/shm/x; exec sleep 100").set("/linux/seccomp", profile("agent"));
    let first = agent(&bundle);
    bundle.oci(&["run", "--detach", &bundle.id]).ok();
    first.join().unwrap();
    let pid = bundle.state()["pid"].clone();
    let other = agent(&bundle);
    // Nobody answers any more, so the call does not exist; without a filter it would have worked.
    bundle.exec("mkdir /dev/shm/y").fails(1, "not implemented");
    let (said, link) = other.join().unwrap();
    assert_eq!(link, "anon_inode:seccomp notify");
    assert_eq!((&said["state"]["status"], &said["state"]["pid"]), (&json!("running"), &pid));
    assert_ne!(said["pid"], pid);
}

#[test]
fn without_anybody_who_listens_nothing_is_made() {
    let bundle = Bundle::new(&["true"]).set("/linux/seccomp", profile("nobody"));
    bundle.run().fails(1, "listenerPath").fails(1, "nobody");
    bundle.left_nothing();
}
