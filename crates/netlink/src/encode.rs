// SPDX-License-Identifier: Apache-2.0
//! Requests as bytes: headers, attributes, nested attributes (netlink(7), linux/netlink.h).

use std::borrow::Cow;

pub(crate) const HEADER: usize = 16;
pub(crate) const NLM_F_REQUEST: u16 = 0x1;
pub(crate) const NLM_F_ACK: u16 = 0x4;
const NLA_F_NESTED: u16 = 0x8000;

/// Several requests that go to the kernel in one send. Each says in words what it is for, so that a refusal can be
/// told in those words: an infinitive, as in "create the bridge corten0".
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) requests: Vec<Request>,
    /// The request whose acknowledgement ends the wait.
    pub(crate) last: Option<usize>,
    /// The first request with a part longer than its length field can say.
    pub(crate) oversized: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) offset: usize,
    pub(crate) what: Cow<'static, str>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds a request of the message type `kind`, for the purpose `what`.
    pub fn push(
        &mut self,
        kind: u16,
        flags: u16,
        what: impl Into<Cow<'static, str>>,
        body: impl FnOnce(&mut Body<'_>),
    ) {
        self.last = Some(self.requests.len());
        self.push_frame(kind, flags, what, body);
    }

    /// Adds a message that the kernel never acknowledges: the brackets around a transaction.
    pub fn push_frame(
        &mut self,
        kind: u16,
        flags: u16,
        what: impl Into<Cow<'static, str>>,
        body: impl FnOnce(&mut Body<'_>),
    ) {
        let offset = self.bytes.len();
        let index = self.requests.len();
        self.requests.push(Request { offset, what: what.into() });
        self.bytes.extend_from_slice(&[0; HEADER]);
        let mut oversized = false;
        body(&mut Body { bytes: &mut self.bytes, oversized: &mut oversized });
        let length = self.bytes.len() - offset;
        match u32::try_from(length) {
            Ok(length) => self.bytes[offset..offset + 4].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => oversized = true,
        }
        self.bytes[offset + 4..offset + 6].copy_from_slice(&kind.to_ne_bytes());
        self.bytes[offset + 6..offset + 8].copy_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        if oversized && self.oversized.is_none() {
            self.oversized = Some(index);
        }
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// The messages as they go to the kernel; sequence numbers are set by [`crate::Socket::execute`].
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Numbers the requests from `first` on, and asks for one acknowledgement: of the last. (A refusal of any other is
    /// reported unasked.)
    pub(crate) fn number(&mut self, first: u32) {
        let mut sequence = first;
        for (index, request) in self.requests.iter().enumerate() {
            let header = &mut self.bytes[request.offset..request.offset + HEADER];
            if Some(index) == self.last {
                let flags = u16::from_ne_bytes([header[6], header[7]]) | NLM_F_ACK;
                header[6..8].copy_from_slice(&flags.to_ne_bytes());
            }
            header[8..12].copy_from_slice(&sequence.to_ne_bytes());
            sequence = sequence.wrapping_add(1);
        }
    }
}

/// What stands after a message's header, while it is being written.
#[derive(Debug)]
pub struct Body<'a> {
    bytes: &'a mut Vec<u8>,
    oversized: &'a mut bool,
}

impl Body<'_> {
    /// The fixed part that some message types begin with.
    pub fn fixed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.pad();
    }

    /// An attribute with these bytes.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        let start = self.open(kind);
        self.bytes.extend_from_slice(value);
        self.close(start);
    }

    /// A string with its final NUL.
    pub fn string(&mut self, kind: u16, value: &str) {
        let start = self.open(kind);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.close(start);
    }

    /// A number of one byte.
    pub fn u8(&mut self, kind: u16, value: u8) {
        self.bytes(kind, &[value]);
    }

    /// A number in this machine's byte order, as rtnetlink has them.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// A number in network byte order, as nf_tables has them.
    pub fn u32_be(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// An attribute made of attributes.
    pub fn nested(&mut self, kind: u16, inner: impl FnOnce(&mut Body<'_>)) {
        let start = self.open(kind | NLA_F_NESTED);
        inner(&mut Body { bytes: self.bytes, oversized: self.oversized });
        self.close(start);
    }

    /// An attribute made of attributes that are encoded already: given back to the kernel as it gave them.
    pub fn raw_nested(&mut self, kind: u16, attributes: &[u8]) {
        self.bytes(kind | NLA_F_NESTED, attributes);
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        match u16::try_from(self.bytes.len() - start) {
            Ok(length) => self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => *self.oversized = true,
        }
        self.pad();
    }

    /// Everything begins at a multiple of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_laid_out_as_the_kernel_reads_it() {
        let mut batch = Batch::new();
        batch.push(0x10, 0x400, "test", |body| {
            body.fixed(&[7; 6]);
            body.string(3, "lo");
            body.nested(18, |inner| inner.u8(1, 9));
        });
        batch.number(0x01020304);
        let mut expected = Vec::new();
        expected.extend_from_slice(&44u32.to_ne_bytes());
        expected.extend_from_slice(&0x10u16.to_ne_bytes());
        expected.extend_from_slice(&(0x400u16 | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        expected.extend_from_slice(&0x01020304u32.to_ne_bytes());
        expected.extend_from_slice(&0u32.to_ne_bytes());
        expected.extend_from_slice(&[7, 7, 7, 7, 7, 7, 0, 0]);
        expected.extend_from_slice(&7u16.to_ne_bytes());
        expected.extend_from_slice(&3u16.to_ne_bytes());
        expected.extend_from_slice(b"lo\0\0");
        expected.extend_from_slice(&12u16.to_ne_bytes());
        expected.extend_from_slice(&(18u16 | NLA_F_NESTED).to_ne_bytes());
        expected.extend_from_slice(&5u16.to_ne_bytes());
        expected.extend_from_slice(&1u16.to_ne_bytes());
        expected.extend_from_slice(&[9, 0, 0, 0]);
        assert_eq!(batch.bytes(), expected);
    }

    #[test]
    fn only_the_last_request_asks_for_an_answer() {
        let mut batch = Batch::new();
        batch.push(1, 0, "first", |_| {});
        batch.push(2, 0, "second", |_| {});
        batch.push_frame(3, 0, "end", |_| {});
        batch.number(u32::MAX);
        let flags: Vec<u16> =
            (0..3).map(|i| u16::from_ne_bytes([batch.bytes[i * 16 + 6], batch.bytes[i * 16 + 7]])).collect();
        assert_eq!(flags, [NLM_F_REQUEST, NLM_F_REQUEST | NLM_F_ACK, NLM_F_REQUEST]);
        let sequences: Vec<u8> = (0..3).map(|i| batch.bytes[i * 16 + 8]).collect();
        assert_eq!(sequences, [0xff, 0, 1], "sequence numbers wrap");
    }

    #[test]
    fn a_part_that_is_too_long_is_noticed_and_not_cut() {
        let mut batch = Batch::new();
        batch.push(1, 0, "fits", |body| body.bytes(1, &[0; 65531]));
        assert_eq!(batch.oversized, None);
        batch.push(1, 0, "does not", |body| body.nested(2, |inner| inner.bytes(1, &[0; 65532])));
        assert_eq!(batch.oversized, Some(1));
    }
}
