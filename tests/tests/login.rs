// SPDX-License-Identifier: Apache-2.0
//! `corten login` at a registry with a token service.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use testkit::Daemon;
use testkit::corten::Finished;
use testkit::fixtures::faulty::{Asked, Faulty, Reply};

/// `corten` of a user whose home is in the daemon's directory.
fn as_user(daemon: &Daemon, arguments: &[&str], input: &str) -> Finished {
    let home = daemon.path().join("home");
    fs::create_dir_all(&home).expect("a directory");
    let home = home.to_string_lossy();
    daemon.spawn_with(arguments, input.as_bytes(), &[("HOME", &home), ("XDG_CONFIG_HOME", "")]).wait()
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn what_the_registry_gives_for_the_password_is_kept_and_the_password_is_not() {
    let daemon = Daemon::builder().start();
    let seen: Arc<Mutex<Vec<Asked>>> = Arc::default();
    let log = Arc::clone(&seen);
    let registry = Faulty::start(daemon.sandbox(), move |asked| {
        log.lock().expect("a log").push(asked.clone());
        // "me:secret"
        match (asked.path.split('?').next().unwrap_or_default(), asked.authorization.as_str()) {
            ("/token", "Basic bWU6c2VjcmV0") => Reply::ok(r#"{"token": "t", "refresh_token": "kept instead"}"#),
            ("/token", "") if asked.body.starts_with(b"grant_type=refresh_token") => {
                let is_right = String::from_utf8_lossy(&asked.body).contains("refresh_token=kept%20instead&");
                if is_right { Reply::ok(r#"{"access_token": "t"}"#) } else { Reply::status(401) }
            }
            ("/token", _) => Reply::status(401),
            ("/v2/", "Bearer t") => Reply::ok("{}"),
            (_, "Bearer t") => Reply::status(404),
            _ => {
                let realm = format!("Bearer realm=\"http://{}/token\",service=\"x\"", asked.host);
                Reply::status(401).header("www-authenticate", &realm)
            }
        }
    });
    let server = registry.name("").trim_end_matches('/').to_owned();
    let login = ["login", "-u", "me", "--password-stdin", &server];
    as_user(&daemon, &login, "wrong\n").fails(1).saying("credentials");
    assert!(as_user(&daemon, &login, "secret\n").ok().stderr.contains("A token of the registry's is in"));
    let asked = seen.lock().expect("a log").len();
    // There is no such image; what counts is that it was asked for, and by whom.
    as_user(&daemon, &["pull", &registry.name("team/image")], "").fails(1).saying("not found");
    let seen = seen.lock().expect("a log");
    let later = &seen[asked..];
    assert!(later.iter().any(|asked| asked.path.contains("/manifests/") && asked.authorization == "Bearer t"));
    assert!(later.iter().all(|asked| !asked.authorization.starts_with("Basic")), "{later:?}");
    for file in files(&daemon.path().join("home")) {
        let content = fs::read(&file).expect("a file");
        assert!(!content.windows(6).any(|part| part == b"secret"), "{file:?}");
    }
    assert!(!daemon.log().contains("secret") && !daemon.log().contains("kept instead"));
}
