// SPDX-License-Identifier: Apache-2.0
//! A netlink socket: send requests, wait for the verdict, read lists (netlink(7)).

use std::borrow::Cow;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink as protocols, sockopt};

use crate::decode::{Malformed, Message, array, attributes, messages};
use crate::encode::{Batch, Body, HEADER, NLM_F_ACK};
use crate::error::NetlinkError;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// An acknowledgement is short.
const ANSWER: usize = 8 << 10;
/// A list comes in datagrams of at most 32 KiB, or one message if that is longer, as that of a network card may be.
const LIST: usize = 256 << 10;
const LIST_ATTEMPTS: u32 = 8;
/// The kernel answers before `send` returns. This only bounds what cannot happen.
const PATIENCE: Duration = Duration::from_secs(10);
/// Enough for a transaction of some ten thousand map elements.
const SEND_BUFFER: usize = 8 << 20;

/// The part of the kernel that a socket speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes: rtnetlink(7).
    Route,
    /// nf_tables and connection tracking.
    Netfilter,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Protocol::Route => "links, addresses and routes",
            Protocol::Netfilter => "the packet filter",
        }
    }
}

/// A connection to the kernel. It belongs for good to the network namespace of the thread that opened it, and keeps that
/// namespace alive.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(protocol: Protocol) -> Result<Socket, NetlinkError> {
        let failed = |errno: Errno| NetlinkError::Open { protocol: protocol.name(), source: errno.into() };
        let number = match protocol {
            Protocol::Route => None,
            Protocol::Netfilter => Some(protocols::NETFILTER),
        };
        let descriptor =
            net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, number).map_err(failed)?;
        sys::netlink::extended_acknowledgements(&descriptor).map_err(NetlinkError::Option)?;
        sockopt::set_socket_timeout(&descriptor, sockopt::Timeout::Recv, Some(PATIENCE)).map_err(failed)?;
        if protocol == Protocol::Netfilter {
            // A transaction is one datagram. Without CAP_NET_ADMIN the default has to do, and the request itself will
            // be refused with a better message than this one.
            match sockopt::set_socket_send_buffer_size_force(&descriptor, SEND_BUFFER) {
                Ok(()) | Err(Errno::PERM) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        net::bind(&descriptor, &protocols::SocketAddrNetlink::new(0, 0)).map_err(failed)?;
        Ok(Socket { descriptor, sequence: 1 })
    }

    /// Sends all requests at once and returns when the kernel has carried them out.
    ///
    /// # Errors
    /// The first refusal. Outside a transaction the requests before it have been carried out, and those after it may.
    pub fn execute(&mut self, batch: &mut Batch) -> Result<(), NetlinkError> {
        let Some(last) = batch.last else { return Ok(()) };
        if let Some(index) = batch.oversized {
            return Err(NetlinkError::Oversized { what: batch.requests[index].what.to_string() });
        }
        let first = self.reserve(batch.requests.len());
        batch.number(first);
        let what = |index: usize| batch.requests[index].what.to_string();
        self.send(batch.bytes(), || what(last))?;
        let mut buffer = [0; ANSWER];
        loop {
            let datagram = self
                .receive(&mut buffer, RecvFlags::empty())
                .map_err(|source| NetlinkError::Receive { what: what(last), source })?;
            for message in messages(datagram) {
                let message = message.map_err(|source| NetlinkError::Malformed { what: what(last), source })?;
                let index = message.sequence.wrapping_sub(first) as usize;
                if message.kind != NLMSG_ERROR || index >= batch.requests.len() {
                    continue;
                }
                let verdict =
                    Verdict::read(&message).map_err(|source| NetlinkError::Malformed { what: what(index), source })?;
                if let Some(refused) = verdict.into_error(|| what(index)) {
                    self.drain();
                    return Err(refused);
                }
                if index == last {
                    return Ok(());
                }
            }
        }
    }

    /// Asks for one thing and reads what is answered; `None` if nothing is.
    pub fn get<T>(
        &mut self,
        kind: u16,
        what: impl Into<Cow<'static, str>>,
        body: impl Fn(&mut Body<'_>),
        read: impl Fn(&Message<'_>) -> Result<Option<T>, Malformed>,
    ) -> Result<Option<T>, NetlinkError> {
        let what = what.into();
        let found = self.collect(kind, NLM_F_ACK, &what, &body, &read)?;
        Ok(found.into_iter().flatten().next())
    }

    /// Asks for a list; starts anew when it changed while being read.
    pub fn dump<T>(
        &mut self,
        kind: u16,
        what: impl Into<Cow<'static, str>>,
        body: impl Fn(&mut Body<'_>),
        read: impl Fn(&Message<'_>) -> Result<Option<T>, Malformed>,
    ) -> Result<Vec<T>, NetlinkError> {
        let what = what.into();
        for _ in 0..LIST_ATTEMPTS {
            if let Some(list) = self.collect(kind, NLM_F_DUMP, &what, &body, &read)? {
                return Ok(list);
            }
        }
        Err(NetlinkError::Unsteady { what: what.into_owned(), attempts: LIST_ATTEMPTS })
    }

    /// One attempt at a list: `None` if it is not consistent.
    fn collect<T>(
        &mut self,
        kind: u16,
        flags: u16,
        what: &str,
        body: &impl Fn(&mut Body<'_>),
        read: &impl Fn(&Message<'_>) -> Result<Option<T>, Malformed>,
    ) -> Result<Option<Vec<T>>, NetlinkError> {
        let mut batch = Batch::new();
        batch.push_frame(kind, flags, what.to_owned(), body);
        let sequence = self.reserve(1);
        batch.number(sequence);
        self.send(batch.bytes(), || what.to_string())?;
        let malformed = |source| NetlinkError::Malformed { what: what.to_string(), source };
        let mut found = Vec::new();
        let mut steady = true;
        let mut buffer = vec![0; LIST];
        loop {
            let datagram = match self.receive(&mut buffer, RecvFlags::empty()) {
                Ok(datagram) => datagram,
                // The list outran us and part of it is lost.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NOBUFS) => {
                    self.drain();
                    return Ok(None);
                }
                Err(source) => return Err(NetlinkError::Receive { what: what.to_string(), source }),
            };
            for message in messages(datagram) {
                let message = message.map_err(malformed)?;
                if message.sequence != sequence {
                    continue;
                }
                steady &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.kind {
                    NLMSG_ERROR | NLMSG_DONE => {
                        // The end of an old kernel's list carries no code.
                        if message.kind == NLMSG_ERROR || !message.payload.is_empty() {
                            let verdict = Verdict::read(&message).map_err(malformed)?;
                            if let Some(refused) = verdict.into_error(|| what.to_string()) {
                                return Err(refused);
                            }
                        }
                        return Ok(steady.then_some(found));
                    }
                    _ => found.extend(read(&message).map_err(malformed)?),
                }
            }
        }
    }

    fn reserve(&mut self, count: usize) -> u32 {
        let first = self.sequence;
        self.sequence = first.wrapping_add(count as u32);
        first
    }

    fn send(&self, bytes: &[u8], what: impl Fn() -> String) -> Result<(), NetlinkError> {
        let sent = rustix::io::retry_on_intr(|| net::send(&self.descriptor, bytes, SendFlags::empty()));
        sent.map(|_| ()).map_err(|errno| NetlinkError::Send { what: what(), source: errno.into() })
    }

    fn receive<'b>(&self, buffer: &'b mut [u8], flags: RecvFlags) -> io::Result<&'b [u8]> {
        // With MSG_TRUNC the length is the datagram's own, also when the buffer was too small for it.
        let (_, length) =
            rustix::io::retry_on_intr(|| net::recv(&self.descriptor, &mut *buffer, flags | RecvFlags::TRUNC))?;
        buffer.get(..length).ok_or_else(|| Errno::MSGSIZE.into())
    }

    /// Reads away what is left of an answer, so that the next request is not taken aback by it.
    fn drain(&self) {
        let mut buffer = [0; ANSWER];
        while net::recv(&self.descriptor, &mut buffer[..], RecvFlags::DONTWAIT).is_ok() {}
    }
}

/// What `NLMSG_ERROR` or `NLMSG_DONE` says.
struct Verdict {
    code: i32,
    detail: Option<String>,
}

impl Verdict {
    fn read(message: &Message<'_>) -> Result<Verdict, Malformed> {
        let code = i32::from_ne_bytes(array(message.payload)?);
        let mut verdict = Verdict { code, detail: None };
        if code == 0 || message.flags & NLM_F_ACK_TLVS == 0 {
            return Ok(verdict);
        }
        // The code; in an error also the request's header, and its body unless that was left out; then attributes.
        let mut skip = 4;
        if message.kind == NLMSG_ERROR {
            let echoed = u32::from_ne_bytes(array(message.payload.get(4..).unwrap_or_default())?) as usize;
            skip += if message.flags & NLM_F_CAPPED != 0 { HEADER } else { echoed.max(HEADER).next_multiple_of(4) };
        }
        for attribute in attributes(message.payload.get(skip..).unwrap_or_default()) {
            let attribute = attribute?;
            if attribute.kind == NLMSGERR_ATTR_MSG {
                verdict.detail = Some(attribute.text());
            }
        }
        Ok(verdict)
    }

    fn into_error(self, what: impl Fn() -> String) -> Option<NetlinkError> {
        (self.code != 0).then(|| NetlinkError::Refused {
            what: what(),
            detail: self.detail,
            source: io::Error::from_raw_os_error(self.code.wrapping_neg()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_refusal_carries_the_kernels_words() {
        let mut payload = (-17i32).to_ne_bytes().to_vec();
        payload.extend_from_slice(&[0; HEADER]);
        payload.extend_from_slice(&[8, 0, 1, 0]);
        payload.extend_from_slice(b"No!\0");
        let flags = NLM_F_ACK_TLVS | NLM_F_CAPPED;
        let verdict = Verdict::read(&Message { kind: NLMSG_ERROR, flags, sequence: 1, payload: &payload }).unwrap();
        let error = verdict.into_error(|| "make it so".to_owned()).unwrap();
        assert_eq!(errors::chain(&error), "cannot make it so (kernel: No!): File exists (os error 17)");
        assert_eq!(error.refusal(), Some(Errno::EXIST));
    }

    #[test]
    fn the_kernel_answers_a_list_and_refuses_by_name() {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        // RTM_GETLINK of a link that does not exist.
        let answer = socket.get(
            18,
            "look at the link nowhere",
            |body| {
                body.fixed(&[0; 16]);
                body.string(3, "nowhere");
            },
            |_| Ok(Some(())),
        );
        let error = answer.unwrap_err();
        assert_eq!(error.refusal(), Some(Errno::NODEV));
        assert!(error.to_string().starts_with("cannot look at the link nowhere"), "{error}");
        let links = socket.dump(18, "list the links", |body| body.fixed(&[0; 16]), |m| Ok(Some(m.kind))).unwrap();
        assert!(!links.is_empty() && links.iter().all(|&kind| kind == 16), "{links:?}");
    }

    proptest! {
        #[test]
        fn no_verdict_makes_the_reader_panic(
            payload in proptest::collection::vec(any::<u8>(), 0..80), flags in any::<u16>(), kind in 2u16..4,
        ) {
            if let Ok(verdict) = Verdict::read(&Message { kind, flags, sequence: 0, payload: &payload }) {
                let _ = verdict.into_error(String::new).map(|error| error.to_string());
            }
        }
    }
}
