// SPDX-License-Identifier: Apache-2.0
//! The container's terminal.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use rustix::termios::{isatty, tcgetwinsize};
use serde_json::json;

use crate::bundle::Bundle;

fn read_all(terminal: std::os::fd::OwnedFd) -> String {
    let mut text = Vec::new();
    let mut file = fs::File::from(terminal);
    let mut buffer = [0; 4096];
    // The end of a terminal whose other side is gone is EIO.
    while let Ok(length @ 1..) = file.read(&mut buffer) {
        text.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&text).replace('\r', "")
}

/// What is said on the terminal of the process that `args` start.
pub(crate) fn said(bundle: &Bundle, args: &[&str]) -> String {
    let socket = bundle.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let (command, more) = args.split_first().unwrap();
    bundle.oci(&[&[command, "--detach", "--console-socket", "socket"], more].concat()).ok();
    let (stream, _) = listener.accept().unwrap();
    let (_, mut fds) = sys::fds::recv_with(&stream, &mut [0; 64]).unwrap();
    fs::remove_file(socket).unwrap();
    read_all(fds.pop().unwrap())
}

#[test]
fn it_is_the_containers_own_and_comes_over_the_socket() {
    let script = "tty; stty size; ls -l /dev/console; cut -d' ' -f7 /proc/self/stat; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all";
    let bundle = Bundle::script(script)
        .set("/process/terminal", json!(true))
        .set("/process/consoleSize", json!({ "height": 33, "width": 77 }));
    let socket = bundle.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    bundle.oci(&["run", "--detach", "--console-socket", "socket", &bundle.id]).ok();
    let (stream, _) = listener.accept().unwrap();
    let (_, mut fds) = sys::fds::recv_with(&stream, &mut [0; 64]).unwrap();
    let terminal = fds.pop().unwrap();
    assert!(isatty(&terminal));
    let size = tcgetwinsize(&terminal).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (33, 77));
    let said = read_all(terminal);
    assert!(said.starts_with("/dev/pts/0\n33 77\n"), "{said}");
    assert!(said.contains("/dev/console"), "{said}");
    assert!(said.ends_with("all\n"), "{said}");
}

#[test]
fn exec_gets_one_too() {
    let bundle = Bundle::new(&["sleep", "100"]).start();
    let socket = bundle.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let args = ["exec", "--tty", "--detach", "--console-socket", "socket", &bundle.id, "tty"];
    bundle.oci(&args).ok();
    let (stream, _) = listener.accept().unwrap();
    let (_, mut fds) = sys::fds::recv_with(&stream, &mut [0; 64]).unwrap();
    assert_eq!(read_all(fds.pop().unwrap()), "/dev/pts/0\n");
}

#[test]
fn in_the_foreground_lines_end_as_the_command_wrote_them() {
    let bundle = Bundle::script("tty; echo two").set("/process/terminal", json!(true));
    assert_eq!(bundle.run().ok(), "/dev/pts/0\ntwo\n");
}

#[test]
fn an_image_cannot_pass_off_something_else_as_the_multiplexer() {
    let bundle = Bundle::new(&["true"]).set("/process/terminal", json!(true));
    // Without a devpts of its own, what the image has at that place is not taken.
    let mounts = bundle.config["mounts"].as_array().unwrap().clone();
    let kept: Vec<_> =
        mounts.into_iter().filter(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev")).collect();
    let bundle = bundle.set("/mounts", json!(kept)).set("/root/readonly", json!(false));
    fs::create_dir(bundle.rootfs("dev/pts")).unwrap();
    let _listener = UnixListener::bind(bundle.path().join("socket")).unwrap();
    for wrong in ["file", "link"] {
        let place = bundle.rootfs("dev/pts/ptmx");
        if wrong == "file" {
            fs::write(&place, "").unwrap();
        } else {
            fs::remove_file(&place).unwrap();
            symlink("/dev/null", &place).unwrap();
        }
        let ran = bundle.oci(&["run", "--detach", "--console-socket", "socket", &bundle.id]);
        ran.fails(1, if wrong == "file" { "not the multiplexer" } else { "ELOOP" });
        bundle.left_nothing();
    }
}

#[test]
fn the_socket_is_asked_for_exactly_where_it_is_needed() {
    let with = Bundle::new(&["true"]).set("/process/terminal", json!(true));
    with.oci(&["create", &with.id]).fails(1, "--console-socket");
    with.oci(&["run", "--detach", &with.id]).fails(1, "--console-socket");
    let without = Bundle::new(&["true"]);
    without.oci(&["create", "--console-socket", "x", &without.id]).fails(1, "--console-socket");
}
