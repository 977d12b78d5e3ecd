// SPDX-License-Identifier: Apache-2.0
//! `corten hello serve`: a thread per connection, so many and no more, until SIGTERM or SIGINT.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use errors::{Kind, Report, kind_of_io};
use nix::sys::signal::{SigSet, Signal};
use serde_json::{Value, json};

use super::counter::Counter;
use super::http::{self, Refusal, Request, Requests};
use super::identity::Identity;
use crate::printer;

/// The most connections at a time; more are told to come back.
const CONNECTIONS: usize = 64;
/// The most requests on one connection.
const REQUESTS: usize = 1000;
/// How long a client may take for a request, or for taking the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests under way may take at the end.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

struct Service {
    identity: Identity,
    counter: Counter,
    open: AtomicUsize,
    ending: AtomicBool,
}

/// Serve on `port` until a signal asks for the end.
pub(crate) fn run(port: u16, data: PathBuf, start_ns: u64) -> Result<(), Report> {
    // As a container's first process it gets only signals that it asks for. Blocked before there is a second thread,
    // so that no thread but the one that waits takes them.
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    let no_signals = |errno: nix::Error| Report::new(Kind::Internal, format!("cannot wait for signals: {errno}"));
    signals.thread_block().map_err(no_signals)?;

    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .map_err(|error| Report::new(kind_of_io(&error), format!("cannot listen on port {port}: {error}")))?;
    let service = Arc::new(Service {
        identity: Identity::gather(start_ns),
        counter: Counter::new(data),
        open: AtomicUsize::new(0),
        ending: AtomicBool::new(false),
    });
    printer::note(&format!("listening on port {port}"));
    let accepting = Arc::clone(&service);
    std::thread::spawn(move || accept(&listener, &accepting));

    signals.wait().map_err(no_signals)?;
    service.ending.store(true, Ordering::SeqCst);
    let deadline = Instant::now() + LAST_REQUESTS;
    while service.open.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn accept(listener: &TcpListener, service: &Arc<Service>) {
    loop {
        let Ok((stream, _)) = listener.accept() else {
            // No descriptor left: some will be closed soon.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        if service.open.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS {
            // The answer is a kindness; who does not take it is not waited for.
            let _ = stream.set_nonblocking(true);
            let _ = http::answer(&stream, 503, "{\"error\":\"too many connections\"}\n", false, false);
            service.open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let service = Arc::clone(service);
        std::thread::spawn(move || {
            let _open = Open(&service.open);
            converse(&stream, &service);
        });
    }
}

/// Counts a connection until it is dropped, also by a panic.
struct Open<'a>(&'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn converse(stream: &TcpStream, service: &Service) {
    let timeouts = stream.set_read_timeout(Some(TIMEOUT)).and_then(|()| stream.set_write_timeout(Some(TIMEOUT)));
    if timeouts.is_err() {
        return;
    }
    let mut requests = Requests::new(stream);
    for _ in 0..REQUESTS {
        let (status, body, keep_alive, head_only) = match requests.next() {
            Ok(request) => {
                let (status, body) = respond(&request, service);
                let keep_alive = request.keep_alive && !service.ending.load(Ordering::SeqCst);
                (status, body, keep_alive, request.method == "HEAD")
            }
            Err(Refusal::Gone) => return,
            Err(Refusal::Status(status)) => {
                (status, json!({ "error": "this request is not understood" }), false, false)
            }
        };
        let sent = http::answer(stream, status, &format!("{body}\n"), keep_alive, head_only);
        if sent.is_err() || !keep_alive {
            return;
        }
    }
}

/// The status and body that answer a request.
fn respond(request: &Request, service: &Service) -> (u16, Value) {
    let ending = service.ending.load(Ordering::SeqCst);
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/") => (200, who(service)),
        // To look whether it is there is no visit.
        ("HEAD", "/") => (200, json!({})),
        ("GET" | "HEAD", "/health/live") => (200, json!({ "status": "live" })),
        ("GET" | "HEAD", "/health/ready") if ending => (503, json!({ "status": "ending" })),
        ("GET" | "HEAD", "/health/ready") => (200, json!({ "status": "ready" })),
        ("GET" | "HEAD", "/count") => count(service.counter.read()),
        ("POST", "/count") => count(service.counter.increment()),
        (_, "/" | "/count" | "/health/live" | "/health/ready") => (405, json!({ "error": "not with this method" })),
        _ => (404, json!({ "error": "there is no such page" })),
    }
}

/// The identity, and which visit this is; who cannot count says why.
fn who(service: &Service) -> Value {
    // A struct of numbers and strings always becomes JSON.
    let mut who = serde_json::to_value(&service.identity).unwrap_or_default();
    match service.counter.increment() {
        Ok(number) => who["counter"] = number.into(),
        Err(error) => {
            who["counter"] = Value::Null;
            who["counter_error"] = error.to_string().into();
        }
    }
    who
}

fn count(result: std::io::Result<u64>) -> (u16, Value) {
    match result {
        Ok(number) => (200, json!({ "counter": number })),
        Err(error) => (500, json!({ "error": error.to_string() })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(data: PathBuf) -> Service {
        Service {
            identity: Identity::gather(0),
            counter: Counter::new(data),
            open: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
        }
    }

    fn ask(service: &Service, method: &str, path: &str) -> (u16, Value) {
        respond(&Request { method: method.into(), path: path.into(), keep_alive: true }, service)
    }

    #[test]
    fn every_page_answers() {
        let data = std::env::temp_dir().join(format!("corten-hello-{}", std::process::id()));
        let service = service(data.clone());
        assert_eq!(ask(&service, "GET", "/").1["counter"], 1);
        assert_eq!(ask(&service, "GET", "/").1["pid"], std::process::id());
        assert_eq!(ask(&service, "POST", "/count").1["counter"], 3);
        assert_eq!(ask(&service, "GET", "/count").1["counter"], 3);
        assert_eq!(ask(&service, "GET", "/health/live").0, 200);
        assert_eq!(ask(&service, "GET", "/health/ready").0, 200);
        service.ending.store(true, Ordering::SeqCst);
        assert_eq!(ask(&service, "GET", "/health/ready").0, 503);
        assert_eq!(ask(&service, "DELETE", "/").0, 405);
        assert_eq!(ask(&service, "GET", "/no/such/path").0, 404);
        std::fs::remove_dir_all(&data).unwrap();
    }

    #[test]
    fn who_cannot_count_still_says_who_it_is() {
        let service = service("/proc/no/such/place".into());
        let (status, who) = ask(&service, "GET", "/");
        assert_eq!((status, &who["counter"]), (200, &Value::Null));
        assert!(who["counter_error"].is_string());
        assert_eq!(ask(&service, "POST", "/count").0, 500);
    }
}
