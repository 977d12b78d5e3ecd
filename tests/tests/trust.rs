// SPDX-License-Identifier: Apache-2.0
//! Signatures: made, put beside images, verified, and asked for by the rules of `corten trust` and by the policy.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use end_to_end::own_registry::OwnRegistry;
use serde_json::{Value, json};
use testkit::Daemon;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const ACCEPT: &str = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;

/// A daemon with a policy of its own, which accepts anything at first: the host's must not matter.
fn daemon() -> (Daemon, tempfile::TempDir) {
    let policy = tempfile::tempdir().expect("a directory");
    let file = policy.path().join("policy.json");
    fs::write(&file, ACCEPT).expect("a file");
    (Daemon::builder().argument("--signature-policy").argument(&file.to_string_lossy()).start(), policy)
}

/// A pair of keys called `name`: the paths of both.
fn keys(daemon: &Daemon, name: &str) -> (String, String) {
    let prefix = daemon.path().join(name).to_string_lossy().into_owned();
    let made = daemon.spawn_with(&["trust", "key", "generate", "-o", &prefix], b"", &[("COSIGN_PASSWORD", "secret")]);
    let (private, public) = (format!("{prefix}.key"), format!("{prefix}.pub"));
    assert_eq!(made.wait().ok().text(), format!("{private}\n{public}"));
    (private, public)
}

/// `corten` with the password of the keys in its environment.
#[track_caller]
fn with_password(daemon: &Daemon, arguments: &[&str]) -> String {
    daemon.spawn_with(arguments, b"", &[("COSIGN_PASSWORD", "secret")]).wait().ok().text().to_owned()
}

/// Imports busybox under this name and pushes it there.
fn push(daemon: &Daemon, name: &str) {
    let archive = daemon.path().join("busybox.tar");
    testkit::fixtures::busybox::write(&archive);
    daemon.ok(&["import", "-c", "CMD [\"echo\", \"trusted\"]", &archive.to_string_lossy(), name]);
    daemon.ok(&["push", "-q", name]);
}

/// Every blob that the daemon has.
fn blobs(daemon: &Daemon) -> usize {
    fs::read_dir(daemon.path().join("data/content/blobs/sha256")).expect("a directory").count()
}

#[test]
fn what_is_under_a_rule_is_neither_pulled_nor_run_before_it_is_signed() {
    let (daemon, _policy) = daemon();
    let registry = OwnRegistry::start(&daemon);
    let (name, rule) = (registry.name("team/app:1"), registry.name("team"));
    let ((private, public), (_, other)) = (keys(&daemon, "own"), keys(&daemon, "other"));
    push(&daemon, &name);
    daemon.ok(&["rmi", &name]);
    daemon.ok(&["trust", "add", &rule, "--key", &public]);

    let refused =
        daemon.fails(&["pull", &name], 1).saying(&format!("the trust rule for {rule}")).saying("there is no signature");
    assert!(!refused.stderr.contains("corten pull"), "it is being pulled: {refused}");
    daemon.fails(&["run", "--rm", &name], 125).saying("is not trusted").saying("corten image sign");
    assert_eq!((daemon.ok(&["images", "-q"]).as_str(), blobs(&daemon)), ("", 0), "nothing was stored");

    let digest = with_password(&daemon, &["image", "sign", "--key", &private, &name]);
    assert!(daemon.ok(&["image", "verify", "--key", &public, &name]).contains(&digest));
    daemon.fails(&["image", "verify", "--key", &other, &name], 1).saying("another key");
    assert_eq!(daemon.ok(&["run", "--rm", &name]), "trusted", "pulled and run");

    // What was kept is enough, also for a daemon that was killed meanwhile; so are the rules.
    drop(registry);
    daemon.kill();
    daemon.start();
    assert_eq!(daemon.ok(&["run", "--rm", &name]), "trusted");
    let id = daemon.ok(&["images", "-q", &name]);
    assert_eq!(daemon.ok(&["run", "--rm", &id]), "trusted");
    let pinned = format!("{}@{digest}", name.trim_end_matches(":1"));
    assert_eq!(daemon.ok(&["run", "--rm", &pinned]), "trusted");

    // The rules of today hold, not those of the pull.
    daemon.ok(&["trust", "add", &name.replace(":1", ""), "--key", &other]);
    for way in [&name, &id, &pinned] {
        daemon
            .fails(&["run", "--rm", way], 125)
            .saying(&format!("the trust rule for {rule}/app"))
            .saying("another key");
        daemon.fails(&["create", way], 125).saying("is not trusted");
    }
    let rules: Value = serde_json::from_str(&daemon.ok(&["trust", "ls", "--format", "json"])).expect("JSON");
    assert_eq!((&rules[0]["Prefix"], &rules[1]["Prefix"]), (&json!(rule), &json!(format!("{rule}/app"))));
    assert_eq!(rules[0]["Keys"][0]["Pem"], fs::read_to_string(&public).expect("a key"));
    assert!(daemon.ok(&["trust", "ls"]).lines().nth(1).is_some_and(|line| line.contains("ECDSA P-256   sha256:")));
    let both = [format!("{rule}/app"), rule.clone()];
    assert_eq!(daemon.ok(&["trust", "rm", &both[0], &both[1]]), both.join("\n"));
    assert_eq!(daemon.ok(&["run", "--rm", &name]), "trusted");
    daemon.fails(&["trust", "rm", &rule], 1).saying("there is no trust rule");
    let refused = daemon.fails(&["trust", "rm", "nothing"], 1).saying("HOST[:PORT]/PATH").saying("docker.io/library/");
    let text = "\"nothing\" is no prefix of images' names";
    assert!(refused.stderr.contains(text) && !refused.stderr.contains("prefix:"), "{refused}");
}

#[test]
fn a_container_is_judged_again_when_it_is_started() {
    let (daemon, _policy) = daemon();
    daemon.import_busybox();
    let (_, public) = keys(&daemon, "own");
    daemon.ok(&["tag", "busybox", "127.0.0.1:5000/team/app"]);
    let create = |name: &str, command: &str| {
        daemon.ok(&["create", "--name", name, "127.0.0.1:5000/team/app", "sh", "-c", command]);
    };
    create("new", "echo started");
    create("old", "echo again");
    create("up", "sleep 600");
    daemon.ok(&["start", "-a", "old"]);
    daemon.ok(&["start", "up"]);
    let started = |name: &str| daemon.inspect(name)["State"]["StartedAt"].clone();
    let before = started("old");
    daemon.ok(&["trust", "add", "127.0.0.1:5000/team", "--key", &public]);

    for start in [&["start", "new"][..], &["start", "-a", "new"], &["start", "old"], &["start", "-a", "old"]] {
        daemon.fails(start, 1).saying("127.0.0.1:5000/team/app").saying("is not trusted").saying("no signature");
    }
    // They stay what they were, and nothing waits for them.
    assert_eq!(daemon.inspect("new")["State"]["Status"], "created");
    assert_eq!((&daemon.inspect("old")["State"]["Status"], started("old")), (&json!("exited"), before));
    assert_eq!(daemon.ok(&["wait", "old"]), "0");
    // What runs goes on, also under the next daemon, until it has ended.
    daemon.kill();
    daemon.start();
    daemon.ok(&["start", "up"]);
    assert_eq!(daemon.ok(&["exec", "up", "echo", "here"]), "here");
    daemon.ok(&["kill", "up"]);
    daemon.ok(&["wait", "up"]);
    daemon.fails(&["start", "up"], 1).saying("is not trusted");

    daemon.ok(&["trust", "rm", "127.0.0.1:5000/team"]);
    assert_eq!(daemon.ok(&["start", "-a", "new"]), "started");
    assert_eq!(daemon.ok(&["start", "-a", "old"]), "again");
    daemon.ok(&["rm", "new", "old", "up"]);
}

#[test]
fn a_name_given_here_needs_the_signature_as_much_as_one_that_was_pulled() {
    let (daemon, _policy) = daemon();
    daemon.import_busybox();
    let (_, public) = keys(&daemon, "own");
    daemon.ok(&["tag", "busybox", "127.0.0.1:5000/team/fake"]);
    daemon.ok(&["trust", "add", "127.0.0.1:5000/team", "--key", &public]);
    let refused = daemon.fails(&["run", "--rm", "127.0.0.1:5000/team/fake", "true"], 125);
    refused.saying("there is no signature").saying("127.0.0.1:5000/team/fake");
    daemon.ok(&["run", "--rm", "busybox", "true"]);
    // An id means all its names.
    let id = daemon.ok(&["images", "-q", "busybox"]);
    daemon.fails(&["run", "--rm", &id, "true"], 125).saying("127.0.0.1:5000/team/fake");
    // Neighbours whose names begin alike are others.
    daemon.ok(&["tag", "busybox", "127.0.0.1:5000/teams/app"]);
    daemon.ok(&["run", "--rm", "127.0.0.1:5000/teams/app", "true"]);
    for bad in ["team", "127.0.0.1:5000/team:1", "127.0.0.1:5000/Team"] {
        daemon.fails(&["trust", "add", bad, "--key", &public], 1).saying("no prefix of images' names");
    }
}

#[test]
fn the_policy_is_obeyed_and_what_cannot_be_read_refuses_everything() {
    let (daemon, policy) = daemon();
    let registry = OwnRegistry::start(&daemon);
    let policy = policy.path().join("policy.json");
    let write = |text: &str| fs::write(&policy, text).expect("a file");
    let (name, (private, public)) = (registry.name("team/app:1"), keys(&daemon, "own"));
    push(&daemon, &name);
    daemon.ok(&["run", "--rm", &name]);

    write(r#"{"default":[{"type":"reject"}]}"#);
    for command in [&["pull", &name][..], &["run", "--rm", &name], &["create", "nowhere.invalid/x"]] {
        let code = if command[0] == "pull" { 1 } else { 125 };
        daemon.fails(command, code).saying("the signature policy (default) rejects it");
    }
    // It came with the program, which is trusted as it runs; under another name it is like any other.
    daemon.ok(&["run", "--rm", "corten/hello"]);
    daemon.ok(&["tag", "corten/hello", "mine"]);
    daemon.fails(&["run", "--rm", "mine"], 125).saying("rejects it");

    let scoped = |requirement: &str| {
        write(&format!(
            r#"{{"default":[{{"type":"reject"}}],"transports":{{"docker":{{"127.0.0.1:5000/team":[{requirement}]}}}}}}"#
        ));
    };
    scoped(&json!({"type": "sigstoreSigned", "keyPath": public}).to_string());
    daemon
        .fails(&["run", "--rm", &name], 125)
        .saying("the signature policy (127.0.0.1:5000/team)")
        .saying("no signature");
    with_password(&daemon, &["image", "sign", "--key", &private, &name]);
    assert_eq!(
        daemon.ok(&["run", "--rm", &name]),
        "trusted",
        "signing keeps the signature with the image that is here"
    );
    daemon.ok(&["rmi", &name]);
    daemon.ok(&["pull", "-q", &name]);
    // This signature is for this tag, as skopeo sees it.
    daemon.ok(&["tag", &name, &registry.name("team/app:2")]);
    daemon.fails(&["run", "--rm", &registry.name("team/app:2")], 125).saying("a signature is for the name");
    scoped(
        &json!({"type": "sigstoreSigned", "keyPath": public, "signedIdentity": {"type": "matchRepository"}})
            .to_string(),
    );
    daemon.ok(&["run", "--rm", &registry.name("team/app:2")]);
    scoped(&json!({"type": "sigstoreSigned", "keyPath": "/nonexistent"}).to_string());
    daemon.fails(&["run", "--rm", &name], 125).saying("/nonexistent");
    scoped(r#"{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}"#);
    daemon.fails(&["run", "--rm", &name], 125).saying("signedBy").saying("not supported");
    daemon.fails(&["pull", &name], 1).saying("not supported");

    for (text, why) in
        [(r#"{"default":[{"type":"insecureAcceptAnything","x":1}]}"#, "unknown field"), ("{", "malformed")]
    {
        write(text);
        for command in [&["pull", &name][..], &["run", "--rm", &name]] {
            let code = if command[0] == "pull" { 1 } else { 125 };
            daemon.fails(command, code).saying("policy.json is not valid").saying(why);
        }
    }
    fs::remove_file(&policy).expect("a file");
    daemon.fails(&["run", "--rm", &name], 125).saying("cannot read the signature policy");
}

#[test]
fn a_push_signs_what_it_pushed_and_only_once() {
    let (daemon, _policy) = daemon();
    let registry = OwnRegistry::start(&daemon);
    let (name, (private, public)) = (registry.name("team/app:1"), keys(&daemon, "own"));
    let password = daemon.path().join("password");
    fs::write(&password, "secret\n").expect("a file");
    let password = password.to_string_lossy();
    push(&daemon, &name);
    daemon.ok(&["trust", "add", "127.0.0.1:5000", "--key", &public]);
    let signing = ["push", "-q", "--sign-by", &private, "--password-file", &password];
    // Packed anew the image has another digest there than here; it is the same image.
    for more in [&["--compression", "zstd", &name][..], &["--compression", "zstd", &name], &[&name]] {
        daemon.ok(&[&signing[..], more].concat());
        assert_eq!(daemon.ok(&["run", "--rm", &name]), "trusted");
    }
    let manifest = registry.manifest("team/app", "1");
    let tag = testkit::fixtures::image::digest(&manifest).replace(':', "-") + ".sig";
    let signatures: Value = serde_json::from_slice(&registry.manifest("team/app", &tag)).expect("JSON");
    let layers = signatures["layers"].as_array().expect("layers");
    assert_eq!((layers.len(), &layers[0]["mediaType"]), (1, &json!(SIMPLE_SIGNING)));
    let verified = daemon.ok(&["image", "verify", "--format", "json", "--key", &public, &name]);
    let verified: Value = serde_json::from_str(&verified).expect("JSON");
    assert_eq!(verified["Signatures"][0]["Name"], name.as_str());
    // A second key's signature comes beside the first.
    let (second, second_public) = keys(&daemon, "second");
    with_password(&daemon, &["image", "sign", "--key", &second, &name]);
    for key in [&public, &second_public] {
        daemon.ok(&["image", "verify", "--key", key, &name]);
    }
    daemon.ok(&["rmi", &name]);
    assert_eq!(daemon.ok(&["run", "--rm", &name]), "trusted");
}

#[test]
fn keys_are_made_once_and_bad_ones_are_named_before_anything_happens() {
    let (daemon, _policy) = daemon();
    let (private, public) = keys(&daemon, "own");
    let mode = |path: &str| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!((mode(&private), mode(&public)), (0o600, 0o644));
    let before = fs::read_to_string(&private).expect("a key");
    assert!(before.starts_with("-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\n"));
    let prefix = private.trim_end_matches(".key");
    let generate = ["trust", "key", "generate", "-o", prefix];
    let again = daemon.spawn_with(&generate, b"", &[("COSIGN_PASSWORD", "")]).wait();
    again.fails(1).saying(&private).saying("exists");
    fs::remove_file(&private).expect("a file");
    daemon.spawn_with(&generate, b"", &[("COSIGN_PASSWORD", "")]).wait().fails(1).saying(&public);
    assert!(!fs::exists(&private).expect("a directory"), "half a pair is taken back");
    fs::write(&private, &before).expect("a file");
    daemon.fails(&generate, 1).saying("no terminal").saying("COSIGN_PASSWORD");
    let sign = |key: &str, password: &str| {
        daemon
            .spawn_with(&["image", "sign", "--key", key, "127.0.0.1:1/x"], b"", &[("COSIGN_PASSWORD", password)])
            .wait()
    };
    sign(&private, "wrong").fails(1).saying("password does not open it");
    sign(&public, "secret").fails(1).saying("not a private key");
    sign("/nonexistent", "secret").fails(1).saying("/nonexistent");
    sign(&private, "secret").fails(1).saying("cannot reach registry");
    daemon.fails(&["trust", "add", "a.example", "--key", &private], 1).saying("not a public key");
    daemon.fails(&["push", "--sign-by", "/nonexistent", "x"], 1).saying("/nonexistent");
}

#[test]
fn the_password_of_a_new_key_is_asked_for_twice_and_not_shown() {
    let (daemon, _policy) = daemon();
    let prefix = daemon.path().join("typed").to_string_lossy().into_owned();
    let generate = |second: &str| {
        let mut terminal = daemon.terminal(&["trust", "key", "generate", "-o", &prefix], 24, 80);
        terminal.expect("Password of the new key: ");
        assert!(!terminal.echoes());
        terminal.send("secret\n");
        terminal.expect("The same again: ");
        terminal.send(second);
        let code = terminal.wait();
        assert!(!terminal.shown().contains("secret"), "{}", terminal.shown());
        (code, terminal.shown())
    };
    let (code, shown) = generate("another\n");
    assert!(code == 1 && shown.contains("the two passwords differ"), "{shown}");
    assert_eq!(generate("secret\n").0, 0);
    let key = format!("{prefix}.key");
    let sign = ["image", "sign", "--key", &key, "127.0.0.1:1/x"];
    daemon.spawn_with(&sign, b"", &[("COSIGN_PASSWORD", "secret")]).wait().fails(1).saying("cannot reach registry");
    let mut terminal = daemon.terminal(&sign, 24, 80);
    terminal.expect(&format!("Password of {key}: "));
    terminal.send("wrong\n");
    terminal.expect("password does not open it");
    assert_eq!(terminal.wait(), 1);
}

/// The manifest of an image's signatures, made of these layers.
fn signatures(registry: &OwnRegistry<'_>, layers: &[Value]) -> Value {
    let config = br#"{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let digest = registry.put_blob("team/app", config);
    let config =
        json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": config.len()});
    json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers})
}

#[test]
fn no_signature_of_something_else_and_nothing_malformed_passes() {
    let (daemon, _policy) = daemon();
    let registry = OwnRegistry::start(&daemon);
    let (name, (private, public)) = (registry.name("team/app:1"), keys(&daemon, "own"));
    push(&daemon, &name);
    push(&daemon, &registry.name("other/app:1"));
    let digest = with_password(&daemon, &["image", "sign", "--key", &private, &name]);
    let tag = digest.replace(':', "-") + ".sig";
    let good: Value = serde_json::from_slice(&registry.manifest("team/app", &tag)).expect("JSON");
    let layer = good["layers"][0].clone();
    let payload = registry.blob("team/app", layer["digest"].as_str().expect("a digest"));
    daemon.ok(&["rmi", &name, &registry.name("other/app:1")]);
    daemon.ok(&["trust", "add", "127.0.0.1:5000", "--key", &public]);

    let refused = |why: &str| {
        daemon.fails(&["pull", &name], 1).saying(why);
        assert_eq!(daemon.ok(&["images", "-q"]), "");
    };
    let plant = |layers: &[Value]| drop(registry.put_manifest("team/app", &tag, &signatures(&registry, layers)));
    let with = |field: &str, value: Value| {
        let mut layer = layer.clone();
        layer[field] = value;
        layer
    };
    // The same signature over another text, another signature over the same text.
    let text = String::from_utf8(payload.clone()).expect("JSON");
    let tampered = text.replace("team/app:1", "team/app:2");
    let blob = registry.put_blob("team/app", tampered.as_bytes());
    plant(&[
        json!({"mediaType": SIMPLE_SIGNING, "digest": blob, "size": tampered.len(), "annotations": layer["annotations"]}),
    ]);
    refused("another key, or its payload was changed");
    plant(&[with("annotations", json!({SIGNATURE: "AAAA"}))]);
    refused("another key");
    // Longer than any payload: not even fetched.
    let long = vec![b' '; 200 << 10];
    let blob = registry.put_blob("team/app", &long);
    let long =
        json!({"mediaType": SIMPLE_SIGNING, "digest": blob, "size": long.len(), "annotations": layer["annotations"]});
    plant(&[with("mediaType", json!("application/octet-stream")), with("annotations", json!({})), long]);
    refused("there is no signature");
    plant(&vec![layer.clone(); 101]);
    refused("101 of them");
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []});
    registry.put_manifest("team/app", &tag, &index);
    refused("malformed");
    // One good among bad ones suffices.
    plant(&[with("annotations", json!({SIGNATURE: "AAAA"})), layer.clone()]);
    assert_eq!(daemon.ok(&["run", "--rm", &name]), "trusted");

    // Good signatures: of the same image under another name, and of another image under this one.
    daemon.ok(&["rmi", &name]);
    let put = |repository: &str, at: &str, text: &[u8]| {
        let document: Value = serde_json::from_slice(text).expect("JSON");
        for part in document["layers"].as_array().into_iter().flatten().chain([&document["config"]]) {
            let part = part["digest"].as_str().expect("a digest");
            registry.put_blob(repository, &registry.blob("team/app", part));
        }
        let kind = document["mediaType"].as_str().expect("a type");
        let (status, _) = registry.ask("PUT", &format!("/v2/{repository}/manifests/{at}"), kind, text);
        assert_eq!(status, 201);
    };
    for copied in ["1", tag.as_str()] {
        put("other/copy", copied, &registry.manifest("team/app", copied));
    }
    daemon
        .fails(&["pull", &registry.name("other/copy:1")], 1)
        .saying("a signature is for the name 127.0.0.1:5000/team/app:1");
    // The annotation makes it another manifest of the same layers.
    let mut other: Value = serde_json::from_slice(&registry.manifest("team/app", "1")).expect("JSON");
    other["annotations"] = json!({"another": "image"});
    let other = registry.put_manifest("team/app", "1", &other);
    registry.put_manifest("team/app", &(other.replace(':', "-") + ".sig"), &good);
    refused(&format!("a signature is for {digest}"));
}

#[test]
fn the_signature_of_an_index_is_one_of_the_images_that_it_leads_to() {
    let (daemon, _policy) = daemon();
    let registry = OwnRegistry::start(&daemon);
    let (name, (private, public)) = (registry.name("team/app:1"), keys(&daemon, "own"));
    push(&daemon, &name);
    let manifest = registry.manifest("team/app", "1");
    let entry = json!({
        "mediaType": serde_json::from_slice::<Value>(&manifest).expect("JSON")["mediaType"],
        "digest": testkit::fixtures::image::digest(&manifest), "size": manifest.len(),
        "platform": {"os": "linux", "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }},
    });
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]});
    let digest = registry.put_manifest("team/app", "1", &index);
    daemon.ok(&["rmi", &name]);
    daemon.ok(&["trust", "add", "127.0.0.1:5000", "--key", &public]);
    daemon.fails(&["pull", &name], 1).saying("there is no signature");
    assert_eq!(with_password(&daemon, &["image", "sign", "--key", &private, &name]), digest);
    daemon.ok(&["pull", "-q", &name]);
    drop(registry);
    assert_eq!(daemon.ok(&["run", "--rm", &name]), "trusted");
    let pinned = format!("127.0.0.1:5000/team/app@{digest}");
    assert_eq!(daemon.ok(&["run", "--rm", &pinned]), "trusted");
}

#[test]
fn signatures_go_with_their_image() {
    let (daemon, _policy) = daemon();
    let registry = OwnRegistry::start(&daemon);
    let (name, (private, public)) = (registry.name("team/app:1"), keys(&daemon, "own"));
    push(&daemon, &name);
    with_password(&daemon, &["image", "sign", "--key", &private, &name]);
    daemon.ok(&["trust", "add", "127.0.0.1:5000", "--key", &public]);
    let archive = daemon.path().join("app.tar");
    let archive = archive.to_string_lossy();
    daemon.ok(&["save", "-o", &archive, &name]);
    assert_eq!(daemon.ok(&["run", "--rm", &name]), "trusted");
    daemon.ok(&["rmi", &name]);
    // The same bytes again, from somewhere else: nobody has verified them here.
    daemon.ok(&["load", "-q", "-i", &archive]);
    daemon.fails(&["run", "--rm", &name], 125).saying("there is no signature");
    daemon.ok(&["pull", "-q", &name]);
    assert_eq!(daemon.ok(&["run", "--rm", &name]), "trusted");
}
