// SPDX-License-Identifier: Apache-2.0
//! A registry that says what it is told to, true or not: some sixty lines of HTTP over threads.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oci::{Algorithm, Digest, ImageRef};

use crate::fixture::{Draft, name};

/// A running registry. Its threads end with the test's process; they hold nothing but sockets.
#[derive(Clone)]
pub(crate) struct TinyRegistry {
    address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Path → media type and content.
    content: BTreeMap<String, (String, Vec<u8>)>,
    asked: Vec<String>,
    /// Blobs of which only the first half is sent before the registry falls silent.
    stalled: Vec<Digest>,
    /// A pause before every blob.
    pause: Duration,
}

impl TinyRegistry {
    pub(crate) fn start() -> TinyRegistry {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let registry = TinyRegistry { address: listener.local_addr().unwrap().to_string(), state: Arc::default() };
        let state = Arc::clone(&registry.state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&state);
                std::thread::spawn(move || serve(stream.unwrap(), &state));
            }
        });
        registry
    }

    /// Offers the draft as `repository:latest`.
    pub(crate) fn push(&self, repository: &str, draft: &Draft) -> ImageRef {
        let (manifest, blobs) = draft.finish();
        self.put_manifest(repository, "latest", "application/vnd.oci.image.manifest.v1+json", &manifest);
        for (digest, blob) in blobs {
            self.put_blob(repository, digest, blob);
        }
        self.name(repository)
    }

    pub(crate) fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, text: &[u8]) {
        let content = (media_type.to_owned(), text.to_vec());
        let mut state = self.state.lock().unwrap();
        let digests = Algorithm::ALL.map(|algorithm| algorithm.digest(text).to_string());
        for reference in std::iter::once(tag.to_owned()).chain(digests) {
            state.content.insert(format!("/v2/{repository}/manifests/{reference}"), content.clone());
        }
    }

    pub(crate) fn put_blob(&self, repository: &str, digest: Digest, blob: Vec<u8>) {
        let content = ("application/octet-stream".to_owned(), blob);
        self.state.lock().unwrap().content.insert(format!("/v2/{repository}/blobs/{digest}"), content);
    }

    pub(crate) fn stall(&self, digest: Digest) {
        self.state.lock().unwrap().stalled.push(digest);
    }

    pub(crate) fn slow_down(&self, pause: Duration) {
        self.state.lock().unwrap().pause = pause;
    }

    pub(crate) fn name(&self, repository: &str) -> ImageRef {
        name(&format!("{}/{repository}:latest", self.address))
    }

    /// How many blobs were asked for.
    pub(crate) fn blob_requests(&self) -> usize {
        self.state.lock().unwrap().asked.iter().filter(|path| path.contains("/blobs/")).count()
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) <= 2 {
                break;
            }
        }
        let path = request.split(' ').nth(1).unwrap().to_owned();
        let (found, stalls, pause) = {
            let mut state = state.lock().unwrap();
            state.asked.push(path.clone());
            let stalls = state.stalled.iter().any(|digest| path.ends_with(&digest.to_string()));
            let pause = if path.contains("/blobs/") { state.pause } else { Duration::ZERO };
            (state.content.get(&path).cloned(), stalls, pause)
        };
        std::thread::sleep(pause);
        let (status, media_type, body) = match found {
            Some((media_type, body)) => ("200 OK", media_type, body),
            None if path == "/v2/" => ("200 OK", "application/json".to_owned(), b"{}".to_vec()),
            None => ("404 Not Found", "application/json".to_owned(), b"{}".to_vec()),
        };
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\r\n", body.len());
        let sent = if stalls { body.len() / 2 } else { body.len() };
        // A client that has hung up is part of the play.
        if stream.write_all(&[head.as_bytes(), &body[..sent]].concat()).is_err() {
            return;
        }
        if stalls {
            std::thread::sleep(Duration::from_secs(60));
            return;
        }
    }
}
