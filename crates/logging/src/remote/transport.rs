// SPDX-License-Identifier: Apache-2.0
//! The connection to a log server: made when there is something to send, and again when it broke.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};

use super::address::Address;
use super::tls::Tls;

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(30);

/// How long a server is waited for. Then the connection is made anew.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Until it has taken what is sent.
    pub(crate) write: Duration,
    /// Until it has answered, where it answers.
    pub(crate) answer: Duration,
    /// How old a connection may get, where a name may come to mean another server.
    pub(crate) connection: Option<Duration>,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { write: Duration::from_secs(30), answer: Duration::from_secs(30), connection: None }
    }
}

/// What a driver makes of some lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The messages, one after the other.
    pub(crate) bytes: Vec<u8>,
    /// Where each ends: where they are datagrams, each is one.
    pub(crate) ends: Vec<usize>,
    /// What the server answers when it has them.
    pub(crate) answer: Option<Vec<Vec<u8>>>,
}

impl Batch {
    /// Ends a message.
    pub(crate) fn end_message(&mut self) {
        self.ends.push(self.bytes.len());
    }

    fn messages(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[*start..*end])
    }
}

/// A connection to one server.
pub(crate) struct Transport {
    address: Address,
    tls: Option<Tls>,
    patience: Patience,
    /// With the moment at which it was made.
    open: Option<(Open, Instant)>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

enum Open {
    Stream(Box<dyn Stream>),
    Udp(UdpSocket),
    Datagrams(UnixDatagram),
}

impl Transport {
    pub(crate) fn new(address: Address, tls: Option<Tls>, patience: Patience) -> Transport {
        Transport { address, tls, patience, open: None }
    }

    /// Sends all of it. After an error nothing is known of what arrived, and the next call connects anew.
    ///
    /// # Errors
    /// Whatever the network says; a server that takes or answers nothing for as long as it is waited for.
    pub(crate) async fn send(&mut self, batch: &Batch) -> io::Result<()> {
        let slow = |_| io::Error::from(io::ErrorKind::TimedOut);
        // One that the server has ended in the meantime is no reason to wait before the next.
        let mut last = self.open.take();
        if let Some((open, since)) = &mut last
            && (self.patience.connection.is_some_and(|most| since.elapsed() >= most) || !open.is_open().await)
        {
            last = None;
        }
        let (mut open, since) = match last {
            Some(open) => open,
            None => (tokio::time::timeout(CONNECT, self.connect()).await.map_err(slow)??, Instant::now()),
        };
        tokio::time::timeout(self.patience.write, open.send(batch)).await.map_err(slow)??;
        if let (Open::Stream(stream), Some(expected)) = (&mut open, &batch.answer) {
            let answer = await_answer(stream.as_mut(), expected);
            tokio::time::timeout(self.patience.answer, answer).await.map_err(slow)??;
        }
        self.open = Some((open, since));
        Ok(())
    }

    async fn connect(&self) -> io::Result<Open> {
        match &self.address {
            Address::Tcp { host, port, .. } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Ok(Open::Stream(match &self.tls {
                    None => Box::new(stream),
                    Some(tls) => Box::new(tls.wrap(host, stream).await?),
                }))
            }
            Address::Udp { host, port } => {
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for server in tokio::net::lookup_host((host.as_str(), *port)).await? {
                    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                    let socket = UdpSocket::bind(any).await?;
                    match socket.connect(server).await {
                        Ok(()) => return Ok(Open::Udp(socket)),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            Address::Unix { path, datagrams } => connect_unix(path, *datagrams).await,
        }
    }
}

/// A socket of this host: of datagrams, or where it is not, a stream.
async fn connect_unix(path: &Path, datagrams: bool) -> io::Result<Open> {
    let socket = UnixDatagram::unbound()?;
    match socket.connect(path) {
        Ok(()) => Ok(Open::Datagrams(socket)),
        Err(error) if !datagrams && error.raw_os_error() == Some(Errno::PROTOTYPE.raw_os_error()) => {
            Ok(Open::Stream(Box::new(UnixStream::connect(path).await?)))
        }
        Err(error) => Err(error),
    }
}

impl Open {
    /// Whether the server has not ended the connection: what is sent to one that has is lost without an error.
    async fn is_open(&mut self) -> bool {
        let Open::Stream(stream) = self else { return true };
        let mut unasked = [0; 256];
        loop {
            match tokio::time::timeout(Duration::ZERO, stream.read(&mut unasked)).await {
                Err(_) => return true,
                Ok(Ok(0) | Err(_)) => return false,
                // What it says unasked is not listened to.
                Ok(Ok(_)) => {}
            }
        }
    }

    async fn send(&mut self, batch: &Batch) -> io::Result<()> {
        match self {
            Open::Stream(stream) => {
                stream.write_all(&batch.bytes).await?;
                stream.flush().await
            }
            Open::Udp(socket) => {
                for message in batch.messages() {
                    fits(socket.send(message).await)?;
                }
                Ok(())
            }
            Open::Datagrams(socket) => {
                for message in batch.messages() {
                    fits(socket.send(message).await)?;
                }
                Ok(())
            }
        }
    }
}

/// Waits for one of the answers that mean that all has arrived.
async fn await_answer(stream: &mut dyn Stream, expected: &[Vec<u8>]) -> io::Result<()> {
    let mut answer = Vec::new();
    loop {
        let mut byte = [0; 64];
        match stream.read(&mut byte).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => answer.extend_from_slice(&byte[..count]),
        }
        if expected.contains(&answer) {
            return Ok(());
        }
        if !expected.iter().any(|whole| whole.starts_with(&answer)) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the server's acknowledgement is of something else",
            ));
        }
    }
}

/// A message that no datagram can hold would be tried for ever: it is left out, and said.
fn fits(sent: io::Result<usize>) -> io::Result<()> {
    match sent {
        Err(error) if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => {
            tracing::warn!("a line of a log is too long for a datagram, and was not sent");
            Ok(())
        }
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::net::TcpListener;

    use super::super::tls::TlsFiles;
    use super::*;

    fn batch(text: &str) -> Batch {
        Batch { bytes: text.as_bytes().to_vec(), ends: vec![text.len()], answer: None }
    }

    fn transport(listener: &TcpListener, tls: Option<Tls>) -> Transport {
        let port = listener.local_addr().unwrap().port();
        Transport::new(Address::Tcp { host: "127.0.0.1".into(), port, tls: tls.is_some() }, tls, Patience::default())
    }

    #[tokio::test]
    async fn a_server_that_has_closed_is_connected_anew() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut transport = transport(&listener, None);
        for text in ["one", "two"] {
            transport.send(&batch(text)).await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = [0; 3];
            stream.read_exact(&mut read).await.unwrap();
            assert_eq!(read, text.as_bytes());
            stream.shutdown().await.unwrap();
        }
        drop(listener);
        assert!(transport.send(&batch("three")).await.is_err());
    }

    #[tokio::test]
    async fn an_answer_is_waited_for_and_must_be_right() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut transport = transport(&listener, None);
        for (said, is_right) in [("ack", true), ("nak", false), ("", false)] {
            let asked = Batch { answer: Some(vec![b"ack".to_vec()]), ..batch("x") };
            let (sent, ()) = tokio::join!(transport.send(&asked), async {
                // After what is wrong the connection is a new one.
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.read_exact(&mut [0]).await.unwrap();
                stream.write_all(said.as_bytes()).await.unwrap();
            });
            assert_eq!(sent.is_ok(), is_right, "{said}");
        }
    }

    #[tokio::test]
    async fn over_tls_the_server_is_one_that_is_trusted() {
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../registry-client/tests/tls");
        let chain = CertificateDer::pem_file_iter(files.join("server.pem")).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(files.join("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(
            config.with_no_client_auth().with_single_cert(chain, key).unwrap(),
        ));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let with = |authority: &str, unverified| {
            Tls::read(&TlsFiles { authority: Some(files.join(authority)), client: None, unverified }).unwrap()
        };
        for (tls, is_trusted) in
            [(with("ca.pem", false), true), (with("ca2.pem", false), false), (with("ca2.pem", true), true)]
        {
            let mut transport = transport(&listener, Some(tls));
            let text = batch("over TLS");
            let (sent, received) = tokio::join!(transport.send(&text), async {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = acceptor.accept(stream).await.ok()?;
                let mut read = [0; 8];
                stream.read_exact(&mut read).await.ok()?;
                Some(read)
            });
            assert_eq!((sent.is_ok(), received.as_ref()), (is_trusted, is_trusted.then_some(b"over TLS")));
        }
        assert!(Tls::read(&TlsFiles { authority: Some(files.join("server.key")), ..TlsFiles::default() }).is_err());
    }
}
