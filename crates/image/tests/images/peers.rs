// SPDX-License-Identifier: Apache-2.0
//! Real programs on the other side: Debian's registry to pull from, skopeo to put images there and to read the layout.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use errors::{Classify as _, Kind, chain};
use image::{Quiet, Status};
use oci::{Digest, ImageRef};
use tempfile::TempDir;

use crate::fixture::{Draft, Host, Recorder, name, noise, tar, three_layers};

/// A `docker-registry` of its own; it ends with this.
pub(crate) struct Registry {
    child: Child,
    address: String,
    dir: TempDir,
}

impl Registry {
    pub(crate) fn start() -> Registry {
        let dir = tempfile::tempdir().unwrap();
        // Free at this moment; the kernel gives it to nobody else unasked soon.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let config = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
             rootdirectory: {}\nhttp:\n  addr: {address}\n",
            dir.path().join("storage").display()
        );
        std::fs::write(dir.path().join("config.yml"), config).unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new("docker-registry")
            .args(["serve".as_ref(), dir.path().join("config.yml").as_os_str()])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Registry { child, address, dir };
        let started = Instant::now();
        while TcpStream::connect(&registry.address).is_err() {
            let log = || std::fs::read_to_string(registry.dir.path().join("log")).unwrap();
            assert!(started.elapsed() < Duration::from_secs(20), "the registry does not start: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    /// The name of an image there.
    pub(crate) fn image(&self, rest: &str) -> ImageRef {
        name(&format!("{}/{rest}", self.address))
    }

    /// Puts the draft there with skopeo.
    pub(crate) fn push(&self, repository: &str, draft: &Draft) -> ImageRef {
        let layout = tempfile::tempdir().unwrap();
        draft.write_layout(layout.path());
        let image = name(&format!("{}/{repository}:latest", self.address));
        let source = format!("oci:{}:latest", layout.path().display());
        skopeo(&["copy", "--dest-tls-verify=false", &source, &format!("docker://{image}")]);
        image
    }

    /// The file in which the registry keeps a blob.
    fn blob_file(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let blobs = self.dir.path().join("storage/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(&hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

pub(crate) fn skopeo(args: &[&str]) -> String {
    let output = Command::new("skopeo").arg("--insecure-policy").args(args).output().unwrap();
    assert!(output.status.success(), "skopeo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_real_image_is_pulled_from_a_real_registry() {
    let (host, registry) = (Host::new(), Registry::start());
    let draft = Draft::new(&three_layers());
    let image_name = registry.push("some/image", &draft);
    let recorder = Recorder::default();
    let image = host.images.pull(&image_name, None, &recorder).await.unwrap();
    assert_eq!(recorder.count(Status::Done), 3);
    // The whiteout and the opaque directory of the second layer hide what the first has.
    let root = host.mount(&image);
    assert_eq!(root.names("etc"), ["keep"]);
    assert_eq!(root.names("dir"), ["c"]);
    assert_eq!(root.names(""), ["dir", "etc", "top"]);
    assert_eq!(root.read("etc/keep"), "changed");
    let attributes = std::fs::metadata(root.path("top")).unwrap();
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!((attributes.uid(), attributes.gid(), attributes.mtime()), (7, 8, 1_600_000_000));
}

#[tokio::test]
async fn two_images_share_the_layers_they_have_in_common() {
    let (host, registry) = (Host::new(), Registry::start());
    let base = tar(&[("base", &noise(200_000, 1))]);
    let one = registry.push("one", &Draft::new(&[base.clone(), tar(&[("one", "1")])]));
    let two = registry.push("two", &Draft::new(&[base, tar(&[("two", "2")])]));
    host.images.pull(&one, None, &Quiet).await.unwrap();
    let recorder = Recorder::default();
    host.images.pull(&two, None, &recorder).await.unwrap();
    assert_eq!((recorder.count(Status::Exists), recorder.count(Status::Done)), (1, 1));
    assert_eq!(host.layers().len(), 3, "two and two layers, one of them the same");
    let on_disk = std::fs::read_dir(host.layout().join("blobs/sha256")).unwrap().count();
    assert_eq!(on_disk, 3 + 2 + 2, "three layers, two configurations, two manifests");
    // The shared one stays as long as one of them needs it.
    host.images.remove(&one.to_string(), false, &|_| None).unwrap();
    assert_eq!((host.layers().len(), host.blobs().len()), (2, 2 + 1 + 1));
    let image = host.images.resolve(&two.to_string()).unwrap();
    assert_eq!(host.mount(&image).names(""), ["base", "two"]);
    host.images.remove(&two.to_string(), false, &|_| None).unwrap();
    host.assert_empty();
}

#[tokio::test]
async fn what_was_changed_in_the_registrys_storage_is_refused() {
    let (host, registry) = (Host::new(), Registry::start());
    let draft = Draft::new(&[tar(&[("a", &noise(300_000, 2))])]);
    let image_name = registry.push("a", &draft);
    let file = registry.blob_file(&draft.layer(0));
    let whole = std::fs::read(&file).unwrap();
    let mut changed = whole.clone();
    changed[200_000] ^= 1;
    for content in [&changed, &whole[..200_000].to_vec()] {
        std::fs::write(&file, content).unwrap();
        let error = host.images.pull(&image_name, None, &Quiet).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{}", chain(&error));
        assert!(error.hint().unwrap().contains("push the image again"));
        host.assert_empty();
    }
    std::fs::write(&file, whole).unwrap();
    host.images.pull(&image_name, None, &Quiet).await.unwrap();
    let unknown = name(&format!("{}/nothing", registry.address));
    let error = host.images.pull(&unknown, None, &Quiet).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{}", chain(&error));
}

#[tokio::test]
async fn skopeo_reads_our_images() {
    let (host, registry) = (Host::new(), Registry::start());
    let image_name = registry.push("a", &Draft::new(&three_layers()));
    let pulled = host.images.pull(&image_name, None, &Quiet).await.unwrap();
    let imported = host
        .images
        .import(&tar(&[("bin/", ""), ("bin/sh", "#!")])[..], &name("root:v1"), &["CMD [\"/bin/sh\"]".to_owned()])
        .unwrap();
    for (image_name, image) in [(image_name.canonical(), &pulled), ("docker.io/library/root:v1".to_owned(), &imported)]
    {
        let source = format!("oci:{}:{image_name}", host.layout().display());
        let inspected: serde_json::Value = serde_json::from_str(&skopeo(&["inspect", &source])).unwrap();
        assert_eq!(inspected["Digest"], image.manifest.to_string());
        assert_eq!(inspected["Layers"].as_array().unwrap().len(), image.layers.len());
        // A copy reads and verifies every blob.
        let copy = tempfile::tempdir().unwrap();
        skopeo(&["copy", &source, &format!("oci:{}:copy", copy.path().display())]);
        assert!(blob(copy.path(), &image.id).exists());
    }
    // A name that is gone is gone for skopeo too.
    host.images.remove("root:v1", false, &|_| None).unwrap();
    let index = std::fs::read_to_string(host.layout().join("index.json")).unwrap();
    assert!(!index.contains("root:v1") && index.contains(&image_name.canonical()), "{index}");
}

fn blob(layout: &Path, digest: &Digest) -> PathBuf {
    layout.join("blobs/sha256").join(digest.hex())
}

#[tokio::test]
async fn an_imported_image_can_be_pushed_and_pulled_again() {
    let (host, other, registry) = (Host::new(), Host::new(), Registry::start());
    let archive = crate::fixture::zstd(&tar(&[("etc/", ""), ("etc/motd", "hello")]));
    let changes = ["LABEL b=2 a=1".to_owned(), "EXPOSE 80 443".to_owned()];
    let image = host.images.import(&archive[..], &name("mine"), &changes).unwrap();
    let source = format!("oci:{}:docker.io/library/mine:latest", host.layout().display());
    let target = name(&format!("{}/mine:latest", registry.address));
    skopeo(&["copy", "--dest-tls-verify=false", &source, &format!("docker://{target}")]);
    let pulled = other.images.pull(&target, None, &Quiet).await.unwrap();
    assert_eq!((pulled.id, pulled.manifest), (image.id, image.manifest));
    assert_eq!(other.mount(&pulled).read("etc/motd"), "hello");
}
