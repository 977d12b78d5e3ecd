// SPDX-License-Identifier: Apache-2.0
//! Servers of logs in a daemon's sandbox: what they were sent, and what they answer.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use testkit::sandbox::Sandbox;

/// What a log server was sent, message by message or byte by byte.
#[derive(Clone, Default)]
pub struct Received(Arc<(Mutex<Vec<Vec<u8>>>, Condvar)>);

impl Received {
    fn take(&self, message: &[u8]) {
        self.0.0.lock().expect("no test panics with it").push(message.to_vec());
        self.0.1.notify_all();
    }

    /// Waits until it is enough.
    #[track_caller]
    fn wait(&self, mut enough: impl FnMut(&[Vec<u8>]) -> bool) -> Vec<Vec<u8>> {
        let received = self.0.0.lock().expect("no test panics with it");
        let missing = |all: &mut Vec<Vec<u8>>| !enough(all);
        let (received, limit) = self.0.1.wait_timeout_while(received, PATIENCE, missing).expect("no panic");
        let last = received.last().map(|last| String::from_utf8_lossy(last).into_owned());
        assert!(!limit.timed_out(), "more should have been sent than {} messages; the last: {last:?}", received.len());
        received.clone()
    }

    /// Waits until what was received, taken together, is enough.
    #[track_caller]
    pub fn wait_until(&self, enough: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        self.wait(|all| enough(&all.concat()))
    }

    /// Waits until these bytes are among it.
    #[track_caller]
    pub fn wait_for(&self, end: &[u8]) -> Vec<Vec<u8>> {
        let (mut seen, mut last) = (0, Vec::new());
        self.wait(|all| {
            all[seen..].iter().any(|message| {
                seen += 1;
                last.extend_from_slice(message);
                let found = last.windows(end.len()).any(|window| window == end);
                last.drain(..last.len().saturating_sub(end.len() - 1));
                found
            })
        })
    }

    /// All of it as text, when this has come.
    #[track_caller]
    pub fn text(&self, end: &str) -> String {
        String::from_utf8(self.wait_for(end.as_bytes()).concat()).expect("UTF-8")
    }

    /// What there is by now, taken together.
    pub fn so_far(&self) -> Vec<u8> {
        self.0.0.lock().expect("no test panics with it").concat()
    }
}

/// What is sent on a loaded machine is there by then.
const PATIENCE: Duration = Duration::from_secs(30);

/// A port of the sandbox's own host.
pub fn listen(sandbox: &Sandbox, port: u16) -> TcpListener {
    sandbox.run(move || TcpListener::bind(("127.0.0.1", port)).expect("a port"))
}

/// A log server in the sandbox; `answer` is what it says to what it has read so far, if anything.
pub fn tcp_server(sandbox: &Sandbox, port: u16, answer: fn(&[u8]) -> Option<Vec<u8>>) -> Received {
    let (received, stall) = stalled_server(sandbox, port, answer);
    stall.end();
    received
}

/// Whether a server accepts connections and reads nothing.
pub struct Stall(Arc<(Mutex<bool>, Condvar)>);

impl Stall {
    /// It reads from now on.
    pub fn end(&self) {
        *self.0.0.lock().expect("no test panics with it") = false;
        self.0.1.notify_all();
    }
}

/// As [`tcp_server`], but it reads nothing until its stall is ended.
pub fn stalled_server(sandbox: &Sandbox, port: u16, answer: fn(&[u8]) -> Option<Vec<u8>>) -> (Received, Stall) {
    let listener = listen(sandbox, port);
    let received = Received::default();
    let stalled = Arc::new((Mutex::new(true), Condvar::new()));
    let (taken, stall) = (received.clone(), Arc::clone(&stalled));
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let (taken, stall) = (taken.clone(), Arc::clone(&stall));
            std::thread::spawn(move || {
                let held = stall.0.lock().expect("no test panics with it");
                drop(stall.1.wait_while(held, |stalled| *stalled).expect("no test panics with it"));
                let (mut unanswered, mut part) = (Vec::new(), vec![0; 64 << 10]);
                while let Ok(count @ 1..) = stream.read(&mut part) {
                    taken.take(&part[..count]);
                    unanswered.extend_from_slice(&part[..count]);
                    if let Some(said) = answer(&unanswered) {
                        unanswered.clear();
                        // The daemon may be gone.
                        stream.write_all(&said).ok();
                    }
                }
            });
        }
    });
    (received, Stall(stalled))
}

/// A log server over TLS, with the certificate that Corten's tests have for 127.0.0.1.
pub fn tls_server(sandbox: &Sandbox, port: u16) -> Received {
    let files = tls_files();
    let chain = CertificateDer::pem_file_iter(files.join("server.pem")).expect("a certificate");
    let chain = chain.collect::<Result<_, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(files.join("server.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth().with_single_cert(chain, key).expect("a pair");
    let (config, listener) = (Arc::new(config), listen(sandbox, port));
    let received = Received::default();
    let taken = received.clone();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).expect("a configuration");
            let (mut tls, mut part) = (rustls::Stream::new(&mut connection, &mut stream), vec![0; 64 << 10]);
            // A client that does not trust the certificate ends the handshake.
            while let Ok(count @ 1..) = tls.read(&mut part) {
                taken.take(&part[..count]);
            }
        }
    });
    received
}

/// Where the tests' certificates are.
pub fn tls_files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/registry-client/tests/tls")
}

/// It says nothing.
pub fn silent(_: &[u8]) -> Option<Vec<u8>> {
    None
}

/// Takes what `receive` receives, one message at a time, until that fails.
pub fn datagrams(receive: impl Fn(&mut [u8]) -> std::io::Result<usize> + Send + 'static) -> Received {
    let received = Received::default();
    let taken = received.clone();
    std::thread::spawn(move || {
        let mut message = vec![0; 1 << 16];
        while let Ok(count) = receive(&mut message) {
            taken.take(&message[..count]);
        }
    });
    received
}

/// A log server of datagrams in the sandbox.
pub fn udp_server(sandbox: &Sandbox, port: u16) -> Received {
    let socket = sandbox.run(move || UdpSocket::bind(("127.0.0.1", port)).expect("a port"));
    // Nobody waits for a server that is too slow: room for all of it.
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 16 << 20).expect("root may");
    datagrams(move |message| socket.recv(message))
}

/// The acknowledgement of a chunk that has come as a whole: it is the last thing in a message.
pub fn acknowledge(message: &[u8]) -> Option<Vec<u8>> {
    let chunk = message.len().checked_sub(24)?;
    let head = b"\x81\xa5chunk\xb8";
    message[..chunk].ends_with(head).then(|| [b"\x81\xa3ack\xb8", &message[chunk..]].concat())
}

/// The numbers that a syslog server was sent, in order.
pub fn numbers(text: &str) -> Vec<u32> {
    text.lines().filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
}
