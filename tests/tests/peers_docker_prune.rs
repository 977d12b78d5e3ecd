// SPDX-License-Identifier: Apache-2.0
//! `docker container prune` and `docker system prune` as clients of Corten.

use end_to_end::docker_cli::docker;
use testkit::Daemon;

#[test]
fn the_docker_command_line_prunes() {
    let daemon = Daemon::with_busybox();
    let made = daemon.ok(&["create", "--name", "gone", "--label", "a=1", "-v", "/anonymous", "busybox", "true"]);
    daemon.ok(&["create", "--name", "next", "busybox", "true"]);
    docker(&daemon, &["network", "create", "empty"]);
    let said = docker(&daemon, &["container", "prune", "-f", "--filter", "label=a=1"]);
    assert!(said.starts_with(&format!("Deleted Containers:\n{made}\n")), "{said}");
    assert_eq!(daemon.ok(&["ps", "-a", "--format", "{{.Names}}"]), "next");
    let said = docker(&daemon, &["system", "prune", "-a", "-f", "--volumes"]);
    for words in ["Deleted Containers:\n", "Deleted Networks:\nempty\n", "Deleted Volumes:\n", "Deleted Images:\n"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(said.contains("Total reclaimed space: "), "{said}");
    assert_eq!(daemon.ok(&["images", "-q", "busybox"]), "");
}
