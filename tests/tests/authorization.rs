// SPDX-License-Identifier: Apache-2.0
//! The authorization hook: asked before and after each request, and obeyed; whatever else it does is a no.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, also in its helper functions")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};
use testkit::Daemon;
use testkit::http::ask;

/// A hook that answers by `verdict`, given the question's name and what it is about; it tells what it was asked.
fn hook(
    directory: &std::path::Path,
    verdict: impl Fn(&str, &Value) -> String + Send + 'static,
) -> (String, Receiver<(String, Value)>) {
    let path = directory.join("hook");
    let listener = UnixListener::bind(&path).unwrap();
    let (asked, heard) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Some((question, about)) = stream.ok().as_ref().and_then(read) else { continue };
            let answer = verdict(&question, &about);
            // Whoever does not listen any more has its reasons.
            let _ = asked.send((question, about));
            ANSWERED.with(|stream| stream.borrow_mut().take().map(|mut stream| stream.write_all(answer.as_bytes())));
        }
    });
    (format!("unix://{}", path.display()), heard)
}

thread_local! {
    /// The connection whose question was read last.
    static ANSWERED: std::cell::RefCell<Option<UnixStream>> = const { std::cell::RefCell::new(None) };
}

fn read(stream: &UnixStream) -> Option<(String, Value)> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut line, mut question, mut length) = (String::new(), String::new(), 0);
    while reader.read_line(&mut line).ok()? > 2 {
        if let Some(rest) = line.strip_prefix("POST /") {
            question = rest.split(' ').next()?.to_owned();
        }
        if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse().ok()?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    ANSWERED.with(|answered| answered.replace(stream.try_clone().ok()));
    Some((question, serde_json::from_slice(&body).ok()?))
}

fn http(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn allow(allowed: bool, message: &str) -> String {
    http(&json!({"Allow": allowed, "Msg": message}).to_string())
}

fn uri(about: &Value) -> &str {
    about["RequestURI"].as_str().unwrap()
}

/// What a base64 text stands for.
fn decoded(text: &Value) -> String {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut length, mut bytes) = (0u32, 0, Vec::new());
    for digit in text.as_str().unwrap_or_default().chars().filter_map(|digit| DIGITS.find(digit)) {
        bits = bits << 6 | u32::try_from(digit).unwrap();
        length += 6;
        if length >= 8 {
            length -= 8;
            bytes.push((bits >> length & 0xff) as u8);
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn it_sees_requests_and_answers_and_its_no_is_final() {
    let directory = tempfile::tempdir().unwrap();
    let (address, heard) = hook(directory.path(), |question, about| {
        let is_answer = question == "AuthZPlugin.AuthZRes";
        if !is_answer && uri(about).contains("/kill") {
            return allow(false, "nobody is killed here");
        }
        if !is_answer && decoded(&about["RequestBody"]).contains("forbidden=1") {
            return allow(false, "this variable is forbidden");
        }
        allow(!(is_answer && uri(about).contains("/info")), "this is secret")
    });
    let daemon = Daemon::builder().argument("--authorization-hook").argument(&address).start();
    daemon.import_busybox();
    // Streams go through as well.
    let run = daemon.corten(&["run", "--rm", "busybox", "sh", "-c", "echo seen; exit 4"]);
    assert_eq!((run.text(), run.code), ("seen", 4), "{run}");
    let all: Vec<(String, Value)> = heard.try_iter().collect();
    let (_, about) =
        all.iter().find(|(name, about)| name == "AuthZPlugin.AuthZReq" && uri(about).contains("/run")).unwrap();
    assert_eq!(about["RequestMethod"], "POST");
    assert!(decoded(&about["RequestBody"]).contains("echo seen"), "{about}");
    assert!(
        all.iter().any(|(name, about)| name == "AuthZPlugin.AuthZRes" && about["ResponseStatusCode"] == 101),
        "{all:?}"
    );

    daemon.fails(&["run", "--rm", "-e", "forbidden=1", "busybox", "true"], 125).saying("this variable is forbidden");
    daemon.ok(&["run", "-d", "--name", "lives", "busybox", "sleep", "60"]);
    daemon.fails(&["kill", "lives"], 1).saying("nobody is killed here");
    assert_eq!(daemon.ok(&["inspect", "-f", "{{.State.Status}}", "lives"]), "running");
    daemon.fails(&["info"], 1).saying("this is secret");
    // A password is not shown.
    heard.try_iter().count();
    let headers = ["X-Registry-Auth: c2VjcmV0", "X-Seen: yes"];
    ask(&daemon, "GET", "/containers/json", &headers, b"").expect(200);
    let shown: Vec<String> = heard.try_iter().map(|(_, about)| about.to_string()).collect();
    assert!(shown.iter().any(|about| about.contains("x-seen")), "{shown:?}");
    assert!(shown.iter().all(|about| !about.contains("c2VjcmV0")), "{shown:?}");
}

#[test]
fn a_hook_that_fails_lets_nothing_through() {
    for answer in [
        http("no json"),
        http("{}"),
        http(r#"{"Allow": true, "Err": "it broke"}"#),
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 14\r\n\r\n{\"Allow\":true}".to_owned(),
        "nonsense".to_owned(),
        String::new(),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (good, bad) = (directory.path().join("good"), answer.clone());
        std::fs::write(&good, "").unwrap();
        let is_good = good.clone();
        let (address, _heard) =
            hook(directory.path(), move |_, _| if is_good.exists() { allow(true, "") } else { bad.clone() });
        let daemon = Daemon::builder().argument("--authorization-hook").argument(&address).start();
        daemon.ok(&["ps"]);
        std::fs::remove_file(&good).unwrap();
        daemon.fails(&["ps"], 1);
        std::fs::write(&good, "").unwrap();
        daemon.ok(&["ps"]);
    }
    // Nobody is there.
    let directory = tempfile::tempdir().unwrap();
    let (address, _heard) = hook(directory.path(), |_, _| allow(true, ""));
    let daemon = Daemon::builder().argument("--authorization-hook").argument(&address).start();
    let path = directory.path().join("hook");
    std::fs::rename(&path, directory.path().join("away")).unwrap();
    daemon.fails(&["ps"], 1).saying("hook");
    std::fs::rename(directory.path().join("away"), &path).unwrap();
}
