// SPDX-License-Identifier: Apache-2.0
//! SOCKS5 (RFC 1928), with users and passwords (RFC 1929): a proxy that hands bytes on.
//!
//! No byte is read beyond the proxy's last answer: what follows is the registry's. The longest of the answers has 262
//! bytes; how long they may take is for the caller to limit.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::connector::Io;

/// The port of proxies whose address names none (RFC 1928, section 3).
pub(crate) const PORT: u16 = 1080;

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const NO_LOGIN: u8 = 0;
const PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: Vec<u8>,
    pub(crate) password: Vec<u8>,
}

/// What the proxy is to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// An address that was looked up here.
    Address(SocketAddr),
    /// A name that the proxy looks up, and a port.
    Name(String, u16),
}

/// Why a proxy makes no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocksError {
    #[error("the connection to it broke")]
    Broken(#[source] io::Error),
    #[error("it took too long")]
    Timeout,
    #[error("it does not speak SOCKS5")]
    Protocol,
    #[error("it wants a user name and a password")]
    LoginWanted,
    #[error("it accepts neither a password nor none")]
    NoMethod,
    #[error("it refuses the user name or the password")]
    LoginRefused,
    #[error("its user name must have 1 to 255 bytes, and its password 255 at the most")]
    LoginLength,
    #[error("a name of more than 255 bytes cannot be asked for")]
    NameLength,
    #[error("the registry's address cannot be looked up on this host")]
    Lookup(#[source] io::Error),
    #[error("it answers: {0}")]
    Refused(Refusal),
}

impl SocksError {
    /// Whether the same proxy may reach another address of the same host.
    pub(crate) fn is_about_the_address(&self) -> bool {
        matches!(self, SocksError::Refused(Refusal(3 | 4 | 5 | 8)))
    }
}

/// A proxy's refusal, by its code (RFC 1928, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal(u8);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 => "general failure",
            2 => "its rules do not allow it",
            3 => "network unreachable",
            4 => "host unreachable",
            5 => "connection refused",
            6 => "too many hops",
            7 => "it does not make connections",
            8 => "it does not know this kind of address",
            code => return write!(f, "code {code}, which has no meaning"),
        })
    }
}

/// Has the proxy at the other end of `stream` make a connection to `target`.
pub(crate) async fn open<S: Io>(mut stream: S, target: &Target, login: Option<&Login>) -> Result<S, SocksError> {
    let request = request(target)?;
    log_in(&mut stream, login).await?;
    send(&mut stream, &request).await?;
    let [version, code, _reserved, kind] = answer(&mut stream).await?;
    if version != VERSION {
        return Err(SocksError::Protocol);
    }
    if code != 0 {
        return Err(SocksError::Refused(Refusal(code)));
    }
    // The address that it connects from, which tells nothing here.
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(answer::<1>(&mut stream).await?[0]),
        _ => return Err(SocksError::Protocol),
    };
    let mut bound = vec![0; length + size_of::<u16>()];
    stream.read_exact(&mut bound).await.map_err(SocksError::Broken)?;
    Ok(stream)
}

/// Agrees on who asks.
async fn log_in<S: Io>(stream: &mut S, login: Option<&Login>) -> Result<(), SocksError> {
    let credentials = login.map(credentials).transpose()?;
    let greeting: &[u8] = match credentials {
        Some(_) => &[VERSION, 2, NO_LOGIN, PASSWORD],
        None => &[VERSION, 1, NO_LOGIN],
    };
    send(stream, greeting).await?;
    let [version, method] = answer(stream).await?;
    if version != VERSION {
        return Err(SocksError::Protocol);
    }
    match (method, credentials) {
        (NO_LOGIN, _) => Ok(()),
        (PASSWORD, Some(credentials)) => {
            send(stream, &credentials).await?;
            match answer(stream).await? {
                [LOGIN_VERSION, 0] => Ok(()),
                [LOGIN_VERSION, _] => Err(SocksError::LoginRefused),
                _ => Err(SocksError::Protocol),
            }
        }
        (NO_METHOD, None) => Err(SocksError::LoginWanted),
        (NO_METHOD, Some(_)) => Err(SocksError::NoMethod),
        // It was not offered.
        _ => Err(SocksError::Protocol),
    }
}

/// RFC 1929, section 2.
fn credentials(login: &Login) -> Result<Vec<u8>, SocksError> {
    let length = |part: &[u8]| u8::try_from(part.len()).map_err(|_| SocksError::LoginLength);
    if login.user.is_empty() {
        return Err(SocksError::LoginLength);
    }
    let mut text = vec![LOGIN_VERSION, length(&login.user)?];
    text.extend_from_slice(&login.user);
    text.push(length(&login.password)?);
    text.extend_from_slice(&login.password);
    Ok(text)
}

/// RFC 1928, section 4.
fn request(target: &Target) -> Result<Vec<u8>, SocksError> {
    let mut text = vec![VERSION, CONNECT, 0];
    let port = match target {
        Target::Address(address) => {
            match address.ip() {
                IpAddr::V4(ip) => {
                    text.push(IPV4);
                    text.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    text.push(IPV6);
                    text.extend_from_slice(&ip.octets());
                }
            }
            address.port()
        }
        Target::Name(name, port) => {
            let length = u8::try_from(name.len()).map_err(|_| SocksError::NameLength)?;
            text.extend_from_slice(&[NAME, length]);
            text.extend_from_slice(name.as_bytes());
            *port
        }
    };
    text.extend_from_slice(&port.to_be_bytes());
    Ok(text)
}

async fn send<S: Io>(stream: &mut S, bytes: &[u8]) -> Result<(), SocksError> {
    stream.write_all(bytes).await.map_err(SocksError::Broken)
}

async fn answer<const N: usize>(stream: &mut (impl Io + ?Sized)) -> Result<[u8; N], SocksError> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(SocksError::Broken)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[u8] = &[5, 0, 5, 0, 0, 1, 1, 2, 3, 4, 0, 80];

    fn name() -> Target {
        Target::Name("registry.example".to_owned(), 443)
    }

    fn login(user: &[u8], password: &[u8]) -> Option<Login> {
        Some(Login { user: user.to_vec(), password: password.to_vec() })
    }

    /// What becomes of a proxy that says `words` whatever it hears, and hangs up; what it heard; what is left to read.
    async fn told(words: &[u8], target: &Target, login: Option<Login>) -> (Result<Vec<u8>, SocksError>, Vec<u8>) {
        let (ours, mut theirs) = tokio::io::duplex(64 << 10);
        theirs.write_all(words).await.unwrap();
        theirs.shutdown().await.unwrap();
        let result = match open(ours, target, login.as_ref()).await {
            Ok(mut stream) => {
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await.unwrap();
                Ok(rest)
            }
            Err(error) => Err(error),
        };
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        (result, heard)
    }

    #[tokio::test]
    async fn what_is_said_is_what_the_rfcs_say_and_not_a_byte_more_is_read() {
        let words = [GOOD, b"registry's"].concat();
        let (result, heard) = told(&words, &name(), None).await;
        assert_eq!(result.unwrap(), b"registry's");
        assert_eq!(heard, [&[5, 1, 0, 5, 1, 0, 3, 16][..], b"registry.example", &[1, 187]].concat());
        // Any kind of address may stand in the answer, and an empty name, too.
        for bound in [&[4; 17][..], &[3, 0], &[3, 3, 1, 2, 3]] {
            let words = [&[5, 0, 5, 0, 0][..], bound, &[0, 80], b"rest"].concat();
            assert_eq!(told(&words, &name(), None).await.0.unwrap(), b"rest", "{bound:?}");
        }
        for (address, expected) in [
            ("10.1.2.3:5000", &[1, 10, 1, 2, 3, 19, 136][..]),
            ("[::1]:80", &[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80]),
        ] {
            let (result, heard) = told(GOOD, &Target::Address(address.parse().unwrap()), None).await;
            assert!(result.is_ok());
            assert_eq!(heard[3..], [&[5, 1, 0], expected].concat(), "{address}");
        }
    }

    #[tokio::test]
    async fn a_password_is_said_where_it_is_asked_for() {
        let words = [&[5, 2, 1, 0][..], &GOOD[2..]].concat();
        let (result, heard) = told(&words, &name(), login(b"me", b"secret")).await;
        assert!(result.is_ok());
        assert!(heard.starts_with(b"\x05\x02\x00\x02\x01\x02me\x06secret\x05\x01\x00\x03"), "{heard:?}");
        let (result, heard) = told(GOOD, &name(), login(b"me", b"secret")).await;
        assert!(result.is_ok() && !heard.windows(6).any(|window| window == b"secret"), "it is not asked for");
        for (user, password) in [(0, 1), (256, 1), (1, 256)] {
            let (result, heard) = told(GOOD, &name(), login(&vec![b'x'; user], &vec![b'x'; password])).await;
            assert!(matches!(result, Err(SocksError::LoginLength)) && heard.is_empty(), "{user} {password}");
        }
        let (result, heard) = told(GOOD, &Target::Name("x".repeat(256), 1), None).await;
        assert!(matches!(result, Err(SocksError::NameLength)) && heard.is_empty());
    }

    #[tokio::test]
    async fn no_answer_of_a_proxy_is_taken_for_another() {
        for (words, login, expected) in [
            (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], None, "does not speak SOCKS5"),
            (&[4, 0], None, "does not speak SOCKS5"),
            (&[5, 2], None, "does not speak SOCKS5"),
            (&[5, 1], login(b"a", b"b"), "does not speak SOCKS5"),
            (&[5, 255], None, "wants a user name"),
            (&[5, 255], login(b"a", b"b"), "neither a password nor none"),
            (&[5, 2, 1, 1], login(b"a", b"b"), "refuses the user name"),
            (&[5, 2, 5, 0], login(b"a", b"b"), "does not speak SOCKS5"),
            (&[5, 0, 4, 0, 0, 1], None, "does not speak SOCKS5"),
            (&[5, 0, 5, 0, 0, 2], None, "does not speak SOCKS5"),
            (&[5, 0, 5, 2, 0, 1], None, "rules do not allow"),
            (&[5, 0, 5, 200, 0, 1], None, "code 200"),
        ] {
            let error = told(words, &name(), login).await.0.unwrap_err();
            assert!(error.to_string().contains(expected), "{words:?}: {error}");
            assert!(!error.is_about_the_address());
        }
        for code in [3, 4, 5, 8] {
            assert!(told(&[5, 0, 5, code, 0, 1], &name(), None).await.0.unwrap_err().is_about_the_address());
        }
        // Wherever it hangs up.
        let whole = [&[5, 2, 1, 0, 5, 0, 0, 3, 2][..], b"xy", &[0, 80]].concat();
        for length in 0..whole.len() {
            let error = told(&whole[..length], &name(), login(b"a", b"b")).await.0.unwrap_err();
            assert!(matches!(error, SocksError::Broken(_)), "{length}: {error}");
        }
        assert!(told(&whole, &name(), login(b"a", b"b")).await.0.is_ok());
    }
}
