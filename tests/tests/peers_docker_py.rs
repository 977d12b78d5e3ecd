// SPDX-License-Identifier: Apache-2.0
//! Debian's docker-py as a client: what programs in Python do with Docker, over a real socket.

use testkit::Daemon;
use testkit::process::command;

/// What every script begins with. A wait without an end is a failure: each request has its time.
const PROLOGUE: &str = "
import docker, io, json, socket, tarfile, threading
client = docker.from_env(timeout=30)
";

/// Runs a script, which must succeed.
#[track_caller]
fn python(daemon: &Daemon, script: &str) -> String {
    python_with(daemon, script, &[])
}

#[track_caller]
fn python_with(daemon: &Daemon, script: &str, variables: &[(&str, &str)]) -> String {
    let mut interpreter = command("/usr/bin/python3");
    interpreter.args(["-c", &format!("{PROLOGUE}{script}")]);
    interpreter.env("DOCKER_HOST", daemon.host()).envs(variables.iter().copied());
    let output = daemon.sandbox().run(move || interpreter.output()).expect("python is installed");
    assert!(output.status.success(), "{script}\n{}\n{}", String::from_utf8_lossy(&output.stderr), daemon.log());
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn containers_run_and_tell_their_output_and_exit() {
    let daemon = Daemon::with_busybox();
    python(
        &daemon,
        r#"
assert client.ping()
out = client.containers.run("busybox", ["sh", "-c", "echo out; echo err >&2"], remove=True)
assert out == b"out\n", out
both = client.containers.run("busybox", ["sh", "-c", "echo out; echo err >&2"], stderr=True, remove=True)
assert sorted(both.split()) == [b"err", b"out"], both
try:
    client.containers.run("busybox", ["sh", "-c", "echo why >&2; exit 3"], remove=True)
    raise SystemExit("it succeeded")
except docker.errors.ContainerError as error:
    assert error.exit_status == 3 and error.stderr == b"why\n", error
try:
    client.containers.run("busybox", "/no/such/command")
    raise SystemExit("it succeeded")
except docker.errors.APIError as error:
    assert error.status_code == 400 and "executable file not found" in error.explanation, error
for left in client.containers.list(all=True):
    left.remove()

c = client.containers.run("busybox", ["sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done"],
    detach=True, name="py", labels={"tier": "front"}, environment={"A": "b"}, working_dir="/tmp", hostname="hi",
    mem_limit="64m", nano_cpus=500000000, ports={"80/tcp": ("127.0.0.1", 18099)}, tmpfs={"/scratch": "size=1m"})
assert next(c.logs(stream=True, follow=True)).strip() == b"ready"
c.reload()
assert c.status == "running" and c.labels["tier"] == "front" and c.name == "py"
assert c.ports == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18099"}]}, c.ports
assert c.attrs["HostConfig"]["Memory"] == 64 << 20
assert c.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
# An older version of the API has it where it used to be, too.
old = docker.from_env(version="1.51").api.inspect_container(c.id)
assert old["NetworkSettings"]["IPAddress"] == c.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"], old
assert c.image.tags == ["busybox:latest"], c.image.tags
assert [found.id for found in client.containers.list(filters={"label": "tier=front"})] == [c.id]
assert client.containers.list(filters={"label": "tier=back"}) == []
titles = c.top()["Titles"]
assert "PID" in titles and "CMD" in titles, titles
assert c.top(ps_args="-o pid,comm")["Titles"] == ["PID", "COMMAND"]
c.pause(); c.reload(); assert c.status == "paused"
c.unpause(); c.rename("renamed"); c.reload(); assert c.name == "renamed"
c.update(mem_limit="96m", memswap_limit="96m"); c.reload()
assert c.attrs["HostConfig"]["Memory"] == 96 << 20
c.restart(timeout=20)
# When it says so it listens for signals.
said = b""
for piece in c.logs(stream=True, follow=True):
    said += piece
    if said.count(b"ready") == 2:
        break
c.stop(timeout=20)
assert c.wait()["StatusCode"] == 7
assert {change["Path"] for change in (c.diff() or [])} <= {"/tmp", "/scratch"}, c.diff()
c.remove()
try:
    client.containers.get("renamed")
    raise SystemExit("it is still there")
except docker.errors.NotFound:
    pass
"#,
    );
    daemon.assert_no_container_left();
}

#[test]
fn commands_are_executed_and_streams_attached_to() {
    let daemon = Daemon::with_busybox();
    python(
        &daemon,
        r#"
c = client.containers.run("busybox", ["sleep", "60"], detach=True)
code, out = c.exec_run(["sh", "-c", "echo $A; pwd; id -u; exit 4"], environment={"A": "x"}, workdir="/tmp", user="7")
assert (code, out) == (4, b"x\n/tmp\n7\n"), (code, out)
code, (out, err) = c.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True)
assert (code, out, err) == (0, b"o\n", b"e\n"), (code, out, err)
_, chunks = c.exec_run(["sh", "-c", "echo 1; echo 2"], stream=True)
assert b"".join(chunks) == b"1\n2\n"
created = client.api.exec_create(c.id, ["cat"], stdin=True)
sock = client.api.exec_start(created["Id"], socket=True)._sock
sock.sendall(b"typed\n")
sock.shutdown(socket.SHUT_WR)
heard = b""
while piece := sock.recv(4096):
    heard += piece
assert heard == b"\1\0\0\0\0\0\0\6typed\n", heard
assert client.api.exec_inspect(created["Id"])["ExitCode"] == 0
c.remove(force=True)

c = client.containers.create("busybox", ["sh", "-c", "read line; echo got $line"], stdin_open=True)
sock = c.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})._sock
c.start()
sock.sendall(b"it\n")
heard = b""
while piece := sock.recv(4096):
    heard += piece
assert heard == b"\1\0\0\0\0\0\0\7got it\n", heard
assert c.wait()["StatusCode"] == 0
written = c.attach(logs=True, stream=False)
assert written == b"got it\n", written
c.remove()

c = client.containers.run("busybox", ["sh", "-c", "echo before; read line; echo after"], detach=True, stdin_open=True, tty=True)
written = b""
for piece in c.logs(stream=True):
    written += piece
    if written.endswith(b"\n"):
        break
assert written == b"before\r\n", written
c.resize(40, 100)
sock = c.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1, "logs": 1})._sock
sock.sendall(b"x\n")
heard = b""
while piece := sock.recv(4096):
    heard += piece
assert heard.startswith(b"before\r\n") and heard.endswith(b"after\r\n"), heard
c.remove(force=True)
"#,
    );
    daemon.assert_no_container_left();
}

#[test]
fn a_websocket_attaches() {
    let daemon = Daemon::with_busybox();
    let path = daemon.socket();
    python_with(
        &daemon,
        r#"
import os, websocket
def attach(container, version):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(os.environ["SOCKET"])
    address = f"ws://localhost/v{version}/containers/{container.id}/attach/ws?stream=1&stdin=1&stdout=1&stderr=1"
    return websocket.create_connection(address, socket=sock, timeout=20)
for version, opcode in [("1.41", websocket.ABNF.OPCODE_BINARY), ("1.27", websocket.ABNF.OPCODE_TEXT)]:
    c = client.containers.create("busybox", ["sh", "-c", "read line; echo got $line; exit 5"], stdin_open=True)
    ws = attach(c, version)
    c.start()
    ws.send("by web\n")
    kind, heard = ws.recv_data()
    assert (kind, heard) == (opcode, b"got by web\n"), (kind, heard)
    kind, _ = ws.recv_data(control_frame=True)
    assert kind == websocket.ABNF.OPCODE_CLOSE, kind
    assert c.wait()["StatusCode"] == 5
    c.remove()
c = client.containers.run("busybox", ["sleep", "60"], detach=True)
ws = attach(c, "1.41")
ws.close()
c.reload()
assert c.status == "running"
sock = socket.socket(socket.AF_UNIX)
sock.connect(os.environ["SOCKET"])
try:
    websocket.create_connection(f"ws://localhost/containers/{c.id}/attach/ws?stream=1", socket=sock, timeout=20,
        origin="http://evil.example")
    raise SystemExit("a page of another site attached")
except websocket.WebSocketBadStatusException as error:
    assert error.status_code == 403, error
c.remove(force=True)
"#,
        &[("SOCKET", &path.to_string_lossy())],
    );
    daemon.assert_no_container_left();
}

#[test]
fn images_are_listed_tagged_committed_saved_and_loaded() {
    let daemon = Daemon::with_busybox();
    python(
        &daemon,
        r#"
image = client.images.get("busybox")
assert image.tags == ["busybox:latest"] and image.id in [found.id for found in client.images.list("busybox")]
assert image.attrs["RootFS"]["Layers"] and image.attrs["Os"] == "linux"
assert image.tag("mine/copy", "1") and sorted(client.images.get(image.id).tags) == ["busybox:latest", "mine/copy:1"]
assert image.history()
image.reload()
saved = b"".join(image.save(named="mine/copy:1"))
client.images.remove("mine/copy:1")
loaded = client.images.load(saved)
assert [found.tags[-1] for found in loaded] == ["mine/copy:1"], loaded[0].tags
c = client.containers.run("busybox", ["sh", "-c", "echo new > /made"], detach=True)
c.wait()
made = c.commit("made", "2", changes='CMD ["cat", "/made"]')
assert client.containers.run(made.id, remove=True) == b"new\n"
files = tarfile.open(fileobj=io.BytesIO(b"".join(c.export())))
assert files.extractfile("made").read() == b"new\n"
c.remove()
assert client.images.prune(filters={"dangling": True})["SpaceReclaimed"] is not None
try:
    client.images.get("nothing/here")
    raise SystemExit("it is there")
except docker.errors.ImageNotFound:
    pass
try:
    client.images.build(fileobj=io.BytesIO(b"FROM busybox"))
    raise SystemExit("it was built")
except docker.errors.APIError as error:
    assert error.status_code == 501 and "building images is not supported" in error.explanation, error
"#,
    );
}

#[test]
fn the_host_its_counters_and_its_missing_swarm_are_told_of() {
    let daemon = Daemon::with_busybox();
    python(
        &daemon,
        r#"
info = client.info()
assert info["Swarm"]["LocalNodeState"] == "inactive" and info["OSType"] == "linux"
assert client.version()["ApiVersion"] and client.df()["Images"]
assert client.plugins.list() == []
try:
    client.services.list()
    raise SystemExit("there are services")
except docker.errors.APIError as error:
    assert error.status_code == 503 and "This node is not a swarm manager" in error.explanation, error
c = client.containers.run("busybox", ["sh", "-c", "while :; do :; done"], detach=True)
sample = c.stats(stream=False)
assert sample["memory_stats"]["usage"] > 0 and sample["cpu_stats"]["cpu_usage"]["total_usage"] > 0, sample
assert next(c.stats(decode=True))["id"] == c.id
c.remove(force=True)
for version in ["1.24", "1.35", "1.41"]:
    old = docker.from_env(version=version)
    assert old.version()["MinAPIVersion"] == "1.24"
    assert "VirtualSize" in old.images.list()[0].attrs
"#,
    );
}

/// As Traefik and Portainer do: the stream of events tells when to look, and the list what there is.
#[test]
fn a_reader_of_events_and_labels_sees_what_comes_and_goes() {
    let daemon = Daemon::with_busybox();
    python(
        &daemon,
        r#"
stream = client.events(decode=True, filters={"type": "container", "label": "proxy.enable=true"})
seen, problem, looked = [], [], threading.Event()
def enabled():
    return {
        found.name: found.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        for found in client.containers.list(filters={"label": "proxy.enable=true", "status": "running"})
    }
def read():
    try:
        for event in stream:
            if event["Action"] in ("start", "die"):
                seen.append((event["Action"], event["Actor"]["Attributes"]["name"], event["Actor"]["Attributes"]["proxy.port"]))
                if event["Action"] == "start":
                    assert enabled()["web"], "a started container has an address"
                    looked.set()
                else:
                    return
    except Exception as error:
        problem.append(error)
reader = threading.Thread(target=read)
reader.start()
client.containers.run("busybox", "true", name="other", remove=True)
web = client.containers.run("busybox", ["sleep", "60"], name="web", detach=True,
    labels={"proxy.enable": "true", "proxy.port": "80"})
listed = client.api.containers(filters={"label": ["proxy.enable=true"]})
assert [entry["Names"] for entry in listed] == [["/web"]]
assert listed[0]["Labels"]["proxy.port"] == "80" and listed[0]["State"] == "running"
assert listed[0]["NetworkSettings"]["Networks"]["bridge"]["IPAddress"], listed
assert looked.wait(20), problem
web.kill()
reader.join(20)
assert not reader.is_alive() and not problem, problem
assert seen == [("start", "web", "80"), ("die", "web", "80")], seen
assert enabled() == {}
web.remove()
"#,
    );
    daemon.assert_no_container_left();
}

#[test]
fn networks_and_volumes_are_made_and_used() {
    let daemon = Daemon::with_busybox();
    let said = python(
        &daemon,
        r#"
network = client.networks.create("mine", driver="bridge", labels={"a": "b"})
volume = client.volumes.create("kept")
web = client.containers.run("busybox", "sleep 60", name="web", network="mine", volumes={"kept": {"bind": "/kept"}}, detach=True)
web.exec_run(["touch", "/kept/file"])
print(client.containers.run("busybox", ["sh", "-c", "nslookup web | grep -c 'Name:.*web' && ls /kept"], network="mine",
    volumes=["kept:/kept:ro"], remove=True).decode().split())
network.reload()
print([container.name for container in network.containers], network.attrs["Labels"])
network.disconnect(web)
network.connect(web, aliases=["other"])
web.reload()
print(sorted(web.attrs["NetworkSettings"]["Networks"]))
web.remove(force=True)
network.remove()
volume.remove()
print(client.networks.list(names=["mine"]), client.volumes.list())
"#,
    );
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines, ["['1', 'file']", "['web'] {'a': 'b'}", "['mine']", "[] []"]);
    daemon.assert_no_container_left();
}
