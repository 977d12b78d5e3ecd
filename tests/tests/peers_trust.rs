// SPDX-License-Identifier: Apache-2.0
//! Signatures with other people's programs. Debian's skopeo finds what Corten signs where it looks for signatures, and copies it so
//! that Corten accepts it; OpenSSL verifies it, and makes keys that Corten signs with; skopeo and Corten read a policy alike.
//!
//! Debian 12 builds skopeo, podman and buildah without the verification itself ("Debian-local change: sigstore disabled"), so
//! OpenSSL has that part, and the skopeo of Debian 13.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use end_to_end::own_registry::OwnRegistry;
use serde_json::{Value, json};
use testkit::Daemon;
use testkit::fixtures::registry::{PASSWORD, Registry, USER};
use testkit::fixtures::skopeo::with_sigstore;
use testkit::process::command;

/// A daemon that accepts anything, whatever the host's policy says.
fn daemon() -> (Daemon, tempfile::TempDir) {
    let policy = tempfile::tempdir().expect("a directory");
    let file = policy.path().join("policy.json");
    fs::write(&file, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).expect("a file");
    (Daemon::builder().argument("--signature-policy").argument(&file.to_string_lossy()).start(), policy)
}

/// A pair of keys that Corten makes: the paths of both.
fn keys(daemon: &Daemon, name: &str) -> (String, String) {
    let prefix = daemon.path().join(name).to_string_lossy().into_owned();
    let arguments = ["trust", "key", "generate", "-o", &prefix];
    daemon.spawn_with(&arguments, b"", &[("COSIGN_PASSWORD", "secret")]).wait().ok();
    (format!("{prefix}.key"), format!("{prefix}.pub"))
}

fn push(daemon: &Daemon, name: &str) {
    let archive = daemon.path().join("busybox.tar");
    testkit::fixtures::busybox::write(&archive);
    daemon.ok(&["import", "-c", "CMD [\"echo\", \"trusted\"]", &archive.to_string_lossy(), name]);
    daemon.ok(&["push", "-q", name]);
}

fn sign(daemon: &Daemon, key: &str, name: &str) {
    let arguments = ["image", "sign", "--key", key, name];
    daemon.spawn_with(&arguments, b"", &[("COSIGN_PASSWORD", "secret")]).wait().ok();
}

/// skopeo, which looks for signatures in registries.
fn skopeo(daemon: &Daemon, policy: Option<&Path>, arguments: &[&str]) -> Output {
    run_skopeo(daemon, command("skopeo"), policy, arguments)
}

/// The same by a given program.
fn run_skopeo(daemon: &Daemon, mut skopeo: Command, policy: Option<&Path>, arguments: &[&str]) -> Output {
    let registries = daemon.path().join("registries.d");
    fs::create_dir_all(&registries).expect("a directory");
    fs::write(registries.join("default.yaml"), "default-docker:\n  use-sigstore-attachments: true\n").expect("a file");
    skopeo.arg("--registries.d").arg(registries);
    match policy {
        Some(file) => skopeo.arg("--policy").arg(file),
        None => skopeo.arg("--insecure-policy"),
    };
    skopeo.args(arguments);
    daemon.sandbox().run(move || skopeo.output()).expect("skopeo is installed")
}

/// What skopeo finds beside an image: of each signature the payload and the signature, both in base64.
fn found(daemon: &Daemon, name: &str) -> Vec<(String, String)> {
    let target = tempfile::tempdir().expect("a directory");
    let copy = target.path().join("copy");
    let (source, place) = (format!("docker://{name}"), format!("dir:{}", copy.display()));
    let output = skopeo(daemon, None, &["copy", "--quiet", "--src-tls-verify=false", &source, &place]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files = (1..).map(|number| copy.join(format!("signature-{number}"))).take_while(|file| file.exists());
    let signature = |file| {
        let bytes = fs::read(file).expect("a file");
        let text = bytes.strip_prefix(b"\0sigstore-json\n").expect("skopeo's form of a sigstore signature");
        let text: Value = serde_json::from_slice(text).expect("JSON");
        let annotation = &text["annotations"]["dev.cosignproject.cosign/signature"];
        let field = |value: &Value| value.as_str().expect("a text").to_owned();
        assert_eq!(text["mimeType"], "application/vnd.dev.cosign.simplesigning.v1+json");
        (field(&text["payload"]), field(annotation))
    };
    files.map(signature).collect()
}

/// What OpenSSL prints.
fn openssl(arguments: &[&str]) -> Output {
    command("openssl").args(arguments).output().expect("openssl is installed")
}

/// Whether OpenSSL says that the owner of this public key signed this payload.
fn verified(public: &str, (payload, signature): &(String, String)) -> bool {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    for (name, text) in [("payload", payload), ("signature", signature)] {
        fs::write(path("base64"), format!("{text}\n")).expect("a file");
        assert!(openssl(&["base64", "-d", "-A", "-in", &path("base64"), "-out", &path(name)]).status.success());
    }
    let key = fs::read_to_string(public).expect("a key");
    let digest: &[&str] = match key.contains("MCowBQYDK2Vw") {
        // Ed25519 signs the text itself.
        true => &["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", public, "-sigfile", &path("signature"), "-in"],
        false => &["dgst", "-sha256", "-verify", public, "-signature", &path("signature")],
    };
    openssl(&[digest, &[&path("payload")]].concat()).status.success()
}

/// Corten signs by two keys what is at `name`.
fn skopeo_finds_both(daemon: &Daemon, name: &str) {
    let ((private, public), (other, other_public)) = (keys(daemon, "own"), keys(daemon, "other"));
    push(daemon, name);
    assert_eq!(found(daemon, name), []);
    sign(daemon, &private, name);
    sign(daemon, &other, name);
    let signatures = found(daemon, name);
    let by = |key: &str| signatures.iter().map(|signature| verified(key, signature)).collect::<Vec<_>>();
    assert_eq!((by(&public), by(&other_public)), (vec![true, false], vec![false, true]));
}

#[test]
fn skopeo_finds_what_corten_signs_in_debians_registry() {
    let (daemon, _policy) = daemon();
    let registry = Registry::start(&daemon);
    skopeo_finds_both(&daemon, &registry.name("team/app:1"));
}

#[test]
fn skopeo_finds_what_corten_signs_in_cortens_registry() {
    let (daemon, _policy) = daemon();
    let registry = OwnRegistry::start(&daemon);
    skopeo_finds_both(&daemon, &registry.name("team/app:1"));
}

#[test]
fn corten_accepts_what_skopeo_put_into_a_registry_and_adds_to_it() {
    let (daemon, policy) = daemon();
    let registry = OwnRegistry::start(&daemon);
    let (name, copy) = (registry.name("team/app:1"), registry.name("copies/app:1"));
    let ((private, public), (own, own_public)) = (keys(&daemon, "first"), keys(&daemon, "own"));
    push(&daemon, &name);
    sign(&daemon, &private, &name);
    let (source, target) = (format!("docker://{name}"), format!("docker://{copy}"));
    let flags = ["copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false", &source, &target];
    let output = skopeo(&daemon, None, &flags);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let requirement =
        |identity: Value| json!({"type": "sigstoreSigned", "keyPath": public, "signedIdentity": identity});
    let write = |identity: Value| {
        let scopes = json!({"127.0.0.1:5000/copies": [requirement(identity)]});
        let text = json!({"default": [{"type": "reject"}], "transports": {"docker": scopes}});
        fs::write(policy.path().join("policy.json"), text.to_string()).expect("a file");
    };
    write(json!({"type": "matchRepository"}));
    daemon.fails(&["pull", &copy], 1).saying("a signature is for the name 127.0.0.1:5000/team/app:1");
    let (prefix, signed) = ("127.0.0.1:5000/copies", "127.0.0.1:5000/team");
    write(json!({"type": "remapIdentity", "prefix": prefix, "signedPrefix": signed}));
    assert_eq!(daemon.ok(&["run", "--rm", &copy]), "trusted");
    sign(&daemon, &own, &copy);
    daemon.ok(&["image", "verify", "--key", &own_public, &copy]);
    let signatures = found(&daemon, &copy);
    assert_eq!(signatures.len(), 2);
    assert!(verified(&public, &signatures[0]) && verified(&own_public, &signatures[1]));
}

#[test]
fn debians_skopeo_with_a_policy_accepts_what_corten_signs_and_corten_what_that_signs() {
    let (daemon, policy) = daemon();
    let registry = OwnRegistry::start(&daemon);
    let (name, unsigned, theirs) =
        (registry.name("team/app:1"), registry.name("team/other:1"), registry.name("team/skopeo:1"));
    let ((private, public), (other, other_public)) = (keys(&daemon, "own"), keys(&daemon, "other"));
    push(&daemon, &name);
    push(&daemon, &unsigned);
    sign(&daemon, &private, &name);
    let wants = |key: &str| {
        let file = daemon.path().join("skopeos-policy.json");
        let scopes = json!({"127.0.0.1:5000/team": [{"type": "sigstoreSigned", "keyPath": key}]});
        let text = json!({"default": [{"type": "reject"}], "transports": {"docker": scopes}});
        fs::write(&file, text.to_string()).expect("a file");
        file
    };
    let copies = |key: &str, name: &str| {
        let target = tempfile::tempdir().expect("a directory");
        let (source, place) = (format!("docker://{name}"), format!("dir:{}", target.path().join("copy").display()));
        let arguments = ["copy", "--quiet", "--src-tls-verify=false", &source, &place];
        let output = run_skopeo(&daemon, with_sigstore(), Some(&wants(key)), &arguments);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(copies(&public, &name), (true, String::new()));
    let (accepted, why) = copies(&other_public, &name);
    assert!(!accepted && why.contains("invalid signature"), "{why}");
    let (accepted, why) = copies(&public, &unsigned);
    assert!(!accepted && why.contains("no signature exists"), "{why}");

    // The other way: by a key of Corten's making, sealed as cosign seals it.
    let password = daemon.path().join("password");
    fs::write(&password, "secret").expect("a file");
    let (source, target, password) =
        (format!("docker://{unsigned}"), format!("docker://{theirs}"), password.to_string_lossy());
    let flags = ["copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"];
    let by = ["--sign-by-sigstore-private-key", &other, "--sign-passphrase-file", &password, &source, &target];
    let output = run_skopeo(&daemon, with_sigstore(), None, &[&flags[..], &by].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let write = |key: &str| fs::copy(wants(key), policy.path().join("policy.json")).expect("a file");
    write(&public);
    daemon.fails(&["pull", &theirs], 1).saying("is not trusted");
    write(&other_public);
    assert_eq!(daemon.ok(&["run", "--rm", &theirs]), "trusted");
}

#[test]
fn keys_that_openssl_makes_sign_and_keys_of_cortens_are_read_by_openssl() {
    let (daemon, _policy) = daemon();
    let registry = OwnRegistry::start(&daemon);
    let name = registry.name("team/app:1");
    push(&daemon, &name);
    let kinds = [
        ("EC", &["-pkeyopt", "ec_paramgen_curve:P-256"][..]),
        ("RSA", &["-pkeyopt", "rsa_keygen_bits:2048"]),
        ("ED25519", &[]),
    ];
    for (count, (kind, options)) in kinds.into_iter().enumerate() {
        let private = daemon.path().join(format!("{kind}.key")).to_string_lossy().into_owned();
        let public = private.replace(".key", ".pub");
        let generate = [&["genpkey", "-algorithm", kind, "-out", &private][..], options].concat();
        for arguments in [&generate[..], &["pkey", "-in", &private, "-pubout", "-out", &public]] {
            let output = openssl(arguments);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        sign(&daemon, &private, &name);
        daemon.ok(&["image", "verify", "--key", &public, &name]);
        assert!(verified(&public, &found(&daemon, &name)[count]), "{kind}");
    }
    let (_, public) = keys(&daemon, "own");
    let shown = openssl(&["pkey", "-pubin", "-in", &public, "-noout", "-text"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("prime256v1"), "{shown:?}");
}

#[test]
fn signing_takes_the_login_of_whoever_signs() {
    let (daemon, _policy) = daemon();
    let registry = Registry::with_login(&daemon);
    let (name, server) = (registry.name("private:1"), registry.name("").trim_end_matches('/').to_owned());
    let (private, public) = keys(&daemon, "own");
    let archive = daemon.path().join("busybox.tar");
    testkit::fixtures::busybox::write(&archive);
    daemon.ok(&["import", &archive.to_string_lossy(), &name]);
    let home = daemon.path().join("home");
    fs::create_dir_all(&home).expect("a directory");
    let as_user = |arguments: &[&str], input: &str| {
        let home = home.to_str().expect("a path in UTF-8");
        let variables = [("HOME", home), ("XDG_CONFIG_HOME", ""), ("COSIGN_PASSWORD", "secret")];
        daemon.spawn_with(arguments, input.as_bytes(), &variables).wait()
    };
    as_user(&["image", "sign", "--key", &private, &name], "").fails(1).saying("corten login");
    as_user(&["login", "-u", USER, "--password-stdin", &server], PASSWORD).ok();
    as_user(&["push", "-q", "--sign-by", &private, &name], "").ok();
    as_user(&["image", "verify", "--key", &public, &name], "").ok();
    daemon.ok(&["trust", "add", &server, "--key", &public]);
    daemon.ok(&["rmi", &name]);
    as_user(&["pull", "-q", &name], "").ok();
    daemon.ok(&["run", "--rm", &name, "true"]);
}

/// Every policy is asked about every name, of skopeo and of Corten; both must accept, or both refuse.
#[test]
fn a_policy_means_to_corten_what_it_means_to_skopeo() {
    const ACCEPT: &str = r#"[{"type":"insecureAcceptAnything"}]"#;
    const REJECT: &str = r#"[{"type":"reject"}]"#;
    const NOTHING: &str = r#"[]"#;
    let (daemon, policy) = daemon();
    let registry = OwnRegistry::start(&daemon);
    let (_, public) = keys(&daemon, "own");
    let signed = format!(r#"[{{"type":"insecureAcceptAnything"}},{{"type":"sigstoreSigned","keyPath":{public:?}}}]"#);
    let names = ["team/app:1", "team/app:2", "teams/app:1", "app:1"].map(|name| registry.name(name));
    names.iter().for_each(|name| push(&daemon, name));
    let file = policy.path().join("policy.json");
    let one = |scope: &str, list: &str, default: &str| {
        format!(r#"{{"default":{default},"transports":{{"docker":{{{scope:?}:{list}}}}}}}"#)
    };
    let mut policies = vec![
        "{}".to_owned(),
        format!(r#"{{"default":{NOTHING}}}"#),
        format!(r#"{{"default":{ACCEPT},"default":{REJECT}}}"#),
        format!(r#"{{"default":{ACCEPT},"transport":{{}}}}"#),
        format!(
            r#"{{"default":{ACCEPT},"transports":{{"docker":{{"":{REJECT},"127.0.0.1:5000/team/app":{ACCEPT}}}}}}}"#
        ),
        format!(
            r#"{{"default":{ACCEPT},"transports":{{"docker":{{"127.0.0.1:5000":{REJECT},"127.0.0.1:5000/app:1":{ACCEPT}}}}}}}"#
        ),
        one("", r#"[{"type":"reject","more":1}]"#, ACCEPT),
        one("", r#"[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/nonexistent"}]"#, ACCEPT),
        one("127.0.0.1:5000/team", &signed, ACCEPT),
    ];
    let scopes = [
        "",
        "127.0.0.1:5000",
        "127.0.0.1",
        "*.0.0.1",
        "*.1",
        "127.0.0.1:5000/team",
        "127.0.0.1:5000/team/app",
        "127.0.0.1:5000/team/app:1",
        "127.0.0.1:5000/te",
    ];
    policies.extend(scopes.iter().flat_map(|scope| [one(scope, ACCEPT, REJECT), one(scope, REJECT, ACCEPT)]));
    let mut accepted = 0;
    for text in &policies {
        fs::write(&file, text).expect("a file");
        for name in &names {
            let target = tempfile::tempdir().expect("a directory");
            let (source, place) = (format!("docker://{name}"), format!("dir:{}", target.path().join("copy").display()));
            let skopeo = skopeo(&daemon, Some(&file), &["copy", "--quiet", "--src-tls-verify=false", &source, &place]);
            let corten = daemon.corten(&["pull", "-q", name]);
            assert_eq!(corten.code == 0, skopeo.status.success(), "{text}\n{corten}\n{skopeo:?}");
            accepted += u32::from(corten.code == 0);
        }
    }
    assert!(accepted > 20, "only {accepted} were accepted");
}
