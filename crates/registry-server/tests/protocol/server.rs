// SPDX-License-Identifier: Apache-2.0
//! A registry that serves on a port of its own, and a client that says exactly what a test wants said.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use oci::Digest;
use registry_server::{Options, Registry};
use serde_json::Value;
use tokio::sync::oneshot;

/// The media type of OCI image manifests.
pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry in this process; it ends when this is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    directory: Option<tempfile::TempDir>,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The first error's code.
    pub(crate) fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}\n{:?}", String::from_utf8_lossy(&self.body), self.headers);
        self
    }
}

impl Server {
    pub(crate) fn start() -> Server {
        Server::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Options)) -> Server {
        Server::start_in(tempfile::tempdir().unwrap(), change)
    }

    fn start_in(directory: tempfile::TempDir, change: impl FnOnce(&mut Options)) -> Server {
        let mut options = Options::new(directory.path().join("registry"));
        change(&mut options);
        let registry = Registry::open(options).unwrap();
        let (shutdown, ended) = oneshot::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                registry.serve(listener, async { drop(ended.await) }).await;
            });
        });
        let address = told.recv().unwrap();
        Server { address, directory: Some(directory), shutdown: Some(shutdown), thread: Some(thread) }
    }

    /// Ends it and starts it again on the same files, at another address.
    pub(crate) fn restart(mut self) -> Server {
        self.end();
        Server::start_in(self.directory.take().unwrap(), |_| {})
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.as_ref().unwrap().path()
    }

    fn end(&mut self) {
        drop(self.shutdown.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            head.push_str("Host: x\r\n");
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        // The server may have refused already.
        let _: std::io::Result<()> = stream.write_all(body);
        read(&mut BufReader::new(stream), method == "HEAD")
    }

    /// All that comes back for these very bytes, until the connection ends.
    pub(crate) fn say(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may have refused already, and may break the connection after its answer.
        let _: std::io::Result<()> = stream.write_all(bytes);
        let mut all = Vec::new();
        let _: std::io::Result<usize> = stream.read_to_end(&mut all);
        String::from_utf8_lossy(&all).into_owned()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    /// The number of bytes of a body that come before its connection ends.
    pub(crate) fn get_what_comes(&self, path: &str) -> usize {
        let mut stream = self.connect();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut all = Vec::new();
        // A connection that breaks is what is looked for.
        let _: std::io::Result<usize> = stream.read_to_end(&mut all);
        let head = all.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
        all.len() - head - 4
    }

    /// Pushes a blob in one request.
    #[track_caller]
    pub(crate) fn push(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        self.ask("POST", &path, &[], content).is(201);
        digest
    }

    /// Pushes a manifest whose only layer is `content`, with more fields if given; gives its digest.
    #[track_caller]
    pub(crate) fn tag(&self, repository: &str, tag: &str, content: &[u8], more: &str) -> Digest {
        let digest = self.push(repository, content);
        let body = manifest(&digest, content.len(), more);
        let path = format!("/v2/{repository}/manifests/{tag}");
        self.ask("PUT", &path, &[("Content-Type", IMAGE)], body.as_bytes()).is(201);
        Digest::of(body)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// An image manifest that has one blob as its configuration and as its layer.
pub(crate) fn manifest(digest: &Digest, size: usize, more: &str) -> String {
    let descriptor = format!(r#"{{"mediaType":"application/x.test","digest":"{digest}","size":{size}}}"#);
    format!(r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{descriptor},"layers":[{descriptor}]{more}}}"#)
}

/// Reads one answer.
pub(crate) fn read(stream: &mut impl BufRead, is_head: bool) -> Answer {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{line:?}"));
    let mut headers = Vec::new();
    loop {
        line.clear();
        stream.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    let length = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    if !is_head && !matches!(status, 204 | 304) {
        answer.body = vec![0; length];
        stream.read_exact(&mut answer.body).unwrap();
    }
    answer
}
