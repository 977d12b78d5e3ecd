// SPDX-License-Identifier: Apache-2.0
//! Clients that mean harm, or are broken.

use std::io::{BufReader, Read as _, Write as _};
use std::time::{Duration, Instant};

use oci::Digest;

use crate::server::{IMAGE, Server, manifest, read};

#[test]
fn names_that_are_paths_reach_nothing() {
    let server = Server::start();
    server.push("a", b"content");
    for path in [
        "/v2/../../etc/passwd",
        "/v2/..%2f..%2fetc/tags/list",
        "/v2/%2e%2e/tags/list",
        "/v2/a/../a/tags/list",
        "/v2/a+b/tags/list",
        "/v2/A/tags/list",
        "/v2/a%00/tags/list",
        "/v2/./tags/list",
    ] {
        let answer = server.get(path);
        assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
        assert!(!answer.body.is_empty() && answer.json()["errors"].is_array());
    }
    let long = format!("/v2/{}/tags/list", "a".repeat(300));
    assert_eq!(server.get(&long).is(400).code(), "NAME_INVALID");
    server.get(&format!("/v2/{}", "a/".repeat(5000))).is(404);
    for (method, path) in
        [("PUT", "/v2/"), ("PATCH", "/v2/a/manifests/x"), ("DELETE", "/v2/_catalog"), ("BREW", "/v2/")]
    {
        assert!(server.ask(method, path, &[], b"").is(405).header("allow").is_some(), "{method} {path}");
    }
}

#[test]
fn sizes_that_lie_leave_nothing() {
    let server = Server::start();
    let digest = Digest::of(b"content");
    // Fewer bytes than promised, then gone.
    let mut stream = server.connect();
    write!(
        stream,
        "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\ncontent"
    )
    .unwrap();
    drop(stream);
    // More bytes than promised are the next request, and no request.
    server
        .ask("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[("Content-Length", "3")], b"content")
        .is(400);
    for length in ["-1", "abc", "99999999999999999999999"] {
        let answer = server.ask("POST", "/v2/a/blobs/uploads/", &[("Content-Length", length)], b"");
        assert_eq!(answer.status, 400, "{length}");
    }
    server.get(&format!("/v2/a/blobs/{digest}")).is(404);
}

#[test]
fn an_interrupted_chunk_counts_as_far_as_it_came() {
    let server = Server::start();
    let location = server.ask("POST", "/v2/a/blobs/uploads/", &[], b"").is(202).header("location").unwrap().to_owned();
    let mut stream = server.connect();
    write!(stream, "PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhello").unwrap();
    drop(stream);
    let begun = Instant::now();
    let mut range = String::new();
    while begun.elapsed() < Duration::from_secs(10) && range.is_empty() {
        // What was gathered when the client left may be counted or not, but never half a byte more.
        range = server.get(&location).is(204).header("range").unwrap().to_owned();
    }
    assert!(matches!(range.as_str(), "0-0" | "0-4"), "{range}");
    let rest: &[u8] = if range == "0-4" { b", world" } else { b"hello, world" };
    let path = format!("{location}?digest={}", Digest::of(b"hello, world"));
    server.ask("PUT", &path, &[], rest).is(201);
}

#[test]
fn two_uploads_of_one_blob_finish_at_once() {
    let server = Server::start();
    let content = vec![3; 5 << 20];
    let digest = Digest::of(&content);
    std::thread::scope(|scope| {
        for number in 0..6 {
            let (server, content) = (&server, &content);
            scope.spawn(move || server.push(&format!("a{}", number % 3), content));
        }
    });
    for number in 0..3 {
        assert!(server.get(&format!("/v2/a{number}/blobs/{digest}")).is(200).body == content);
    }
    let content = server.root().join("registry/content");
    assert_eq!(std::fs::read_dir(content.join("blobs/sha256")).unwrap().count(), 1, "the bytes are here once");
    assert_eq!(std::fs::read_dir(server.root().join("registry/uploads")).unwrap().count(), 0);
}

#[test]
fn one_upload_written_by_two_requests_is_written_by_one_at_a_time() {
    let server = Server::start();
    let location = server.ask("POST", "/v2/a/blobs/uploads/", &[], b"").is(202).header("location").unwrap().to_owned();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let answer = server.ask("PATCH", &location, &[("Content-Range", "0-999999")], &vec![1; 1_000_000]);
                assert!(matches!(answer.status, 202 | 416), "{answer:?}");
            });
        }
    });
    assert_eq!(server.get(&location).is(204).header("range"), Some("0-999999"));
}

#[test]
fn a_huge_manifest_is_refused_before_it_is_read() {
    let server = Server::start();
    let headers = [("Content-Type", IMAGE), ("Content-Length", "10000000000")];
    let answer = server.ask("PUT", "/v2/a/manifests/v1", &headers, b"{").is(413);
    assert_eq!(answer.code(), "SIZE_INVALID");
    // Without a length, it ends at the limit.
    let mut stream = server.connect();
    write!(
        stream,
        "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: {IMAGE}\r\n\r\n"
    )
    .unwrap();
    let block = vec![b' '; 1 << 20];
    for _ in 0..6 {
        // It may be refused in the middle.
        let sent =
            write!(stream, "100000\r\n").and_then(|()| stream.write_all(&block)).and_then(|()| write!(stream, "\r\n"));
        if sent.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _: std::io::Result<usize> = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
    // The limit itself is allowed.
    let digest = server.push("a", b"layer");
    let padding = (4 << 20) - manifest(&digest, 5, "").len() - r#","x":"""#.len();
    let largest = manifest(&digest, 5, &format!(r#","x":"{}""#, "y".repeat(padding)));
    assert_eq!(largest.len(), 4 << 20);
    server.ask("PUT", "/v2/a/manifests/v1", &[("Content-Type", IMAGE)], largest.as_bytes()).is(201);
    assert!(server.get("/v2/a/manifests/v1").is(200).body == largest.as_bytes());
}

#[test]
fn large_manifests_wait_for_room_and_small_ones_do_not() {
    let server = Server::start_with(|options| options.limits.idle = Duration::from_secs(2));
    let digest = server.push("a", b"layer");
    let put = "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: a/b\r\n\r\n";
    // Each may become 4 MiB, and says nothing more for two seconds.
    let silent: Vec<_> = (0..16)
        .map(|_| {
            let mut stream = server.connect();
            write!(stream, "{put}20000\r\n{}\r\n", " ".repeat(0x20000)).unwrap();
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let begun = Instant::now();
    let headers = [("Content-Type", IMAGE)];
    server.ask("PUT", "/v2/a/manifests/v1", &headers, manifest(&digest, 5, "").as_bytes()).is(201);
    assert!(begun.elapsed() < Duration::from_secs(1));
    let large = manifest(&digest, 5, &format!(r#","x":"{}""#, "y".repeat(4_000_000)));
    let answer = server.ask("PUT", "/v2/a/manifests/v2", &headers, large.as_bytes());
    // It had its turn when the others were hung up on, or was told to come back.
    assert!(matches!(answer.status, 201 | 429), "{answer:?}");
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    for stream in silent {
        assert_eq!(read(&mut BufReader::new(stream), false).status, 408);
    }
    server.ask("PUT", "/v2/a/manifests/v2", &headers, large.as_bytes()).is(201);
}

#[test]
fn a_client_that_says_nothing_is_hung_up_on() {
    let server = Server::start_with(|options| {
        options.limits.head = Duration::from_millis(300);
        options.limits.idle = Duration::from_millis(300);
    });
    let begun = Instant::now();
    let mut slow_head = server.connect();
    slow_head.write_all(b"GET /v2/ HTTP/1.1\r\nX-Slow: ").unwrap();
    let mut rest = Vec::new();
    let _: std::io::Result<usize> = slow_head.read_to_end(&mut rest);
    let mut slow_body = server.connect();
    write!(
        slow_body,
        "POST /v2/a/blobs/uploads/?digest={} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n12",
        Digest::of(b"")
    )
    .unwrap();
    let answer = read(&mut BufReader::new(slow_body), false);
    assert_eq!(answer.status, 408);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_client_that_says_a_word_now_and_then_is_hung_up_on() {
    let server = Server::start_with(|options| {
        options.limits.idle = Duration::from_secs(5);
        options.limits.block = Duration::from_millis(500);
    });
    let location = server.ask("POST", "/v2/a/blobs/uploads/", &[], b"").is(202).header("location").unwrap().to_owned();
    let mut stream = server.connect();
    write!(stream, "PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n").unwrap();
    let mut talking = stream.try_clone().unwrap();
    let talk = std::thread::spawn(move || {
        for _ in 0..50 {
            std::thread::sleep(Duration::from_millis(50));
            // It is hung up on in the middle of a word.
            if talking.write_all(b"x").is_err() {
                break;
            }
        }
    });
    let begun = Instant::now();
    assert_eq!(read(&mut BufReader::new(stream), false).status, 408);
    assert!(begun.elapsed() < Duration::from_secs(4));
    talk.join().unwrap();
}

#[test]
fn a_client_that_takes_nothing_is_hung_up_on() {
    let server = Server::start_with(|options| options.limits.idle = Duration::from_millis(300));
    let content = vec![5; 64 << 20];
    let digest = server.push("a", &content);
    let mut stream = server.connect();
    write!(stream, "GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let mut received = Vec::new();
    // What lies in the kernel's buffers still comes; then the connection is at its end.
    let _: std::io::Result<usize> = stream.read_to_end(&mut received);
    assert!(received.len() < content.len(), "it waited for us");
}

#[test]
fn more_connections_than_allowed_wait_their_turn() {
    let server = Server::start_with(|options| {
        options.limits.connections = 2;
        options.limits.head = Duration::from_millis(500);
    });
    let silent = [server.connect(), server.connect(), server.connect()];
    // The places are taken by those who say nothing, until they are hung up on.
    server.get("/v2/").is(200);
    drop(silent);
}

#[test]
fn a_request_of_nonsense_is_no_request() {
    let server = Server::start();
    let many: String = (0..200).map(|number| format!("X-{number}: y\r\n")).collect();
    for request in
        ["\r\n\r\n\0\0\0", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", &format!("GET /v2/ HTTP/1.1\r\n{many}\r\n")]
    {
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _: std::io::Result<usize> = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    }
    server.get("/v2/").is(200);
}

#[test]
fn a_manifest_deleted_while_it_is_pulled_is_whole_or_not_there() {
    let server = Server::start();
    let digest = server.tag("a", "v1", b"layer", "");
    let body = manifest(&Digest::of(b"layer"), 5, "");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = [0, 0];
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        let got = server.get("/v2/a/manifests/v1");
                        match got.status {
                            200 => assert_eq!(Digest::of(&got.body), digest),
                            404 => assert_eq!(got.code(), "MANIFEST_UNKNOWN"),
                            other => panic!("{other}: {got:?}"),
                        }
                        seen[usize::from(got.status == 200)] += 1;
                    }
                    seen
                })
            })
            .collect();
        for _ in 0..50 {
            server.ask("DELETE", &format!("/v2/a/manifests/{digest}"), &[], b"").is(202);
            server.ask("PUT", "/v2/a/manifests/v1", &[("Content-Type", IMAGE)], body.as_bytes()).is(201);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        let seen: Vec<[i32; 2]> = pulls.into_iter().map(|pull| pull.join().unwrap()).collect();
        assert!(seen.iter().any(|[absent, there]| *absent > 0 && *there > 0), "{seen:?}");
    });
    server.get("/v2/a/manifests/v1").is(200);
}
