// SPDX-License-Identifier: Apache-2.0
//! `docker exec` as a client of Corten: a command that cannot be executed fails as with Docker's own daemon.

use testkit::Daemon;
use testkit::process::command;

#[test]
fn a_command_that_cannot_be_executed_has_dockers_exit_code_and_says_why() {
    let daemon = Daemon::with_busybox();
    daemon.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "600"]);
    let exec = |arguments: &[&str]| {
        let mut docker = command("docker");
        docker.arg("exec").args(arguments).env("DOCKER_HOST", daemon.host()).env("DOCKER_CONFIG", daemon.path());
        let output = daemon.sandbox().run(move || docker.output()).expect("docker is installed");
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        (output.status.code(), said.concat())
    };
    for (arguments, code, says) in [
        (&["box", "no-such-command"][..], 127, "executable file not found in $PATH"),
        (&["-t", "box", "no-such-command"], 127, "executable file not found in $PATH"),
        (&["box", "/etc"], 126, "/etc"),
        (&["-u", "nobody-here", "box", "true"], 126, "unable to find user"),
        (&["box", "sh", "-c", "exit 7"], 7, ""),
    ] {
        let (found, said) = exec(arguments);
        assert!(found == Some(code) && said.contains(says), "{arguments:?}: {found:?} {said}");
    }
    // What was not tried is an error of the request, and may be tried later.
    daemon.ok(&["pause", "box"]);
    let (code, said) = exec(&["box", "true"]);
    assert!(code == Some(1) && said.contains("paused"), "{code:?} {said}");
    daemon.ok(&["unpause", "box"]);
    daemon.ok(&["rm", "-f", "box"]);
}
