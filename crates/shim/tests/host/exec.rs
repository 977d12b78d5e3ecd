// SPDX-License-Identifier: Apache-2.0
//! Further processes in a running container.

use errors::Kind as ErrorKind;
use shim::frame::Kind;
use shim::{Request, read_exec_exit};

use crate::harness::{World, eventually, process};

#[test]
fn an_exec_has_output_input_and_an_exit_code() {
    let world = World::new();
    let container = world.start(world.request("sleep 1000"));
    let mut client = container.exec("one", &process(&["sh", "-c", "cat; echo err >&2; exit 42"]), true, false);
    assert_ne!(client.started().pid, container.started.pid);
    client.send(Kind::Stdin, b"to the exec\n");
    client.send(Kind::StdinEof, b"");
    let (out, err, exit) = client.collect();
    assert_eq!((out.as_slice(), err.as_slice(), exit.code), (&b"to the exec\n"[..], &b"err\n"[..], 42));
    assert_eq!(read_exec_exit(&container.dir, "one").unwrap().unwrap().code, 42);
    assert!(container.log().is_empty(), "an exec's output is not the container's");
    container.kill(9);
    assert_eq!(container.finish().signal, Some(9));
}

#[test]
fn an_exec_may_have_a_terminal_and_be_resized() {
    let world = World::new();
    let container = world.start(world.request("sleep 1000"));
    let mut wanted = process(&["sh", "-c", "stty size; read a; stty size; kill -9 $$"]);
    wanted["terminal"] = true.into();
    wanted["consoleSize"] = serde_json::json!({"height": 20, "width": 30});
    let mut client = container.exec("tty", &wanted, true, false);
    client.started();
    client.read_until("20 30\r\n");
    container.connect(&Request::Resize { exec_id: Some("tty".into()), rows: 21, cols: 31 }).ok();
    client.send(Kind::Stdin, b"x\n");
    client.read_until("21 31\r\n");
    assert_eq!(client.exited().code, 137);
    container.kill(9);
    container.finish();
}

#[test]
fn a_detached_exec_goes_on_alone() {
    let world = World::new();
    let container = world.start(world.request("sleep 1000"));
    let mut client = container.exec("alone", &process(&["sh", "-c", "seq 1 100000; exit 5"]), false, true);
    client.started();
    assert!(client.next().is_none());
    let exit = || read_exec_exit(&container.dir, "alone").unwrap();
    eventually("the exec ends, its output dropped", || exit().is_some());
    assert_eq!(exit().unwrap().code, 5);
    container.kill(9);
    container.finish();
}

#[test]
fn an_exec_whose_client_leaves_goes_on() {
    let world = World::new();
    let container = world.start(world.request("sleep 1000"));
    let script = "sleep 0.3; seq 1 100000; echo done > /tmp/done; exit 6";
    let mut client = container.exec("left", &process(&["sh", "-c", script]), false, false);
    client.started();
    drop(client);
    eventually("the exec ends", || read_exec_exit(&container.dir, "left").unwrap().is_some());
    assert!(world.dir.path().join("root/tmp/done").exists());
    container.kill(9);
    container.finish();
}

#[test]
fn execs_end_with_the_container() {
    let world = World::new();
    let container = world.start(world.request("sleep 1000"));
    let mut client = container.exec("long", &process(&["sleep", "1000"]), false, false);
    client.started();
    container.kill(9);
    let (_, _, exit) = client.collect();
    assert_eq!(exit.signal, Some(9));
    container.finish();
}

#[test]
fn an_exec_that_cannot_be_is_refused() {
    let world = World::new();
    let container = world.start(world.request("sleep 1000"));
    let missing = container.exec("m", &process(&["/no/such/program"]), false, false).failed();
    assert_eq!(missing.kind, ErrorKind::CommandNotFound, "{missing}");
    let named = container.exec("../x", &process(&["true"]), false, false).failed();
    assert_eq!(named.kind, ErrorKind::InvalidArgument);
    let mut first = container.exec("same", &process(&["sleep", "1000"]), false, false);
    first.started();
    let second = container.exec("same", &process(&["true"]), false, false).failed();
    assert_eq!(second.kind, ErrorKind::Conflict);
    container.connect(&Request::Pause).ok();
    let paused = container.exec("p", &process(&["true"]), false, false).failed();
    assert_eq!(paused.kind, ErrorKind::Conflict);
    container.connect(&Request::Resume).ok();
    container.kill(9);
    container.finish();
}
