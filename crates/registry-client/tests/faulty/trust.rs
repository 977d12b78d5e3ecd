// SPDX-License-Identifier: Apache-2.0
//! Certificates of single registries, and proxies on the way.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use errors::{Classify as _, Kind, chain};
use oci::Digest;
use registry_client::{Client, Options, Proxies, RegistryError};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::server::{Identity, Registry, Reply};
use crate::{MANIFEST, manifest_reply, options};

const AUTHORITY: &[u8] = include_bytes!("../tls/ca2.pem");
const CLIENT: (&[u8], &[u8]) = (include_bytes!("../tls/client.pem"), include_bytes!("../tls/client.key"));
const OTHER: Identity = (include_bytes!("../tls/other.pem"), include_bytes!("../tls/other.key"));
const EXPIRED: Identity = (include_bytes!("../tls/expired.pem"), include_bytes!("../tls/expired.key"));

fn trusting(directory: &Path) -> Client {
    Client::new(Options { certificate_directories: vec![directory.to_owned()], ..options() })
}

#[tokio::test]
async fn a_registrys_own_authority_counts_for_it_alone_and_at_once() {
    let registry = Registry::start_tls_as(OTHER, None, |_| manifest_reply()).await;
    let another = Registry::start_tls_as(OTHER, None, |_| manifest_reply()).await;
    let dir = tempfile::tempdir().unwrap();
    let client = trusting(dir.path());
    let error = client.manifest(&registry.image("a")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Tls { .. }), "{error}");
    assert!(error.hint().unwrap().contains(&format!("certs.d/{}", registry.authority())), "{:?}", error.hint());
    let own = dir.path().join(registry.authority());
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("ca.crt"), AUTHORITY).unwrap();
    assert_eq!(client.manifest(&registry.image("a")).await.unwrap().digest, Digest::of(MANIFEST));
    let error = client.manifest(&another.image("a")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Tls { .. }), "{error}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused_whoever_signed_it() {
    let registry = Registry::start_tls_as(EXPIRED, None, |_| manifest_reply()).await;
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join(registry.authority());
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("ca.crt"), AUTHORITY).unwrap();
    let error = trusting(dir.path()).manifest(&registry.image("a")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Tls { .. }), "{error}");
    assert!(chain(&error).contains("expired"), "{}", chain(&error));
    std::fs::write(own.join("ca.crt"), "nothing").unwrap();
    let error = trusting(dir.path()).manifest(&registry.image("a")).await.unwrap_err();
    assert!(chain(&error).contains("ca.crt"), "{}", chain(&error));
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let registry = Registry::start_tls_as(OTHER, Some(AUTHORITY), |_| manifest_reply()).await;
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join(registry.authority());
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("ca.crt"), AUTHORITY).unwrap();
    let quick = |directory: &Path| {
        let certificate_directories = vec![directory.to_owned()];
        Client::new(Options { certificate_directories, retries: 0, ..options() })
    };
    quick(dir.path()).manifest(&registry.image("a")).await.unwrap_err();
    std::fs::write(own.join("client.cert"), CLIENT.0).unwrap();
    let error = quick(dir.path()).manifest(&registry.image("a")).await.unwrap_err();
    assert!(chain(&error).contains("client.key"), "{}", chain(&error));
    std::fs::write(own.join("client.key"), CLIENT.1).unwrap();
    quick(dir.path()).manifest(&registry.image("a")).await.unwrap();
}

async fn listening() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// A proxy that knows one name, and notes the first line and the password of each request.
async fn proxy(target: &str, seen: &Arc<Mutex<Vec<String>>>) -> String {
    let (listener, address) = listening().await;
    let (target, seen) = (target.to_owned(), Arc::clone(seen));
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let first = head.lines().next().unwrap().to_owned();
            let authorized = head.to_lowercase().contains("proxy-authorization: basic bwu6c2vjcmv0");
            seen.lock().unwrap().push(first.clone());
            // A client that hangs up is part of the play.
            let _ = if !authorized {
                client.write_all(b"HTTP/1.1 407 Who\r\ncontent-length: 0\r\n\r\n").await
            } else if first.starts_with("CONNECT ") {
                client.write_all(b"HTTP/1.1 200 Go on\r\n\r\n").await.unwrap();
                let mut server = TcpStream::connect(&target).await.unwrap();
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await.is_ok() });
                Ok(())
            } else {
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", MANIFEST.len());
                client.write_all(format!("{head}{MANIFEST}").as_bytes()).await
            };
        }
    });
    address
}

fn through(proxy: &str, directory: &Path) -> Options {
    let proxy = proxy.to_owned();
    let proxies = Proxies::of(move |name| matches!(name, "HTTPS_PROXY" | "HTTP_PROXY").then(|| proxy.clone()));
    let certificate_directories = vec![directory.to_owned()];
    let insecure_registries = vec!["plain.example".to_owned()];
    Options { proxies, certificate_directories, insecure_registries, retries: 0, ..options() }
}

#[tokio::test]
async fn a_proxy_hands_on_what_is_encrypted_and_asks_for_the_rest() {
    let registry = Registry::start_tls_as(OTHER, None, |request| {
        assert_eq!(request.header("proxy-authorization"), None, "the registry need not know");
        manifest_reply()
    })
    .await;
    let seen = Arc::default();
    let proxy = proxy(registry.authority(), &seen).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("registry.example")).unwrap();
    std::fs::write(dir.path().join("registry.example/ca.crt"), AUTHORITY).unwrap();
    let client = Client::new(through(&format!("http://me:secret@{proxy}"), dir.path()));
    client.manifest(&"registry.example/a".parse().unwrap()).await.unwrap();
    client.manifest(&"plain.example/a".parse().unwrap()).await.unwrap();
    assert_eq!(
        *seen.lock().unwrap(),
        [
            "CONNECT registry.example:443 HTTP/1.1",
            "GET http://plain.example/v2/ HTTP/1.1",
            "GET http://plain.example/v2/a/manifests/latest HTTP/1.1",
        ]
    );
}

/// Takes TLS off, and hands on what was in it.
async fn behind_tls((certificate, key): Identity, target: &str) -> String {
    let certificate = CertificateDer::from_pem_slice(certificate).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, target) = (listener.local_addr().unwrap().to_string(), target.to_owned());
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let (acceptor, target) = (acceptor.clone(), target.clone());
            tokio::spawn(async move {
                // A client that does not trust the certificate hangs up.
                let mut client = acceptor.accept(client).await.ok()?;
                let mut server = TcpStream::connect(&target).await.unwrap();
                tokio::io::copy_bidirectional(&mut client, &mut server).await.ok()
            });
        }
    });
    address
}

#[tokio::test]
async fn a_proxy_may_want_tls_itself() {
    let registry = Registry::start_tls_as(OTHER, None, |_| manifest_reply()).await;
    let seen = Arc::default();
    let plain = proxy(registry.authority(), &seen).await;
    let proxy = behind_tls(OTHER, &plain).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("registry.example")).unwrap();
    std::fs::write(dir.path().join("registry.example/ca.crt"), AUTHORITY).unwrap();
    let client = Client::new(through(&format!("https://me:secret@{proxy}"), dir.path()));
    let error = client.manifest(&"registry.example/a".parse().unwrap()).await.unwrap_err();
    assert!(chain(&error).contains("no secure connection to the proxy"), "{}", chain(&error));
    assert!(matches!(error, RegistryError::Unreachable { .. }) && !chain(&error).contains("secret"), "{error}");
    assert!(seen.lock().unwrap().is_empty());
    std::fs::create_dir(dir.path().join(&proxy)).unwrap();
    std::fs::write(dir.path().join(&proxy).join("ca.crt"), AUTHORITY).unwrap();
    client.manifest(&"registry.example/a".parse().unwrap()).await.unwrap();
    client.manifest(&"plain.example/a".parse().unwrap()).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0], "CONNECT registry.example:443 HTTP/1.1");
    assert_eq!(seen.last().unwrap(), "GET http://plain.example/v2/a/manifests/latest HTTP/1.1");
}

/// A SOCKS5 proxy that wants a password, and notes what it is asked for: all of it is `target`.
async fn socks(target: &str, seen: &Arc<Mutex<Vec<Vec<u8>>>>) -> String {
    let (listener, address) = listening().await;
    let (target, seen) = (target.to_owned(), Arc::clone(seen));
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let (target, seen) = (target.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                let mut greeting = [0; 4];
                client.read_exact(&mut greeting).await.ok()?;
                client.write_all(&[5, 2]).await.ok()?;
                let mut login = [0; 11];
                client.read_exact(&mut login).await.ok()?;
                client.write_all(&[1, u8::from(login != *b"\x01\x02me\x06secret")]).await.ok()?;
                let mut request = vec![0; 5];
                client.read_exact(&mut request).await.ok()?;
                // A name says its length, and an address of version 4 has four bytes.
                let rest = if request[3] == 3 { usize::from(request[4]) + 2 } else { 5 };
                request.resize(5 + rest, 0);
                client.read_exact(&mut request[5..]).await.ok()?;
                seen.lock().unwrap().push(request.split_off(3));
                client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.ok()?;
                let mut server = TcpStream::connect(&target).await.ok()?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await.ok()
            });
        }
    });
    address
}

#[tokio::test]
async fn a_socks_proxy_hands_on_everything_and_is_told_names_or_addresses() {
    let secure = Registry::start_tls_as(OTHER, None, |request| {
        assert_eq!(request.header("proxy-authorization"), None);
        manifest_reply()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("registry.example")).unwrap();
    std::fs::write(dir.path().join("registry.example/ca.crt"), AUTHORITY).unwrap();
    let seen = Arc::default();
    let proxy = socks(secure.authority(), &seen).await;
    let client = Client::new(through(&format!("socks5h://me:secret@{proxy}"), dir.path()));
    client.manifest(&"registry.example/a".parse().unwrap()).await.unwrap();
    assert_eq!(seen.lock().unwrap()[0], b"\x03\x10registry.example\x01\xbb");

    // Without TLS the registry gets its own kind of requests, and no word of the password.
    let plain = Registry::start(|request| {
        assert_eq!(request.header("proxy-authorization"), None);
        assert!(request.path.starts_with("/v2/"), "{}", request.path);
        if request.path == "/v2/" { Reply::status(200) } else { manifest_reply() }
    })
    .await;
    let seen = Arc::default();
    let proxy = socks(plain.authority(), &seen).await;
    for scheme in ["socks5", "socks5h"] {
        let options = through(&format!("{scheme}://me:secret@{proxy}"), dir.path());
        let client = Client::new(Options { insecure_registries: vec!["192.0.2.7:81".to_owned()], ..options });
        client.manifest(&"192.0.2.7:81/a".parse().unwrap()).await.unwrap();
        assert_eq!(seen.lock().unwrap().pop().unwrap(), [1, 192, 0, 2, 7, 0, 81], "{scheme}");
    }

    let client = Client::new(through(&format!("socks5h://me:wrong!@{proxy}"), dir.path()));
    let error = client.manifest(&"registry.example/a".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }) && error.kind() == Kind::Unavailable, "{error}");
    let told = chain(&error);
    assert!(told.contains(&proxy) && told.contains("refuses the user name") && !told.contains("wrong!"), "{told}");
}

#[tokio::test]
async fn a_socks_proxy_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("socks5h://{}", listener.local_addr().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let options = Options { connect_timeout: Duration::from_millis(200), ..through(&proxy, dir.path()) };
    let started = Instant::now();
    let error = Client::new(options).manifest(&"registry.example/a".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
    assert!(chain(&error).contains("it took too long"), "{}", chain(&error));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_proxy_that_is_of_no_use_is_the_error() {
    let seen = Arc::default();
    let proxy = proxy("127.0.0.1:1", &seen).await;
    let dir = tempfile::tempdir().unwrap();
    for (address, words) in [
        (format!("http://{proxy}"), "user name and a password"),
        ("socks4://127.0.0.1:1".to_owned(), "no other is supported"),
        ("http://127.0.0.1:1".to_owned(), "onnect"),
    ] {
        let client = Client::new(through(&address, dir.path()));
        let error = client.manifest(&"registry.example/a".parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, RegistryError::Unreachable { .. }) && error.kind() == Kind::Unavailable, "{error}");
        assert!(chain(&error).contains(words), "{}", chain(&error));
    }
    let local = Registry::start(|request| match request.path.as_str() {
        "/v2/" => Reply::status(200),
        _ => manifest_reply(),
    })
    .await;
    let client = Client::new(through(&format!("http://{proxy}"), dir.path()));
    client.manifest(&local.image("a")).await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 1, "this machine is not asked for through a proxy");
}
