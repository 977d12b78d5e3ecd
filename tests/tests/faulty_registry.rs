// SPDX-License-Identifier: Apache-2.0
//! The whole product against a registry that fails in every way: one clear error, soon, and a store that is as it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::corten::binary;
use testkit::fixtures::debian::Form;
use testkit::fixtures::faulty::{Asked, Faulty, Reply};
use testkit::fixtures::image::{Image, Layer, digest};
use testkit::process::command;
use testkit::{Daemon, Finished};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Within this a registry that says something wrong is given up: three repetitions, each after a short pause.
const SOON: Duration = Duration::from_secs(30);
/// Within this one is that says nothing: one repetition, each after some seconds of silence.
const LATER: Duration = Duration::from_secs(60);

/// Everything of the store that a client or a later pull could come to see.
fn store(daemon: &Daemon) -> BTreeMap<String, String> {
    let mut found = BTreeMap::from([(
        "images".to_owned(),
        daemon.ok(&["images", "-a", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}} {{.ID}}"]),
    )]);
    for below in ["content", "layers"] {
        walk(&daemon.path().join("data").join(below), &mut found);
    }
    found
}

fn walk(directory: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        let (path, kind) = (entry.path(), entry.file_type().expect("a type"));
        if kind.is_dir() {
            walk(&path, found);
        }
        let content = if kind.is_file() { digest(&fs::read(&path).unwrap_or_default()) } else { String::new() };
        found.insert(path.to_string_lossy().into_owned(), content);
    }
}

/// Waits for what ends a moment after its client: threads, and files that they remove.
#[track_caller]
fn assert_unchanged(daemon: &Daemon, before: &BTreeMap<String, String>, case: &str) {
    let begun = Instant::now();
    let mut now = store(daemon);
    while now != *before {
        assert!(begun.elapsed() < Duration::from_secs(10), "{case}: the store was\n{before:#?}\nand is\n{now:#?}");
        std::thread::sleep(Duration::from_millis(50));
        now = store(daemon);
    }
    daemon.ok(&["system", "check"]);
}

/// An image in pieces, each of which can be made wrong: what the last part of a path stands for.
#[derive(Clone)]
struct Offer {
    content: BTreeMap<String, Vec<u8>>,
    manifest: Value,
}

impl Offer {
    fn new(directory: &Path) -> Offer {
        let layout = directory.join("offered");
        let layer = Layer::default().file("file", "content");
        Image::default().layer(layer.tar(), Form::Gzip).config(json!({"Cmd": ["/true"]})).write(&layout);
        let blobs = fs::read_dir(layout.join("blobs/sha256")).expect("a layout").filter_map(Result::ok);
        let name = |hex: &str| format!("sha256:{hex}");
        let content: BTreeMap<_, _> = blobs
            .map(|blob| (name(&blob.file_name().to_string_lossy()), fs::read(blob.path()).expect("a blob")))
            .collect();
        let index = fs::read(layout.join("index.json")).expect("an index");
        let index: Value = serde_json::from_slice(&index).expect("JSON");
        let top = index["manifests"][0]["digest"].as_str().expect("a digest");
        let manifest = serde_json::from_slice(&content[top]).expect("JSON");
        Offer { content, manifest }
    }

    fn config(&self) -> String {
        self.manifest["config"]["digest"].as_str().expect("a digest").to_owned()
    }

    fn layer(&self) -> String {
        self.manifest["layers"][0]["digest"].as_str().expect("a digest").to_owned()
    }

    /// Other bytes for the layer, which the manifest names rightly.
    fn with_layer(mut self, bytes: &[u8]) -> Offer {
        self.manifest["layers"][0]["digest"] = digest(bytes).into();
        self.manifest["layers"][0]["size"] = bytes.len().into();
        self.content.insert(digest(bytes), bytes.to_vec());
        self
    }

    /// Another configuration, which the manifest names rightly.
    fn with_config(mut self, bytes: &[u8]) -> Offer {
        self.manifest["config"]["digest"] = digest(bytes).into();
        self.manifest["config"]["size"] = bytes.len().into();
        self.content.insert(digest(bytes), bytes.to_vec());
        self
    }

    fn changed(mut self, change: impl FnOnce(&mut Value)) -> Offer {
        change(&mut self.manifest);
        self
    }

    /// The answer of a registry that has this image and nothing else.
    fn reply(&self, asked: &Asked) -> Reply {
        let last = asked.path.rsplit('/').next().unwrap_or_default();
        if asked.path.contains("/manifests/") {
            return Reply::ok(self.manifest.to_string()).header("content-type", MANIFEST);
        }
        match self.content.get(last) {
            Some(bytes) => Reply::ok(bytes.clone()),
            None if asked.path == "/v2/" => Reply::ok("{}"),
            None => Reply::status(404),
        }
    }
}

type Answer = Box<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// One way to be wrong, and what the error must say.
struct Case {
    name: &'static str,
    says: &'static str,
    answer: Answer,
}

/// Answers as `offer` does, but for paths with this part.
fn but(name: &'static str, says: &'static str, offer: &Offer, part: &str, reply: Reply) -> Case {
    let (offer, part) = (offer.clone(), part.to_owned());
    let answer = move |asked: &Asked| if asked.path.contains(&part) { reply.clone() } else { offer.reply(asked) };
    Case { name, says, answer: Box::new(answer) }
}

fn of(name: &'static str, says: &'static str, offer: Offer) -> Case {
    Case { name, says, answer: Box::new(move |asked| offer.reply(asked)) }
}

fn always(name: &'static str, says: &'static str, reply: Reply) -> Case {
    Case { name, says, answer: Box::new(move |_| reply.clone()) }
}

fn wrong_manifests(good: &Offer) -> Vec<Case> {
    let manifest = |reply: Reply| reply.header("content-type", MANIFEST);
    let says = |name, words, text: &str| but(name, words, good, "/manifests/", manifest(Reply::ok(text)));
    let both = good.clone().changed(|manifest| manifest["manifests"] = json!([]));
    let typed = Reply::ok(good.manifest.to_string()).header("content-type", "application/vnd.example+json");
    let lied = manifest(Reply::ok(good.manifest.to_string())).header("docker-content-digest", &digest(b"another"));
    let artifact = good.clone().changed(|manifest| manifest["config"]["mediaType"] = "application/x.chart".into());
    let cpio = good.clone().changed(|manifest| manifest["layers"][0]["mediaType"] = "application/x-cpio".into());
    let other_size = good.clone().changed(|manifest| manifest["config"]["size"] = 7.into());
    let huge = manifest(Reply::ok(vec![b' '; 1 << 20]).endless());
    vec![
        says("no JSON", "manifest", "<html>"),
        says("cut off", "manifest", r#"{"schemaVersion": 2, "layers": ["#),
        says("an old schema", "not supported", r#"{"schemaVersion": 1}"#),
        of("an image and an index at once", "both", both),
        but("another media type", "application/vnd.example+json", good, "/manifests/", typed),
        but("another digest than it claims", "should be", good, "/manifests/", lied),
        of("an artifact that is no image", "application/x.chart", artifact),
        of("a layer of an unknown type", "application/x-cpio", cpio),
        of("another size of the configuration", "7", other_size),
        but("a manifest without an end", "more than 4194304 bytes", good, "/manifests/", huge),
        but("no manifest", "was not found", good, "/manifests/", Reply::status(404)),
    ]
}

fn wrong_blobs(good: &Offer) -> Vec<Case> {
    let (layer, config) = (good.layer(), good.config());
    let bytes = good.content[&layer].clone();
    let mut changed = bytes.clone();
    changed[12] ^= 1;
    let longer = [&bytes[..], b"more"].concat();
    let other = Layer::default().file("other", "content").tar();
    let mut no_archive = vec![0xaa; 4096];
    no_archive[..4].copy_from_slice(b"nope");
    let short = good.clone().changed(|manifest| manifest["layers"] = json!([]));
    vec![
        but("no layer", "does not have", good, &layer, Reply::status(404)),
        but("no configuration", "does not have", good, &config, Reply::status(404)),
        but("a changed layer", "has the digest", good, &layer, Reply::ok(changed)),
        but("a longer layer", "should have", good, &layer, Reply::ok(longer)),
        but("a shorter layer", "should have", good, &layer, Reply::ok(&bytes[..20])),
        but("a layer that breaks off", "broke", good, &layer, Reply::ok(bytes.clone()).breaks_after(20)),
        but(
            "another configuration",
            "has the digest",
            good,
            &config,
            Reply::ok(good.content[&config].to_ascii_uppercase()),
        ),
        of("no archive", "layer", good.clone().with_layer(&no_archive)),
        of("another layer than the configuration's", "diff ID", good.clone().with_layer(&other)),
        of("a configuration that is none", "configuration", good.clone().with_config(b"[]")),
        of("fewer layers than the configuration's", "number of layers", short),
    ]
}

fn wrong_registries(good: &Offer) -> Vec<Case> {
    let challenge = |asked: &Asked| {
        let realm = format!("Bearer realm=\"http://{}/token\",service=\"x\"", asked.host);
        if asked.path.starts_with("/token") {
            Reply::status(403)
        } else {
            Reply::status(401).header("www-authenticate", &realm)
        }
    };
    let never_enough = |asked: &Asked| {
        let realm = format!("Bearer realm=\"http://{}/token\",service=\"x\"", asked.host);
        match asked.path.starts_with("/token") {
            true => Reply::ok(r#"{"token": "useless"}"#),
            false => Reply::status(401).header("www-authenticate", &realm),
        }
    };
    vec![
        always("429 for ever", "no more requests", Reply::status(429)),
        always("500 for ever", "500", Reply::status(500)),
        but("500 for every blob", "500", good, "/blobs/", Reply::status(500)),
        but("429 for every layer", "no more requests", good, &good.layer(), Reply::status(429)),
        always("it hangs up", "127.0.0.1", Reply::raw("")),
        always("no HTTP", "127.0.0.1", Reply::raw("220 mail.example ESMTP\r\n")),
        always("forbidden", "denies access", Reply::status(403)),
        Case { name: "no token", says: "without credentials", answer: Box::new(challenge) },
        Case { name: "a token that opens nothing", says: "login", answer: Box::new(never_enough) },
        always("a redirect in a circle", "redirect", Reply::status(307).header("location", "/v2/again")),
    ]
}

#[track_caller]
fn within(finished: Finished, case: &str, bound: Duration) -> Finished {
    assert!(finished.took < bound, "{case} takes too long\n{finished}");
    finished.fails(1)
}

#[test]
fn whatever_a_registry_says_wrong_a_pull_ends_soon_and_the_store_is_as_it_was() {
    let daemon = Daemon::with_busybox();
    let good = Offer::new(daemon.path());
    let before = store(&daemon);
    let current: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Box::new(|_| Reply::status(404))));
    let answer = Arc::clone(&current);
    let registry = Faulty::start(daemon.sandbox(), move |asked| (*answer.lock().expect("no panic"))(asked));
    let name = registry.name("wanted");
    let mut unclear = Vec::new();
    for case in wrong_manifests(&good).into_iter().chain(wrong_blobs(&good)).chain(wrong_registries(&good)) {
        *current.lock().expect("no panic") = case.answer;
        let finished = within(daemon.corten(&["pull", &name]), case.name, SOON);
        if !finished.stderr.to_lowercase().contains(&case.says.to_lowercase()) {
            unclear.push(format!("{}: no word of {:?} in {}", case.name, case.says, finished.stderr));
        }
        assert_unchanged(&daemon, &before, case.name);
    }
    assert!(unclear.is_empty(), "{}", unclear.join("\n"));
    // By digest, with other content.
    let other = good.clone();
    *current.lock().expect("no panic") = Box::new(move |asked| other.reply(asked));
    let pinned = format!("{name}@{}", digest(b"another"));
    within(daemon.corten(&["pull", &pinned]), "another digest", SOON).saying("should be");
    assert_unchanged(&daemon, &before, "another digest");
    // And the same registry, told to behave, is one that can be pulled from.
    daemon.ok(&["pull", &name]);
}

#[test]
fn a_registry_that_falls_silent_is_given_up_and_nothing_is_kept_of_it() {
    let daemon = Daemon::builder().argument("--registry-timeout").argument("2").start();
    let good = Offer::new(daemon.path());
    let before = store(&daemon);
    let layer = good.layer();
    let bytes = good.content[&layer].clone();
    let silent = [
        always("at once", "", Reply::status(200).stalls()),
        but("in the middle of a layer", "", &good, &layer, Reply::ok(bytes).stalls_after(20)),
    ];
    // Both at the same time.
    let pulls: Vec<_> = silent
        .into_iter()
        .map(|case| {
            let registry = Faulty::start(daemon.sandbox(), case.answer);
            (case.name, daemon.spawn(&["pull", &registry.name("wanted")]))
        })
        .collect();
    for (case, pull) in pulls {
        within(pull.wait_for(LATER), case, LATER).saying("127.0.0.1").saying("was silent for");
    }
    assert_unchanged(&daemon, &before, "silence");
}

#[test]
fn an_expired_certificate_is_said_to_be_expired() {
    let daemon = Daemon::with_busybox();
    let before = store(&daemon);
    let certificates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/registry-client/tests/tls");
    let mut serve = command(binary());
    serve.args(["registry", "serve", "--listen", "127.0.0.1:5443", "--root"]).arg(daemon.path().join("expired"));
    serve.arg("--tls-cert").arg(certificates.join("expired.pem"));
    serve.arg("--tls-key").arg(certificates.join("expired.key"));
    let serving = daemon.sandbox().run(move || testkit::corten::Running::start(serve, Vec::new()));
    let begun = Instant::now();
    while daemon.sandbox().run(|| std::net::TcpStream::connect("127.0.0.1:5443").is_err()) {
        assert!(begun.elapsed() < Duration::from_secs(20), "the registry does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (trusted, authority) = (Path::new("/etc/docker"), certificates.join("ca.pem"));
    daemon.sandbox().run(move || {
        rustix::mount::mount("tmpfs", trusted, "tmpfs", rustix::mount::MountFlags::empty(), None).expect("a mount");
        let of_registry = trusted.join("certs.d/127.0.0.1:5443");
        fs::create_dir_all(&of_registry).expect("a directory");
        fs::copy(authority, of_registry.join("ca.crt")).expect("a certificate");
    });
    within(daemon.corten(&["pull", "127.0.0.1:5443/image"]), "expired", SOON).saying("expired");
    daemon
        .sandbox()
        .run(move || rustix::mount::unmount(trusted, rustix::mount::UnmountFlags::empty()).expect("a mount"));
    serving.signal(rustix::process::Signal::TERM);
    serving.wait().ok();
    assert_unchanged(&daemon, &before, "expired");
}

#[test]
fn whatever_a_registry_says_wrong_a_push_ends_soon_and_the_store_is_as_it_was() {
    let daemon = Daemon::with_busybox();
    let current: Arc<Mutex<Reply>> = Arc::new(Mutex::new(Reply::status(404)));
    let answer = Arc::clone(&current);
    // It has nothing yet, whoever asks.
    let registry = Faulty::start(daemon.sandbox(), move |asked| match asked.method.as_str() {
        "HEAD" => Reply::status(404),
        _ => answer.lock().expect("no panic").clone(),
    });
    let name = registry.name("given");
    daemon.ok(&["tag", "busybox", &name]);
    let before = store(&daemon);
    let nowhere = Reply::status(202);
    for (case, says, reply) in [
        ("429 for ever", "no more requests", Reply::status(429)),
        ("500 for ever", "500", Reply::status(500)),
        ("forbidden", "denies access", Reply::status(403)),
        ("read-only", "405", Reply::status(405)),
        ("it hangs up", "127.0.0.1", Reply::raw("")),
        ("an upload that goes on nowhere", "does not say where", nowhere),
    ] {
        *current.lock().expect("no panic") = reply;
        within(daemon.corten(&["push", &name]), case, SOON).saying(says);
        assert_unchanged(&daemon, &before, case);
    }
}
