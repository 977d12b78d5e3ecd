// SPDX-License-Identifier: Apache-2.0
//! dockerode as a client: what programs in JavaScript do with Docker, over a real socket.

use testkit::process::command;
use testkit::{Daemon, fixtures::libraries};

/// What every script begins with. A wait without an end is a failure.
const PROLOGUE: &str = "
const Docker = require('dockerode');
const assert = require('node:assert/strict');
const { PassThrough } = require('node:stream');
const docker = new Docker();
setTimeout(() => { console.error('it waits without an end'); process.exit(9); }, 120000).unref();
const read = (stream) => new Promise((resolve, reject) => {
  const chunks = [];
  stream.on('data', (chunk) => chunks.push(chunk));
  stream.on('end', () => resolve(Buffer.concat(chunks)));
  stream.on('error', reject);
});
// A multiplexed stream, taken apart.
const apart = async (container, stream) => {
  const [out, err] = [new PassThrough(), new PassThrough()];
  container.modem.demuxStream(stream, out, err);
  stream.on('end', () => { out.end(); err.end(); });
  return (await Promise.all([read(out), read(err)])).map(String);
};
const refused = async (status, promise) => {
  const error = await promise.then(() => { throw new Error('it succeeded'); }, (error) => error);
  assert.equal(error.statusCode, status, String(error));
  assert.ok(error.json.message, 'a message');
  return error;
};
";

/// Runs a script, which must succeed.
#[track_caller]
fn node(daemon: &Daemon, script: &str) {
    let mut interpreter = command("node");
    interpreter.args(["-e", &format!("{PROLOGUE}(async () => {{{script}}})().then(() => process.exit(0));")]);
    interpreter.env("DOCKER_HOST", daemon.host()).env("NODE_PATH", libraries::of_node("dockerode", "5.0.1"));
    let output = daemon.sandbox().run(move || interpreter.output()).expect("node is installed");
    assert!(output.status.success(), "{script}\n{}\n{}", String::from_utf8_lossy(&output.stderr), daemon.log());
}

#[test]
fn containers_live_their_lives() {
    let daemon = Daemon::with_busybox();
    node(
        &daemon,
        r#"
assert.equal(String(await docker.ping()), 'OK');
assert.ok((await docker.version()).ApiVersion);
assert.equal((await docker.info()).Containers, 0);
await refused(404, docker.createContainer({ Image: 'no/such', Cmd: ['true'] }));
const out = new PassThrough();
const said = read(out);
const [result, first] = await docker.run('busybox', ['sh', '-c', 'echo out; exit 3'], out, { Tty: true });
out.end();
assert.equal(result.StatusCode, 3);
assert.equal(String(await said).trim(), 'out');
await first.remove();

const container = await docker.createContainer({
  Image: 'busybox', name: 'life', Cmd: ['sh', '-c', 'trap "exit 7" TERM; echo ready; while :; do sleep 0.1; done'],
  Labels: { tier: 'front' }, Env: ['A=b'], ExposedPorts: { '80/tcp': {} },
  HostConfig: { Memory: 64 << 20, PortBindings: { '80/tcp': [{ HostIp: '127.0.0.1', HostPort: '18101' }] } },
});
await refused(409, docker.createContainer({ Image: 'busybox', name: 'life', Cmd: ['true'] }));
await container.start();
const follow = await container.logs({ follow: true, stdout: true, stderr: true });
await new Promise((resolve) => follow.once('data', resolve));
follow.destroy();
let state = await container.inspect();
assert.deepEqual([state.State.Running, state.Name, state.HostConfig.Memory], [true, '/life', 64 << 20]);
assert.deepEqual(state.NetworkSettings.Ports['80/tcp'], [{ HostIp: '127.0.0.1', HostPort: '18101' }]);
const listed = await docker.listContainers({ filters: { label: ['tier=front'] } });
assert.deepEqual(listed.map((one) => [one.Names[0], one.State, one.Ports[0].PublicPort]), [['/life', 'running', 18101]]);
assert.ok((await container.stats({ stream: false })).memory_stats.usage > 0);
assert.ok((await container.top()).Processes.length >= 1);
await container.pause();
assert.equal((await container.inspect()).State.Status, 'paused');
await container.unpause();
await container.rename({ name: 'renamed' });
await container.update({ Memory: 96 << 20, MemorySwap: 96 << 20 });
assert.equal((await container.inspect()).HostConfig.Memory, 96 << 20);
const ended = container.wait();
await container.stop({ t: 20 });
assert.equal((await ended).StatusCode, 7);
assert.equal(String((await container.logs({ stdout: true })).subarray(8)), 'ready\n');
await container.remove();
await refused(404, container.inspect());
"#,
    );
    daemon.assert_no_container_left();
}

#[test]
fn streams_go_both_ways() {
    let daemon = Daemon::with_busybox();
    node(
        &daemon,
        r#"
const talk = await docker.createContainer({
  Image: 'busybox', Cmd: ['sh', '-c', 'read line; echo "out $line"; echo "err $line" >&2'],
  OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true,
});
const attached = await talk.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
const told = apart(talk, attached);
await talk.start();
attached.write('hello\n');
assert.deepEqual(await told, ['out hello\n', 'err hello\n']);
await talk.remove();

const box = await docker.createContainer({ Image: 'busybox', Cmd: ['sleep', '60'] });
await box.start();
const exec = await box.exec({ Cmd: ['sh', '-c', 'cat; exit 5'], AttachStdin: true, AttachStdout: true, AttachStderr: true });
const stream = await exec.start({ hijack: true, stdin: true });
const echoed = apart(box, stream);
stream.end('through an exec\n');
assert.deepEqual(await echoed, ['through an exec\n', '']);
assert.deepEqual([(await exec.inspect()).ExitCode, (await exec.inspect()).Running], [5, false]);
const terminal = await box.exec({ Cmd: ['sh'], AttachStdin: true, AttachStdout: true, Tty: true });
const session = await terminal.start({ hijack: true, stdin: true, Tty: true });
await terminal.resize({ h: 33, w: 77 });
session.write('stty size; exit\n');
assert.match(String(await read(session)), /33 77/);

// Files, both ways.
const made = await box.exec({ Cmd: ['sh', '-c', 'mkdir /in && echo carried > /in/file'], AttachStdout: true });
await read(await made.start({}));
const archive = await read(await box.getArchive({ path: '/in' }));
assert.ok(archive.includes('carried'));
await box.putArchive(archive, { path: '/tmp' });
const look = await box.exec({ Cmd: ['cat', '/tmp/in/file'], AttachStdout: true, Tty: true });
assert.equal(String(await read(await look.start({ Tty: true }))).trim(), 'carried');
assert.ok((await box.changes()).some((change) => change.Path === '/tmp/in/file'));
await box.remove({ force: true });
"#,
    );
    daemon.assert_no_container_left();
}

#[test]
fn events_images_networks_and_volumes() {
    let daemon = Daemon::with_busybox();
    node(
        &daemon,
        r#"
const events = await docker.getEvents({ filters: { type: ['container'], event: ['create', 'start', 'die', 'destroy'] } });
const seen = [];
const all = new Promise((resolve) => {
  let text = '';
  events.on('data', (chunk) => {
    text += chunk;
    const lines = text.split('\n');
    text = lines.pop();
    seen.push(...lines.filter(Boolean).map((line) => JSON.parse(line)));
    if (seen.some((event) => event.Action === 'destroy')) resolve();
  });
});
const network = await docker.createNetwork({ Name: 'inside', Labels: { a: 'b' } });
const volume = await docker.createVolume({ Name: 'kept' });
assert.equal((await docker.getVolume('kept').inspect()).Driver, 'local');
const one = await docker.createContainer({
  Image: 'busybox', name: 'one', Cmd: ['sh', '-c', 'echo kept > /data/file'],
  HostConfig: { Binds: ['kept:/data'], NetworkMode: 'inside' },
});
await one.start();
assert.equal((await one.wait()).StatusCode, 0);
assert.ok((await one.inspect()).NetworkSettings.Networks.inside);
const committed = await one.commit({ repo: 'made', tag: 'here', changes: ['LABEL by=dockerode'] });
assert.ok(committed.Id);
await one.remove();
await all;
events.destroy();
assert.deepEqual(seen.map((event) => event.Action), ['create', 'start', 'die', 'destroy']);
assert.deepEqual([seen[2].Actor.Attributes.exitCode, seen[2].Actor.Attributes.name], ['0', 'one']);

const image = docker.getImage('made:here');
assert.equal((await image.inspect()).Config.Labels.by, 'dockerode');
await image.tag({ repo: 'other', tag: 'too' });
const saved = await read(await docker.getImage('other:too').get());
await docker.getImage('other:too').remove();
const progress = await docker.loadImage(require('node:stream').Readable.from([saved]));
await new Promise((resolve, reject) => docker.modem.followProgress(progress, (error, done) => error ? reject(error) : resolve(done)));
const tags = (await docker.listImages()).flatMap((one) => one.RepoTags || []);
assert.ok(tags.includes('other:too') && tags.includes('made:here'), tags.join());
assert.ok((await image.history()).length >= 2);
await refused(404, docker.getImage('no/such').inspect());
await network.remove();
await volume.remove();
assert.deepEqual((await docker.listVolumes()).Volumes || [], []);
"#,
    );
    daemon.assert_no_container_left();
}
