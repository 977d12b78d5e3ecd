// SPDX-License-Identifier: Apache-2.0
//! A connection: to a message bus, or straight to a peer such as systemd's private socket.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::message::FIXED;
use super::{Kind, Malformed, Message, Value};

/// How long an answer may take. systemd answers in milliseconds, unless it is busy starting a machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many signals are kept that nobody has asked for yet.
const KEPT: usize = 1024;

const DRIVER: &str = "org.freedesktop.DBus";

/// A unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// In the file system.
    Path(PathBuf),
    /// In the abstract namespace.
    Abstract(Vec<u8>),
}

impl Address {
    /// The unix sockets of a server address (D-Bus Specification, "Server Addresses"):
    /// `unix:path=/run/bus,guid=…;unix:abstract=…`. Others are left out.
    pub fn parse(text: &str) -> Vec<Address> {
        let one = |entry: &str| {
            let pairs = entry.strip_prefix("unix:")?.split(',');
            pairs.filter_map(|pair| pair.split_once('=')).find_map(|(key, value)| match key {
                "path" => Some(Address::Path(PathBuf::from(std::ffi::OsStr::from_bytes(&unescape(value)?)))),
                "abstract" => Some(Address::Abstract(unescape(value)?)),
                _ => None,
            })
        };
        text.split(';').filter_map(one).collect()
    }

    fn connect(&self) -> io::Result<UnixStream> {
        match self {
            Address::Path(path) => UnixStream::connect(path),
            Address::Abstract(name) => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?),
        }
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Address {
        Address::Path(path.to_owned())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Path(path) => write!(f, "{}", path.display()),
            Address::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
        }
    }
}

/// `%2f` is a byte.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    Some(bytes)
}

/// What can go wrong on a connection.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The socket cannot be used.
    #[error("{action} {address}")]
    Socket {
        /// `connect to`, `write to`, `read from`.
        action: &'static str,
        /// The socket.
        address: Address,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The peer does not let us in.
    #[error("{address} does not accept us: it says {said:?}")]
    Rejected {
        /// The socket.
        address: Address,
        /// Its answer.
        said: String,
    },
    /// What came is no message.
    #[error("a message from {address} is malformed")]
    Malformed {
        /// The socket.
        address: Address,
        /// What is wrong with it.
        #[source]
        source: Malformed,
    },
    /// A call was refused.
    #[error("{method}: {message} ({name})")]
    Refused {
        /// The method.
        method: String,
        /// The error's name, such as `org.freedesktop.systemd1.NoSuchUnit`.
        name: String,
        /// What the peer says about it.
        message: String,
    },
    /// No answer came in time.
    #[error("{address} did not answer {what} within {seconds} s")]
    Silent {
        /// The socket.
        address: Address,
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
}

/// A connection. One call at a time; signals that come meanwhile are kept.
#[derive(Debug)]
pub struct Bus {
    stream: UnixStream,
    address: Address,
    serial: u32,
    signals: VecDeque<Message>,
    /// Our name on the bus; empty on a connection straight to a peer.
    name: String,
}

impl Bus {
    /// Connects to a message bus.
    ///
    /// # Errors
    /// When nobody listens there, or we are not let in.
    pub fn connect(address: &Address) -> Result<Bus, BusError> {
        let mut bus = Bus::connect_to_peer(address)?;
        let answer = bus.call(DRIVER, "/org/freedesktop/DBus", DRIVER, "Hello", Vec::new())?;
        bus.name = answer.first().and_then(Value::as_text).unwrap_or_default().to_owned();
        Ok(bus)
    }

    /// Connects to a peer without a bus between.
    ///
    /// # Errors
    /// As for [`Bus::connect`].
    pub fn connect_to_peer(address: &Address) -> Result<Bus, BusError> {
        let failed = |source| BusError::Socket { action: "connect to", address: address.clone(), source };
        let stream = address.connect().map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        let mut bus =
            Bus { stream, address: address.clone(), serial: 0, signals: VecDeque::new(), name: String::new() };
        bus.authenticate()?;
        Ok(bus)
    }

    /// The other side's view of an accepted connection, after its authentication: for peers without a bus between.
    pub fn accepted(stream: UnixStream, address: Address) -> Bus {
        Bus { stream, address, serial: 0, signals: VecDeque::new(), name: String::new() }
    }

    /// Our name on the bus; empty on a connection straight to a peer.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SASL's EXTERNAL (D-Bus Specification, "Authentication Protocol"): the kernel tells the peer who we are. No user id
    /// is claimed: inside a user namespace we know another number for ourselves than the peer does.
    fn authenticate(&mut self) -> Result<(), BusError> {
        self.write(b"\0AUTH EXTERNAL\r\n")?;
        let mut said = self.read_line()?;
        if said == "DATA" || said.starts_with("DATA ") {
            self.write(b"DATA\r\n")?;
            said = self.read_line()?;
        }
        if !said.starts_with("OK ") {
            return Err(BusError::Rejected { address: self.address.clone(), said });
        }
        self.write(b"BEGIN\r\n")
    }

    /// Byte by byte: what follows the line is not ours to take.
    fn read_line(&mut self) -> Result<String, BusError> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") && line.len() < 1024 {
            let mut byte = [0];
            self.read(&mut byte, "authentication")?;
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BusError> {
        let address = self.address.clone();
        self.stream.write_all(bytes).map_err(|source| BusError::Socket { action: "write to", address, source })
    }

    fn read(&mut self, bytes: &mut [u8], what: &str) -> Result<(), BusError> {
        let address = self.address.clone();
        self.stream.read_exact(bytes).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                BusError::Silent { address, what: what.to_owned(), seconds: PATIENCE.as_secs() }
            }
            _ => BusError::Socket { action: "read from", address, source },
        })
    }

    /// Sends a message; its number, which is chosen here.
    ///
    /// # Errors
    /// When the socket does not take it.
    pub fn send(&mut self, mut message: Message) -> Result<u32, BusError> {
        self.serial = self.serial.wrapping_add(1).max(1);
        message.serial = self.serial;
        self.write(&message.encode())?;
        Ok(self.serial)
    }

    /// Waits for the next message; `what` is for the error when none comes.
    ///
    /// # Errors
    /// When none comes in time, or something else than a message.
    pub fn receive(&mut self, what: &str) -> Result<Message, BusError> {
        let mut fixed = [0; FIXED];
        self.read(&mut fixed, what)?;
        let malformed = |address: &Address, source| BusError::Malformed { address: address.clone(), source };
        let length = Message::length(&fixed).map_err(|source| malformed(&self.address, source))?;
        let mut bytes = fixed.to_vec();
        bytes.resize(length.max(FIXED), 0);
        self.read(&mut bytes[FIXED..], what)?;
        Message::decode(&bytes).map_err(|source| malformed(&self.address, source))
    }

    /// Calls a method and waits for its answer.
    ///
    /// # Errors
    /// [`BusError::Refused`] when the peer answers with an error.
    pub fn call(
        &mut self,
        destination: &str,
        path: &str,
        interface: &str,
        member: &str,
        body: Vec<Value>,
    ) -> Result<Vec<Value>, BusError> {
        let call = Message {
            path: path.to_owned(),
            interface: interface.to_owned(),
            member: member.to_owned(),
            destination: destination.to_owned(),
            body,
            ..Message::new(Kind::Call)
        };
        let serial = self.send(call)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = self.receive(member)?;
            match message.kind {
                Kind::Return if message.reply_serial == serial => return Ok(message.body),
                Kind::Error if message.reply_serial == serial => {
                    let said = message.body.first().and_then(Value::as_text).unwrap_or_default().to_owned();
                    return Err(BusError::Refused {
                        method: member.to_owned(),
                        name: message.error_name,
                        message: said,
                    });
                }
                // A job may end before the call that began it is answered.
                Kind::Signal if self.signals.len() < KEPT => self.signals.push_back(message),
                _ => {}
            }
            if Instant::now() > deadline {
                return Err(self.silent(member));
            }
        }
    }

    /// Asks the bus to pass on signals that `rule` matches; straight to a peer, all come unasked.
    ///
    /// # Errors
    /// When the bus refuses.
    pub fn add_match(&mut self, rule: &str) -> Result<(), BusError> {
        if !self.name.is_empty() {
            self.call(DRIVER, "/org/freedesktop/DBus", DRIVER, "AddMatch", vec![Value::text(rule)])?;
        }
        Ok(())
    }

    /// Waits for a signal; `what` is for the error when none comes.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn wait_for(&mut self, what: &str, mut wanted: impl FnMut(&Message) -> bool) -> Result<Message, BusError> {
        while let Some(kept) = self.signals.pop_front() {
            if wanted(&kept) {
                return Ok(kept);
            }
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = self.receive(what)?;
            if message.kind == Kind::Signal && wanted(&message) {
                return Ok(message);
            }
            if Instant::now() > deadline {
                return Err(self.silent(what));
            }
        }
    }

    fn silent(&self, what: &str) -> BusError {
        BusError::Silent { address: self.address.clone(), what: what.to_owned(), seconds: PATIENCE.as_secs() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let parsed =
            Address::parse("tcp:host=x;unix:path=/run/a%20b,guid=1;unix:abstract=/tmp/x;unix:path=%zz;unix:dir=/");
        assert_eq!(parsed, [Address::Path("/run/a b".into()), Address::Abstract(b"/tmp/x".to_vec())]);
        assert_eq!(parsed[1].to_string(), "@/tmp/x");
    }
}
