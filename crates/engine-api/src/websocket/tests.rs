// SPDX-License-Identifier: Apache-2.0

use tokio::io::{DuplexStream, duplex};

use super::*;

fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
    list.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

const GOOD: [(&str, &str); 4] = [
    ("host", "localhost"),
    ("upgrade", "WebSocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

#[test]
fn a_key_is_answered_as_in_the_rfcs_example() {
    assert_eq!(accept(&headers(&GOOD)).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let same_site = [&GOOD[..], &[("origin", "http://localhost")]].concat();
    assert!(accept(&headers(&same_site)).is_ok());
}

#[test]
fn what_is_no_websocket_or_of_another_site_is_refused() {
    for (name, value) in [
        ("upgrade", "tcp"),
        ("sec-websocket-version", "8"),
        ("sec-websocket-key", "c2hvcnQ="),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        let mut headers = headers(&GOOD);
        headers.insert(name, value.parse().unwrap());
        assert!(accept(&headers).is_err(), "{name}: {value}");
    }
}

/// A client's frame.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        medium => {
            frame.push(0x80 | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
    }
    frame.extend(mask);
    let mut payload = payload.to_vec();
    unmask(&mut payload, mask, 0);
    frame.extend(payload);
    frame
}

/// A connection, its client's end and its inner end.
fn connection() -> (DuplexStream, DuplexStream, tokio::task::JoinHandle<io::Result<()>>) {
    let ((client, outer), (inner, inside)) = (duplex(1 << 20), duplex(1 << 20));
    (client, inside, tokio::spawn(carry(outer, inner, Payload::Binary)))
}

#[tokio::test]
async fn bytes_go_both_ways_however_they_are_cut() {
    let (mut client, mut inside, task) = connection();
    let long = vec![7; 40_000];
    client.write_all(&frame(opcode::TEXT, b"hello ")).await.unwrap();
    client.write_all(&frame(opcode::PING, b"there?")).await.unwrap();
    client.write_all(&frame(opcode::BINARY, &long)).await.unwrap();
    let mut heard = vec![0; 6 + long.len()];
    inside.read_exact(&mut heard).await.unwrap();
    assert_eq!((&heard[..6], &heard[6..]), (&b"hello "[..], &long[..]));
    let mut pong = [0; 8];
    client.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"\x8a\x06there?");

    inside.write_all(b"out").await.unwrap();
    let mut out = [0; 5];
    client.read_exact(&mut out).await.unwrap();
    assert_eq!(&out, b"\x82\x03out");
    drop(inside);
    let mut goodbye = [0; 4];
    client.read_exact(&mut goodbye).await.unwrap();
    assert_eq!(&goodbye, b"\x88\x02\x03\xe8");
    // What was on its way is read over, up to the client's answer.
    client.write_all(&frame(opcode::BINARY, b"late")).await.unwrap();
    client.write_all(&frame(opcode::CLOSE, &1000_u16.to_be_bytes())).await.unwrap();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_goodbye_is_returned_and_ends_it() {
    let (mut client, mut inside, task) = connection();
    client.write_all(&frame(opcode::CLOSE, &1001_u16.to_be_bytes())).await.unwrap();
    task.await.unwrap().unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"\x88\x02\x03\xe9");
    assert_eq!(inside.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn frames_that_no_client_may_send_end_it() {
    let mut endless = frame(opcode::PING, b"");
    endless[1] = 0x80 | 126;
    for bad in [
        // Without a mask; with an extension; of an unknown kind; a control frame in pieces; a control frame too long.
        vec![0x82, 0x01, b'x', 0, 0, 0, 0],
        vec![0xc2, 0x80, 0, 0, 0, 0],
        vec![0x83, 0x80, 0, 0, 0, 0],
        vec![0x09, 0x80, 0, 0, 0, 0],
        [&endless[..2], &[1, 0, 0, 0, 0, 0]].concat(),
    ] {
        let (mut client, _inside, task) = connection();
        client.write_all(&bad).await.unwrap();
        let kind = task.await.unwrap().unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::InvalidData, "{bad:?}");
    }
}
