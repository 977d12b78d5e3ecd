// SPDX-License-Identifier: Apache-2.0
//! DNS messages, as much as is needed of them: a question is read, an answer with addresses or a name is written
//! (RFC 1035, and RFC 6891 for the size that the asker takes). All else passes through as it came.

use std::net::IpAddr;

const HEADER: usize = 12;
const FLAG_RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const FLAG_TRUNCATED: u16 = 0x0200;
/// "Recursion desired" and "checking disabled" are given back as they came.
const FLAGS_ECHOED: u16 = 0x0110;
const FLAG_RECURSION_AVAILABLE: u16 = 0x0080;
const RCODE: u16 = 0x000f;
const TYPE_OPT: u16 = 41;
/// The longest name, its dots and end included (RFC 1035, section 2.3.4).
const LONGEST_NAME: usize = 255;
/// What every asker takes by UDP (RFC 1035, section 4.2.1).
pub(crate) const SMALLEST_LIMIT: usize = 512;
/// What fits into frames everywhere.
const OUR_LIMIT: u16 = 1232;
/// Seconds that an answer may be kept. A container's address is another one's soon after its end.
const LIFETIME: u32 = 5;
/// "The name of the question" in an answer: a pointer behind the header.
const SAME_NAME: [u8; 2] = [0xc0, HEADER as u8];

/// Types of records (RFC 1035, section 3.2.2; RFC 3596).
pub(crate) mod kind {
    pub(crate) const A: u16 = 1;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const AAAA: u16 = 28;
}

/// The internet, the only class there is.
pub(crate) const CLASS_IN: u16 = 1;

/// What an answer says beside its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Code {
    NoError = 0,
    FormatError = 1,
    ServerFailure = 2,
    NotImplemented = 4,
}

/// A question, with the message it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question<'a> {
    pub(crate) message: &'a [u8],
    /// Where the question ends in it.
    end: usize,
    /// In small letters, without a dot at its end; `None` when its labels have other bytes than names of hosts may have.
    pub(crate) name: Option<String>,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    /// How long an answer by UDP may be.
    pub(crate) limit: usize,
    /// Whether it came with the record of RFC 6891, which then belongs into the answer as well.
    extended: bool,
}

/// Why there is no question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No question at all: nobody waits for an answer.
    Silently,
    /// What to answer.
    With(Vec<u8>),
}

/// One record of an answer; its name is the question's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    Address(IpAddr),
    /// A name, without a dot at its end.
    Name(String),
}

/// Reads a question.
pub(crate) fn question(message: &[u8]) -> Result<Question<'_>, Refused> {
    let mut reader = Reader { message, at: 2 };
    let (Some(flags), Some(questions)) = (reader.u16(), reader.u16()) else { return Err(Refused::Silently) };
    let counts = [reader.u16(), reader.u16(), reader.u16()];
    // An answer to an answer could go to and fro for ever.
    if flags & FLAG_RESPONSE != 0 || message.len() < HEADER {
        return Err(Refused::Silently);
    }
    if flags & OPCODE != 0 {
        return Err(Refused::With(without_question(message, Code::NotImplemented)));
    }
    let malformed = || Refused::With(without_question(message, Code::FormatError));
    if questions != 1 {
        return Err(malformed());
    }
    let name = reader.question_name().ok_or_else(malformed)?;
    let (Some(kind), Some(class)) = (reader.u16(), reader.u16()) else { return Err(malformed()) };
    let end = reader.at;
    let records = counts.into_iter().flatten().map(u32::from).sum();
    let size = reader.extended_size(records).ok_or_else(malformed)?;
    let limit = size.map_or(SMALLEST_LIMIT, |size| usize::from(size).max(SMALLEST_LIMIT));
    Ok(Question { message, end, name: name.text(), kind, class, limit, extended: size.is_some() })
}

impl Question<'_> {
    /// The question as its message has it.
    fn asked(&self) -> &[u8] {
        self.message.get(HEADER..self.end).unwrap_or_default()
    }

    /// An answer. What does not fit into `limit` bytes is left out, and the answer says so.
    pub(crate) fn answer(&self, code: Code, records: &[Record], limit: usize) -> Vec<u8> {
        let mut answer = header(self.message, code);
        answer.extend_from_slice(self.asked());
        let room = limit.saturating_sub(if self.extended { 11 } else { 0 });
        let mut written = 0u16;
        for record in records {
            let before = answer.len();
            record.write(&mut answer);
            if answer.len() > room || written == u16::MAX {
                answer.truncate(before);
                answer[2] |= FLAG_TRUNCATED.to_be_bytes()[0];
                break;
            }
            written += 1;
        }
        answer[4..6].copy_from_slice(&1u16.to_be_bytes());
        answer[6..8].copy_from_slice(&written.to_be_bytes());
        if self.extended {
            answer[10..12].copy_from_slice(&1u16.to_be_bytes());
            answer.push(0);
            answer.extend_from_slice(&TYPE_OPT.to_be_bytes());
            answer.extend_from_slice(&OUR_LIMIT.to_be_bytes());
            answer.extend_from_slice(&[0; 6]);
        }
        answer
    }

    /// Whether `reply` is the answer of an upstream server that was asked this under `number`.
    pub(crate) fn is_answered_by(&self, reply: &[u8], number: u16) -> bool {
        let header = reply.first_chunk::<HEADER>().is_some_and(|header| {
            header[..2] == number.to_be_bytes() && header[2] & 0x80 != 0 && header[4..6] == 1u16.to_be_bytes()
        });
        header && reply.get(HEADER..self.end).is_some_and(|asked| asked.eq_ignore_ascii_case(self.asked()))
    }
}

impl Record {
    fn write(&self, to: &mut Vec<u8>) {
        let (kind, data) = match self {
            Record::Address(IpAddr::V4(address)) => (kind::A, address.octets().to_vec()),
            Record::Address(IpAddr::V6(address)) => (kind::AAAA, address.octets().to_vec()),
            Record::Name(name) => (kind::PTR, labels(name)),
        };
        to.extend_from_slice(&SAME_NAME);
        to.extend_from_slice(&kind.to_be_bytes());
        to.extend_from_slice(&CLASS_IN.to_be_bytes());
        to.extend_from_slice(&LIFETIME.to_be_bytes());
        // A name has at most 255 bytes.
        to.extend_from_slice(&(data.len() as u16).to_be_bytes());
        to.extend_from_slice(&data);
    }
}

/// The number that a message is known by.
pub(crate) fn number(message: &[u8]) -> Option<u16> {
    message.first_chunk().copied().map(u16::from_be_bytes)
}

/// Gives a message another number.
pub(crate) fn renumber(message: &mut [u8], number: u16) {
    if let Some(place) = message.first_chunk_mut() {
        *place = number.to_be_bytes();
    }
}

/// Whether a server could not answer, so that another one should be asked: what is no answer and no "no such name".
pub(crate) fn is_failure(reply: &[u8]) -> bool {
    let flags = reply.get(2..4).and_then(|flags| flags.first_chunk().copied()).map(u16::from_be_bytes);
    !matches!(flags.map(|flags| flags & RCODE), Some(0 | 3))
}

/// Whether the sender had more to say than fitted.
pub(crate) fn is_truncated(reply: &[u8]) -> bool {
    reply.get(2).is_some_and(|flags| flags & FLAG_TRUNCATED.to_be_bytes()[0] != 0)
}

fn without_question(message: &[u8], code: Code) -> Vec<u8> {
    header(message, code)
}

/// The header of an answer that has nothing in it yet.
fn header(message: &[u8], code: Code) -> Vec<u8> {
    let mut header = vec![0; HEADER];
    let flags = message.get(2..4).and_then(|flags| flags.first_chunk().copied()).map_or(0, u16::from_be_bytes);
    let flags = FLAG_RESPONSE | flags & (OPCODE | FLAGS_ECHOED) | FLAG_RECURSION_AVAILABLE | code as u16;
    renumber(&mut header, number(message).unwrap_or_default());
    header[2..4].copy_from_slice(&flags.to_be_bytes());
    header
}

/// A name as messages have it. One that no message can have becomes the root's.
fn labels(name: &str) -> Vec<u8> {
    let mut written = Vec::with_capacity(name.len() + 2);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let Ok(length @ 1..=63) = u8::try_from(label.len()) else { return vec![0] };
        written.push(length);
        written.extend_from_slice(label.as_bytes());
    }
    written.push(0);
    if written.len() > LONGEST_NAME { vec![0] } else { written }
}

/// The bytes of a name, its dots not told from dots in its labels.
struct Labels(Vec<u8>, bool);

impl Labels {
    /// `None` when it cannot be the name of a host, or of anything that Docker names.
    fn text(self) -> Option<String> {
        let Labels(bytes, plain) = self;
        if plain { String::from_utf8(bytes).ok() } else { None }
    }
}

/// Reads a message from its beginning to its end; `None` where it ends too early.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let taken = self.message.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).and_then(|bytes| bytes.first().copied())
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).and_then(|bytes| bytes.first_chunk().copied()).map(u16::from_be_bytes)
    }

    /// A question's name stands first in its message: there is nothing that it could point to.
    fn question_name(&mut self) -> Option<Labels> {
        let start = self.at;
        let (mut name, mut plain) = (Vec::new(), true);
        loop {
            match self.u8()? {
                0 => break,
                length @ 1..=63 => {
                    if !name.is_empty() {
                        name.push(b'.');
                    }
                    let label = self.take(length.into())?;
                    plain &= label.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.');
                    name.extend(label.iter().map(u8::to_ascii_lowercase));
                }
                _ => return None,
            }
            if self.at - start > LONGEST_NAME {
                return None;
            }
        }
        Some(Labels(name, plain))
    }

    /// Passes over a name that may end in a pointer.
    fn skip_name(&mut self) -> Option<()> {
        loop {
            match self.u8()? {
                0 => return Some(()),
                length @ 1..=63 => drop(self.take(length.into())?),
                pointer if pointer & 0xc0 == 0xc0 => return self.u8().map(drop),
                _ => return None,
            }
        }
    }

    /// What the asker says it takes (RFC 6891, section 6.1.2), if it says so: `None` when the records end too early.
    fn extended_size(&mut self, records: u32) -> Option<Option<u16>> {
        let mut size = None;
        for _ in 0..records {
            self.skip_name()?;
            let (kind, class) = (self.u16()?, self.u16()?);
            self.take(4)?;
            let length = self.u16()?;
            self.take(length.into())?;
            if kind == TYPE_OPT {
                size = Some(class);
            }
        }
        Some(size)
    }
}

#[cfg(test)]
mod tests;
