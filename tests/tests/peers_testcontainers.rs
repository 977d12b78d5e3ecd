// SPDX-License-Identifier: Apache-2.0
//! testcontainers as a client, with the newest docker-py that it brings: what test suites in Python do with Docker.

use testkit::process::command;
use testkit::{Daemon, fixtures::libraries};

/// Runs a script, which must succeed.
#[track_caller]
fn python(daemon: &Daemon, script: &str) {
    let mut interpreter = command("/usr/bin/python3");
    interpreter.args(["-c", script]);
    interpreter.env("DOCKER_HOST", daemon.host()).env("PYTHONPATH", libraries::of_python("testcontainers", "4.15.0"));
    // Its helper that removes what a dead suite has left is an image of the world's.
    interpreter.env("TESTCONTAINERS_RYUK_DISABLED", "true").env("PYTHONDONTWRITEBYTECODE", "1");
    let output = daemon.sandbox().run(move || interpreter.output()).expect("python is installed");
    let said = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{script}\n{}\n{}", String::from_utf8_lossy(&said), daemon.log());
}

#[test]
fn a_suite_gets_its_servers() {
    let daemon = Daemon::with_busybox();
    python(
        &daemon,
        r#"
import pathlib, tempfile, urllib.request
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import HttpWaitStrategy, LogMessageWaitStrategy

with tempfile.TemporaryDirectory() as files:
    pathlib.Path(files, "index.html").write_text("served")
    web = DockerContainer("busybox").with_exposed_ports(80).with_volume_mapping(files, "/www", "ro")
    web.with_command("httpd -f -v -p 80 -h /www").waiting_for(HttpWaitStrategy(80, "/index.html").for_status_code(200))
    with web:
        host, port = web.get_container_host_ip(), web.get_exposed_port(80)
        with urllib.request.urlopen(f"http://{host}:{port}/index.html", timeout=10) as answer:
            assert answer.read() == b"served"
        result = web.exec(["sh", "-c", "cat /www/index.html; exit 4"])
        assert (result.exit_code, result.output) == (4, b"served"), result

    with Network() as network:
        server = DockerContainer("busybox").with_network(network).with_network_aliases("db").with_env("A", "b")
        server.with_command(["sh", "-c", "echo ready $A; while :; do nc -l -p 5432 -e echo hello; done"])
        server.waiting_for(LogMessageWaitStrategy("ready b"))
        with server:
            client = DockerContainer("busybox").with_network(network)
            # It must still run when it is looked for what it has said.
            client.with_command(["sh", "-c", "until nc -w 5 db 5432 | grep hello; do sleep 0.1; done; exec sleep 60"])
            client.waiting_for(LogMessageWaitStrategy("hello"))
            with client:
                out, err = client.get_logs()
                assert out == b"hello\n", (out, err)
"#,
    );
    daemon.assert_no_container_left();
    assert_eq!(daemon.ok(&["network", "ls", "--filter", "type=custom", "-q"]), "", "its networks are gone");
}

#[test]
fn files_and_failures_are_told() {
    let daemon = Daemon::with_busybox();
    python(
        &daemon,
        r#"
import io, tarfile
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

with DockerContainer("busybox").with_command("sleep 60") as box:
    wrapped = box.get_wrapped_container()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("file")
        entry.size = 4
        tar.addfile(entry, io.BytesIO(b"data"))
    assert wrapped.put_archive("/tmp", archive.getvalue())
    assert box.exec("cat /tmp/file").output == b"data"
    pieces, stat = wrapped.get_archive("/tmp/file")
    assert (stat["name"], stat["size"]) == ("file", 4), stat
    assert wrapped.stats(stream=False)["memory_stats"]["usage"] > 0
    assert wrapped.health == "unknown"

failing = DockerContainer("busybox").with_command(["sh", "-c", "echo broken >&2; exit 9"])
try:
    failing.waiting_for(LogMessageWaitStrategy("never").with_startup_timeout(20)).start()
    raise SystemExit("it started")
except Exception as error:
    assert "exited" in str(error).lower() or "never" in str(error), error
finally:
    assert failing.get_logs()[1].strip() == b"broken"
    failing.stop()
"#,
    );
    daemon.assert_no_container_left();
}
