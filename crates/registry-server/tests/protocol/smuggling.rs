// SPDX-License-Identifier: Apache-2.0
//! Requests whose end two readers could see in two places (RFC 9112, section 11.2): a proxy in front that sees one request
//! where the registry sees two lets a client speak in another's name.

use std::time::Duration;

use crate::server::Server;

/// A request that must never be one: what would be smuggled.
const HIDDEN: &str = "DELETE /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\n\r\n";

fn server() -> Server {
    let server = Server::start_with(|options| options.limits.head = Duration::from_millis(500));
    server.tag("a", "v1", b"layer", "");
    server
}

/// The statuses of the answers, one after the other.
fn statuses(answers: &str) -> Vec<&str> {
    answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect()
}

#[test]
fn a_body_with_two_ends_hides_no_request() {
    let server = server();
    let hidden = HIDDEN.len();
    for head in [
        // Two lengths.
        format!("Content-Length: 0\r\nContent-Length: {hidden}"),
        format!("Content-Length: {hidden}\r\nContent-Length: 0"),
        format!("Content-Length: {hidden}, 0"),
        format!("Content-Length: 0, {hidden}"),
        // A length that some read as another number.
        "Content-Length: +0".to_owned(),
        "Content-Length: 0x0".to_owned(),
        // An encoding that only some know to be one.
        "Transfer-Encoding: chunked, identity".to_owned(),
        "Transfer-Encoding: identity".to_owned(),
        "Transfer-Encoding: xchunked".to_owned(),
        "Transfer-Encoding : chunked".to_owned(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity".to_owned(),
        // A line that goes on in the next, and one that ends in two ways.
        format!("X-Folded: y\r\n Content-Length: {hidden}"),
        format!("X-Bare: y\rContent-Length: {hidden}"),
    ] {
        let answers = server.say(format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n{HIDDEN}").as_bytes());
        assert!(matches!(statuses(&answers)[..], [] | ["400"]), "{head}: {answers}");
    }
    server.get("/v2/a/manifests/v1").is(200);
}

#[test]
fn a_length_beside_an_encoding_ends_the_connection() {
    let server = server();
    for head in ["Transfer-Encoding: chunked\r\nContent-Length: 5", "Content-Length: 5\r\nTransfer-Encoding: chunked"] {
        let answers = server.say(
            format!("POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n0\r\n\r\n{HIDDEN}").as_bytes(),
        );
        assert_eq!(statuses(&answers).len(), 1, "{head}: {answers}");
    }
    server.get("/v2/a/manifests/v1").is(200);
}

#[test]
fn a_body_that_nobody_reads_is_no_request() {
    let server = server();
    let length = HIDDEN.len();
    // The one is refused before its body, the other needs none.
    for line in ["PUT /v2/A/manifests/v1", "GET /v2/a/tags/list"] {
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{HIDDEN}");
        assert_eq!(statuses(&server.say(request.as_bytes())).len(), 1, "{line}");
    }
    server.get("/v2/a/manifests/v1").is(200);
}

#[test]
fn chunks_that_lie_about_their_length_are_no_content() {
    let server = server();
    for chunk in
        ["-1\r\nx", "fffffffffffffffff\r\nx", "1 1\r\nx", "g\r\nx", "1\r\nxyz\r\n0\r\n\r\n", "1\nx\r\n0\r\n\r\n"]
    {
        let begin = server.ask("POST", "/v2/a/blobs/uploads/", &[], b"").is(202);
        let place = begin.header("location").unwrap();
        let head = "Host: x\r\nTransfer-Encoding: chunked\r\nConnection: close";
        let answers = server.say(format!("PATCH {place} HTTP/1.1\r\n{head}\r\n\r\n{chunk}").as_bytes());
        assert!(!answers.starts_with("HTTP/1.1 2"), "{chunk:?}: {answers}");
    }
}

#[test]
fn an_older_version_has_no_chunks_and_one_request_for_a_connection() {
    let server = server();
    let answers = server.say(format!("GET /v2/ HTTP/1.0\r\n\r\n{HIDDEN}").as_bytes());
    assert!(answers.matches("HTTP/1.").count() == 1 && answers.contains(" 200 "), "{answers}");
    let chunked = "POST /v2/a/blobs/uploads/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert!(server.say(chunked.as_bytes()).contains(" 400 "));
    server.get("/v2/a/manifests/v1").is(200);
}
