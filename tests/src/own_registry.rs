// SPDX-License-Identifier: Apache-2.0
//! `corten registry serve` in a daemon's sandbox, and a client so small that it can send what no good client would.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{Daemon, Running};

/// Where it listens; the network namespace is the daemon's own.
pub const ADDRESS: &str = "127.0.0.1:5000";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry that lives as long as this value.
pub struct OwnRegistry<'a> {
    daemon: &'a Daemon,
    process: Option<Running>,
}

impl<'a> OwnRegistry<'a> {
    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn start(daemon: &'a Daemon) -> OwnRegistry<'a> {
        let root = daemon.path().join("registry");
        let process = daemon.spawn(&["registry", "serve", "--listen", ADDRESS, "--root", &root.to_string_lossy()]);
        let begun = Instant::now();
        while daemon.sandbox().run(|| TcpStream::connect(ADDRESS).is_err()) {
            assert!(begun.elapsed() < Duration::from_secs(20), "the registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        OwnRegistry { daemon, process: Some(process) }
    }

    /// What `corten` calls a repository of it.
    pub fn name(&self, repository: &str) -> String {
        format!("{ADDRESS}/{repository}")
    }

    /// Sends a request, and gives the answer's status and body.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn ask(&self, method: &str, path: &str, media_type: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {ADDRESS}\r\nConnection: close\r\nAccept: {MANIFEST}, */*\r\n\
             Content-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let request = [head.as_bytes(), body].concat();
        let answer = self.daemon.sandbox().run(move || {
            let mut stream = TcpStream::connect(ADDRESS).expect("a registry");
            stream.write_all(&request).expect("it listens");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).expect("an answer");
            answer
        });
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&answer[..end]);
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, answer[end + 4..].to_vec())
    }

    /// A manifest there, byte for byte.
    ///
    /// # Panics
    /// When it is not there.
    pub fn manifest(&self, repository: &str, reference: &str) -> Vec<u8> {
        let (status, body) = self.ask("GET", &format!("/v2/{repository}/manifests/{reference}"), MANIFEST, b"");
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        body
    }

    /// A blob there.
    ///
    /// # Panics
    /// When it is not there.
    pub fn blob(&self, repository: &str, digest: &str) -> Vec<u8> {
        let (status, body) = self.ask("GET", &format!("/v2/{repository}/blobs/{digest}"), MANIFEST, b"");
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        body
    }

    /// Puts a manifest there, of the type that it says.
    ///
    /// # Panics
    /// When the registry does not take it.
    pub fn put_manifest(&self, repository: &str, reference: &str, document: &Value) -> String {
        let text = document.to_string();
        let media_type = document["mediaType"].as_str().unwrap_or(MANIFEST);
        let (status, body) =
            self.ask("PUT", &format!("/v2/{repository}/manifests/{reference}"), media_type, text.as_bytes());
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
        testkit::fixtures::image::digest(text.as_bytes())
    }

    /// Puts a blob there, and gives its digest.
    ///
    /// # Panics
    /// When the registry does not take it.
    pub fn put_blob(&self, repository: &str, content: &[u8]) -> String {
        let digest = testkit::fixtures::image::digest(content);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let (status, body) = self.ask("POST", &path, "application/octet-stream", content);
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
        digest
    }
}

impl Drop for OwnRegistry<'_> {
    fn drop(&mut self) {
        let Some(process) = self.process.take() else { return };
        process.signal(rustix::process::Signal::TERM);
        let finished = process.wait();
        assert!(std::thread::panicking() || finished.code == 0, "it ends in order: {finished}");
    }
}
