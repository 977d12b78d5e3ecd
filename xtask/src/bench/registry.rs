// SPDX-License-Identifier: Apache-2.0
//! What is measured of the registry server, beside Debian's docker-registry: both in one network namespace, both asked by
//! the same few lines over a keep-alive connection.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use testkit::corten::binary;
use testkit::fixtures::image::digest;
use testkit::fixtures::registry::Registry;
use testkit::process::command;
use testkit::sandbox::Sandbox;

use super::memory;
use super::sample::{Row, Samples, Unit};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const OURS: u16 = 5001;
const THEIRS: u16 = 5000;
const BLOB: usize = 100_000_000;
const BLOB_ROUNDS: usize = 10;
const MANIFESTS: usize = 5_000;
const MANIFEST_ROUNDS: usize = 5;
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Everything, in the order of the table.
pub(super) fn measure() -> std::result::Result<Vec<Row>, Box<dyn Error>> {
    let directory = tempfile::Builder::new().prefix("corten-bench-").tempdir()?;
    let sandbox = Sandbox::new();
    let _theirs = Registry::serve(&sandbox, &directory.path().join("theirs"));
    let root = directory.path().join("ours");
    let mut serve = command(binary());
    serve.args(["registry", "serve", "--listen", &format!("127.0.0.1:{OURS}"), "--root"]).arg(&root);
    serve.arg("--access-log").arg("/dev/null").stdin(Stdio::null()).stdout(Stdio::null());
    let ours = Server(sandbox.run(move || serve.spawn())?);
    let pid = i32::try_from(ours.0.id())?;
    let rows = sandbox.run(move || rows(pid));
    drop(ours);
    rows.map_err(|error| error.to_string().into())
}

/// Ended when it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It is our own child; it may have ended on its own.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn rows(pid: i32) -> Result<Vec<Row>> {
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", OURS)).is_err() {
        if begun.elapsed() > Duration::from_secs(20) {
            return Err("corten registry serve does not answer".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let (mut ours, mut theirs) = (Client::connect(OURS)?, Client::connect(THEIRS)?);
    let row =
        |job: &str, peer, ours, theirs, goal| Row { job: job.to_owned(), unit: Unit::Time, peer, ours, theirs, goal };
    let mut rows = Vec::new();

    let (mut our_times, mut their_times) = (Samples::default(), Samples::default());
    let mut blob = content(BLOB);
    for round in 0..3_u8 {
        // Another content each time: what a registry has already it need not write.
        blob[0] = round;
        our_times.push(ours.push("bench", &blob)?);
        their_times.push(theirs.push("bench", &blob)?);
    }
    rows.push(row("push of a 100 MB blob, durable at its end", "docker-registry", our_times, their_times, Some(1.0)));

    let path = format!("/v2/bench/blobs/{}", digest(&blob));
    let (mut our_times, mut their_times) = (Samples::default(), Samples::default());
    let mut after_one = 0.0;
    for round in 0..=BLOB_ROUNDS {
        let (our_time, their_time) = (ours.get(&path)?, theirs.get(&path)?);
        if round == 0 {
            after_one = memory::proportional(pid);
        } else {
            our_times.push(our_time);
            their_times.push(their_time);
        }
    }
    rows.push(row("pull of a 100 MB blob", "docker-registry", our_times, their_times, Some(1.0)));

    for client in [&mut ours, &mut theirs] {
        client.push_image()?;
    }
    let (mut our_times, mut their_times) = (Samples::default(), Samples::default());
    for _ in 0..MANIFEST_ROUNDS {
        our_times.push(ours.manifests()?);
        their_times.push(theirs.manifests()?);
    }
    let second = Samples::one(1.0);
    rows.push(row(
        "5,000 manifests by tag, one after the other",
        "docker-registry",
        our_times.clone(),
        their_times,
        Some(0.2),
    ));
    rows.push(row("the same", "5,000 a second", our_times, second, Some(1.0)));
    rows.push(Row {
        job: "memory after all of it".to_owned(),
        unit: Unit::Memory,
        peer: "after the first pull",
        ours: Samples::one(memory::proportional(pid)),
        theirs: Samples::one(after_one),
        goal: Some(1.25),
    });
    Ok(rows)
}

/// Bytes that do not repeat soon.
fn content(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state
    });
    words.flat_map(u64::to_be_bytes).take(length).collect()
}

/// A connection that is used again and again.
struct Client {
    stream: BufReader<TcpStream>,
    block: Vec<u8>,
}

/// The head of an answer.
struct Head {
    status: u16,
    length: usize,
    location: String,
}

impl Client {
    fn connect(port: u16) -> Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Client { stream: BufReader::with_capacity(256 << 10, stream), block: vec![0; 256 << 10] })
    }

    fn ask(&mut self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<Head> {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
        );
        self.stream.get_mut().write_all(head.as_bytes())?;
        self.stream.get_mut().write_all(body)?;
        self.answer()
    }

    /// Reads an answer, and throws its body away.
    fn answer(&mut self) -> Result<Head> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| line.clone())?;
        let mut head = Head { status, length: 0, location: String::new() };
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            if name.eq_ignore_ascii_case("content-length") {
                head.length = value.parse()?;
            } else if name.eq_ignore_ascii_case("location") {
                let path = value.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
                head.location = path.unwrap_or(value).to_owned();
            }
        }
        let mut left = head.length;
        while left > 0 {
            let most = left.min(self.block.len());
            let count = self.stream.read(&mut self.block[..most])?;
            if count == 0 {
                return Err("an answer broke off".into());
            }
            left -= count;
        }
        if head.status < 400 { Ok(head) } else { Err(format!("{} for a request", head.status).into()) }
    }

    /// Seconds that it takes to push a blob.
    fn push(&mut self, repository: &str, blob: &[u8]) -> Result<f64> {
        let digest = digest(blob);
        let begun = Instant::now();
        let upload = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), "application/octet-stream", b"")?;
        let separator = if upload.location.contains('?') { '&' } else { '?' };
        let path = format!("{}{separator}digest={digest}", upload.location);
        self.ask("PUT", &path, "application/octet-stream", blob)?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Seconds that it takes to get something.
    fn get(&mut self, path: &str) -> Result<f64> {
        let begun = Instant::now();
        self.stream.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes())?;
        self.answer()?;
        Ok(begun.elapsed().as_secs_f64())
    }

    fn push_image(&mut self) -> Result<()> {
        self.push("bench", b"{}")?;
        let config = format!(r#"{{"mediaType":"application/x.config","digest":"{}","size":2}}"#, digest(b"{}"));
        let manifest = format!(r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{config},"layers":[{config}]}}"#);
        self.ask("PUT", "/v2/bench/manifests/v1", IMAGE, manifest.as_bytes())?;
        Ok(())
    }

    /// Seconds for all the manifests.
    fn manifests(&mut self) -> Result<f64> {
        let begun = Instant::now();
        let request = format!("GET /v2/bench/manifests/v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {IMAGE}\r\n\r\n");
        for _ in 0..MANIFESTS {
            self.stream.get_mut().write_all(request.as_bytes())?;
            self.answer()?;
        }
        Ok(begun.elapsed().as_secs_f64())
    }
}
