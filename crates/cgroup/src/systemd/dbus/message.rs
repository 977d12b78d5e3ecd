// SPDX-License-Identifier: Apache-2.0
//! Messages (D-Bus Specification, "Message Format"). Pure.

use super::value::{Decoder, Encoder, Malformed, Value};

/// The bytes before the header's fields: everything needed to know the message's length.
pub(super) const FIXED: usize = 16;

/// The largest message taken. The specification allows 128 MiB; what systemd says is a few hundred bytes.
const LARGEST: usize = 16 << 20;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A call.
    Call,
    /// The answer to a call.
    Return,
    /// The refusal of a call.
    Error,
    /// Something that happened.
    Signal,
}

impl Kind {
    const ALL: [(Kind, u8); 4] = [(Kind::Call, 1), (Kind::Return, 2), (Kind::Error, 3), (Kind::Signal, 4)];

    fn number(self) -> u8 {
        Kind::ALL.iter().find(|(kind, _)| *kind == self).map_or(0, |(_, number)| *number)
    }
}

/// A message. Fields that it does not have are empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Its number, the sender's choice; not 0.
    pub serial: u32,
    /// The number of the call that it answers; 0 for none.
    pub reply_serial: u32,
    /// The object.
    pub path: String,
    /// The interface.
    pub interface: String,
    /// The method or signal.
    pub member: String,
    /// The error's name.
    pub error_name: String,
    /// To whom.
    pub destination: String,
    /// From whom; filled in by the bus.
    pub sender: String,
    /// The arguments.
    pub body: Vec<Value>,
}

impl Message {
    /// An empty message of this kind.
    pub fn new(kind: Kind) -> Message {
        Message {
            kind,
            serial: 0,
            reply_serial: 0,
            path: String::new(),
            interface: String::new(),
            member: String::new(),
            error_name: String::new(),
            destination: String::new(),
            sender: String::new(),
            body: Vec::new(),
        }
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Encoder::default();
        self.body.iter().for_each(|value| body.value(value));
        let signature: String = self.body.iter().map(Value::signature).collect();
        let text = |code: u8, text: &str, value: fn(String) -> Value| {
            (!text.is_empty()).then(|| (code, value(text.to_owned())))
        };
        let fields = [
            text(1, &self.path, Value::Path),
            text(2, &self.interface, Value::Text),
            text(3, &self.member, Value::Text),
            text(4, &self.error_name, Value::Text),
            (self.reply_serial != 0).then_some((5, Value::Uint32(self.reply_serial))),
            text(6, &self.destination, Value::Text),
            text(7, &self.sender, Value::Text),
            text(8, &signature, Value::Signature),
        ];
        let field = |(code, value): (u8, Value)| Value::Struct(vec![Value::Byte(code), value.in_variant()]);
        let fields = Value::Array("(yv)".into(), fields.into_iter().flatten().map(field).collect());
        let mut message = Encoder::default();
        message.bytes.extend_from_slice(&[b'l', self.kind.number(), 0, 1]);
        // A body beyond 32 bits would be refused by the peer.
        message.value(&Value::Uint32(u32::try_from(body.bytes.len()).unwrap_or(u32::MAX)));
        message.value(&Value::Uint32(self.serial));
        message.value(&fields);
        message.align(8);
        message.bytes.extend_from_slice(&body.bytes);
        message.bytes
    }

    /// The whole length of the message that begins with these bytes.
    pub(super) fn length(fixed: &[u8; FIXED]) -> Result<usize, Malformed> {
        // Peers on one machine write its byte order, and those we run on are little-endian.
        if fixed[0] != b'l' || fixed[3] != 1 {
            return Err(Malformed("it is not little-endian D-Bus of version 1"));
        }
        let number = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]) as usize;
        let length = (FIXED + number(12)).next_multiple_of(8) + number(4);
        if length > LARGEST { Err(Malformed("it is too large")) } else { Ok(length) }
    }

    /// From bytes: exactly one message.
    pub fn decode(bytes: &[u8]) -> Result<Message, Malformed> {
        let fixed: &[u8; FIXED] = bytes.first_chunk().ok_or(Malformed("it ends within its header"))?;
        if Message::length(fixed)? != bytes.len() {
            return Err(Malformed("its length is not what its header says"));
        }
        let mut decoder = Decoder::new(bytes);
        let header = decoder.values("yyyyuua(yv)")?;
        decoder.align(8)?;
        let kind = Kind::ALL.iter().find(|(_, number)| *number == fixed[1]);
        let mut message = Message::new(kind.ok_or(Malformed("it is of no known kind"))?.0);
        let [_, _, _, _, Value::Uint32(body), Value::Uint32(serial), Value::Array(_, fields)] = header.as_slice()
        else {
            return Err(Malformed("its header is not one"));
        };
        message.serial = *serial;
        let mut signature = String::new();
        for field in fields {
            let Value::Struct(pair) = field else { continue };
            let [Value::Byte(code), Value::Variant(value)] = pair.as_slice() else { continue };
            message.field(*code, value, &mut signature)?;
        }
        let begin = bytes.len() - *body as usize;
        let mut decoder = Decoder::new(bytes.get(begin..).ok_or(Malformed("its body is longer than itself"))?);
        message.body = decoder.values(&signature)?;
        if !decoder.is_at_end() {
            return Err(Malformed("its body is longer than its signature"));
        }
        Ok(message)
    }

    /// Fields of other numbers are to be ignored.
    fn field(&mut self, code: u8, value: &Value, signature: &mut String) -> Result<(), Malformed> {
        let into = match code {
            1 => &mut self.path,
            2 => &mut self.interface,
            3 => &mut self.member,
            4 => &mut self.error_name,
            5 => match value {
                Value::Uint32(serial) => {
                    self.reply_serial = *serial;
                    return Ok(());
                }
                _ => return Err(Malformed("a header field has another type")),
            },
            6 => &mut self.destination,
            7 => &mut self.sender,
            8 => signature,
            _ => return Ok(()),
        };
        value.as_text().ok_or(Malformed("a header field has another type"))?.clone_into(into);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Message {
        Message {
            serial: 1,
            path: "/org/freedesktop/DBus".into(),
            interface: "org.freedesktop.DBus".into(),
            member: "Hello".into(),
            destination: "org.freedesktop.DBus".into(),
            ..Message::new(Kind::Call)
        }
    }

    /// Fields one after the other, each aligned to eight bytes.
    #[test]
    fn a_call_has_these_bytes() {
        let bytes = hello().encode();
        let expected = b"l\x01\0\x01\0\0\0\0\x01\0\0\0\x6d\0\0\0\
            \x01\x01o\0\x15\0\0\0/org/freedesktop/DBus\0\0\0\
            \x02\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0\
            \x03\x01s\0\x05\0\0\0Hello\0\0\0\
            \x06\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0";
        assert_eq!(bytes, expected);
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut message = hello();
        message.body = vec![Value::text("x"), Value::Array("u".into(), vec![Value::Uint32(1)])];
        let bytes = message.encode();
        assert_eq!(Message::decode(&bytes).unwrap(), message);
        for end in 0..bytes.len() {
            assert!(Message::decode(&bytes[..end]).is_err(), "{end}");
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 7, 255] {
                let mut changed = bytes.clone();
                changed[at] = value;
                // Whatever it says, it is an answer and no panic.
                drop(Message::decode(&changed));
            }
        }
    }
}
