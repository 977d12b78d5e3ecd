// SPDX-License-Identifier: Apache-2.0
//! No check either: what the tests of `corten copy` stand on. Namespaces and a directory of a test's own, a registry, and
//! images to be copied. There is no daemon, because a copy needs none.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::{Value, json};
use testkit::corten::{Finished, Running, binary};
use testkit::fixtures::debian::Form;
use testkit::fixtures::image::{Image, Layer, digest};
use testkit::sandbox::Sandbox;

/// Where copies are made.
pub struct Lab {
    /// Its namespaces.
    pub sandbox: Sandbox,
    directory: tempfile::TempDir,
}

impl Default for Lab {
    fn default() -> Lab {
        let directory = tempfile::Builder::new().prefix("corten-copy-").tempdir().expect("a temporary directory");
        Lab { sandbox: Sandbox::new(), directory }
    }
}

impl Lab {
    /// Its directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A file or directory in it, as text.
    pub fn at(&self, name: &str) -> String {
        self.path().join(name).to_string_lossy().into_owned()
    }

    /// Starts `corten` inside, without a daemon anywhere near.
    pub fn spawn(&self, arguments: &[&str], input: &str) -> Running {
        let mut command = testkit::process::command(binary());
        command.args(arguments).env("HOME", self.path()).env("XDG_CONFIG_HOME", "").env("PATH", "/nonexistent");
        command.env("TMPDIR", self.path()).env("CORTEN_HOST", "unix:///nonexistent/corten.sock");
        let input = input.as_bytes().to_vec();
        self.sandbox.run(move || Running::start(command, input))
    }

    /// Runs `corten copy` with these arguments to its end.
    #[track_caller]
    pub fn copy(&self, arguments: &[&str]) -> Finished {
        self.spawn(&[&["copy"], arguments].concat(), "").wait()
    }

    /// The same, which must succeed; gives the digest that it prints.
    #[track_caller]
    pub fn copied(&self, arguments: &[&str]) -> String {
        self.copy(arguments).ok().text().to_owned()
    }

    /// Starts `corten registry serve` inside, with these further arguments.
    ///
    /// # Panics
    /// When it does not start.
    pub fn registry(&self, name: &str, arguments: &[&str]) -> OwnRegistry {
        let mut command = testkit::process::command(binary());
        command.args(["registry", "serve", "--listen", "127.0.0.1:0", "--root", &self.at(name)]).args(arguments);
        command.args(["--access-log", &self.at(&format!("{name}.log"))]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = self.sandbox.run(move || command.spawn().expect("the binary starts"));
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().rsplit('/').next().expect("an address").to_owned();
        OwnRegistry { process, address, log: self.path().join(format!("{name}.log")) }
    }

    /// An OCI image layout with one image: busybox, and two small layers, one of them uncompressed. Gives its digest.
    pub fn image(&self, name: &str) -> String {
        let layout = self.path().join(name);
        Image::default()
            .layer(testkit::fixtures::busybox::bytes(), Form::Gzip)
            .layer(Layer::default().file("word", name).tar(), Form::Plain)
            .layer(Layer::default().file("more", "x").tar(), Form::Gzip)
            .config(json!({"Cmd": ["cat", "/word"]}))
            .write(&layout);
        top(&layout)["digest"].as_str().expect("a digest").to_owned()
    }

    /// An OCI image layout with an image for two platforms and an attestation. Gives the index's digest, and those of the
    /// images.
    pub fn index(&self, name: &str) -> (String, Vec<String>) {
        let layout = self.path().join(name);
        let mut entries = Vec::new();
        for architecture in ["s390x", testkit::fixtures::image::native_architecture()] {
            let other = self.path().join(format!("{name}-{architecture}"));
            let tar = Layer::default().file("arch", architecture).tar();
            Image::default().architecture(architecture).layer(tar, Form::Gzip).write(&other);
            let mut entry = top(&other);
            entry.as_object_mut().expect("an object").remove("annotations");
            entry["platform"] = json!({"os": "linux", "architecture": architecture});
            entries.push(entry);
            fs::create_dir_all(layout.join("blobs/sha256")).expect("a directory");
            for blob in fs::read_dir(other.join("blobs/sha256")).expect("a layout").filter_map(Result::ok) {
                fs::copy(blob.path(), layout.join("blobs/sha256").join(blob.file_name())).expect("a file");
            }
        }
        let digests = entries.iter().map(|entry| entry["digest"].as_str().expect("a digest").to_owned()).collect();
        let kind = "application/vnd.oci.image.index.v1+json";
        let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).to_string();
        let digest = write_blob(&layout, index.as_bytes());
        let entry = json!({"mediaType": kind, "digest": digest, "size": index.len(),
            "annotations": {"org.opencontainers.image.ref.name": "latest"}});
        fs::write(layout.join("index.json"), json!({"schemaVersion": 2, "manifests": [entry]}).to_string())
            .expect("a file");
        fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a file");
        (digest, digests)
    }
}

/// The first entry of a layout's `index.json`.
///
/// # Panics
/// When there is none.
pub fn top(layout: &Path) -> Value {
    json_of(&layout.join("index.json"))["manifests"][0].clone()
}

/// A file's JSON.
///
/// # Panics
/// When it is none.
pub fn json_of(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_json::from_slice(&text).expect("JSON")
}

/// The file of a layout's blob.
pub fn blob(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replace(':', "/"))
}

/// Adds a blob to a layout; gives its digest.
///
/// # Panics
/// When it cannot be written.
pub fn write_blob(layout: &Path, bytes: &[u8]) -> String {
    let digest = digest(bytes);
    fs::write(blob(layout, &digest), bytes).expect("a file");
    digest
}

/// A registry of Corten's that lives as long as this value.
pub struct OwnRegistry {
    process: Child,
    /// Its host and port.
    pub address: String,
    log: PathBuf,
}

impl OwnRegistry {
    /// The name of a repository in it, as `corten copy` takes it.
    pub fn place(&self, repository: &str) -> String {
        format!("docker://{}/{repository}", self.address)
    }

    /// The requests that it has answered: method and path.
    pub fn requests(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        lines.map(|line| (word(&line["method"]), word(&line["path"]))).collect()
    }
}

impl Drop for OwnRegistry {
    fn drop(&mut self) {
        // It is our own child; it may have ended on its own.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
