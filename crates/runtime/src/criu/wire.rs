// SPDX-License-Identifier: Apache-2.0
//! The protocol buffers wire format, as much of it as CRIU's messages need
//! (<https://protobuf.dev/programming-guides/encoding/>). Pure: bytes in, values out; no input makes it panic.

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the message ends in the middle of a field")]
    Short,
    #[error("a number is longer than 64 bits")]
    LongNumber,
    #[error("field {number} has the wire type {wire}, which does not exist here")]
    UnknownType { number: u64, wire: u64 },
    #[error("field {number} has another type than the protocol gives it")]
    OtherType { number: u64 },
}

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

/// A message being written. Fields that are not set are left out, as the format wants it.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(crate) fn uint(&mut self, field: u64, value: u64) {
        self.number(field << 3 | VARINT);
        self.number(value);
    }

    /// Negative numbers are ten bytes long: they are extended to 64 bits first.
    pub(crate) fn int(&mut self, field: u64, value: i32) {
        self.uint(field, i64::from(value) as u64);
    }

    /// A switch, left out when it is off: off is what every switch of the protocol is by default.
    pub(crate) fn on(&mut self, field: u64, value: bool) {
        if value {
            self.uint(field, 1);
        }
    }

    pub(crate) fn bytes(&mut self, field: u64, value: &[u8]) {
        self.number(field << 3 | LENGTH);
        self.number(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub(crate) fn message(&mut self, field: u64, fill: impl FnOnce(&mut Writer)) {
        let mut inner = Writer::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }
}

/// The content of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a type that no field we read has.
    Other,
}

/// A field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) number: u64,
    value: Value<'a>,
}

impl<'a> Field<'a> {
    pub(crate) fn uint(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Number(value) => Ok(value),
            _ => Err(WireError::OtherType { number: self.number }),
        }
    }

    /// The low 32 bits, as every reader of an `int32` takes it.
    pub(crate) fn int(&self) -> Result<i32, WireError> {
        Ok(self.uint()? as i32)
    }

    pub(crate) fn switch(&self) -> Result<bool, WireError> {
        Ok(self.uint()? != 0)
    }

    pub(crate) fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::OtherType { number: self.number }),
        }
    }

    pub(crate) fn text(&self) -> Result<String, WireError> {
        Ok(String::from_utf8_lossy(self.bytes()?).into_owned())
    }
}

/// The fields of a message, in their order. After an error there is nothing more.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    fn number(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(WireError::Short)?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(WireError::LongNumber);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::LongNumber)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(length).map_err(|_| WireError::Short)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<Field<'a>, WireError> {
        let key = self.number()?;
        let number = key >> 3;
        let value = match key & 7 {
            VARINT => Value::Number(self.number()?),
            LENGTH => {
                let length = self.number()?;
                Value::Bytes(self.take(length)?)
            }
            FIXED64 => self.take(8).map(|_| Value::Other)?,
            FIXED32 => self.take(4).map(|_| Value::Other)?,
            wire => return Err(WireError::UnknownType { number, wire }),
        };
        Ok(Field { number, value })
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Field<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Field<'_>>, WireError> {
        Reader::new(bytes).collect()
    }

    #[test]
    fn numbers_texts_and_messages_are_written_as_the_format_says() {
        // The format's own examples: field 1 is 150; field 2 is "testing"; field 3 is a message whose field 1 is 150.
        let mut writer = Writer::default();
        writer.uint(1, 150);
        writer.bytes(2, b"testing");
        writer.message(3, |inner| inner.uint(1, 150));
        let expected = [&[0x08, 0x96, 0x01, 0x12, 0x07][..], b"testing", &[0x1a, 0x03, 0x08, 0x96, 0x01]].concat();
        assert_eq!(writer.finish(), expected);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.int(1, -2);
        writer.uint(400, u64::MAX);
        writer.on(2, true);
        writer.on(3, false);
        writer.bytes(4, b"");
        let bytes = writer.finish();
        let fields = read(&bytes).unwrap();
        assert_eq!(fields.iter().map(|field| field.number).collect::<Vec<_>>(), [1, 400, 2, 4]);
        assert_eq!((fields[0].int(), fields[1].uint()), (Ok(-2), Ok(u64::MAX)));
        assert_eq!((fields[2].switch(), fields[3].bytes()), (Ok(true), Ok(&b""[..])));
        assert_eq!(fields[3].int(), Err(WireError::OtherType { number: 4 }));
    }

    #[test]
    fn fields_of_other_types_are_passed_over() {
        let bytes = [0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x15, 1, 2, 3, 4, 0x18, 7];
        let fields = read(&bytes).unwrap();
        assert_eq!((fields.len(), fields[2].uint()), (3, Ok(7)));
        assert_eq!(fields[0].uint(), Err(WireError::OtherType { number: 1 }));
    }

    #[test]
    fn hostile_bytes_are_errors() {
        for (bytes, expected) in [
            (&[0x08][..], WireError::Short),
            (&[0x80], WireError::Short),
            (&[0x0a, 0x05, 1], WireError::Short),
            (&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], WireError::Short),
            (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], WireError::LongNumber),
            (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], WireError::LongNumber),
            (&[0x0b], WireError::UnknownType { number: 1, wire: 3 }),
            (&[0x0d, 1, 2], WireError::Short),
        ] {
            assert_eq!(read(bytes), Err(expected), "{bytes:x?}");
        }
    }

    #[test]
    fn no_short_message_panics() {
        for length in 0..=3_u32 {
            for number in 0..256_u32.pow(length) {
                let bytes = number.to_le_bytes();
                let mut reader = Reader::new(&bytes[..length as usize]);
                assert!(Iterator::take(reader.by_ref(), 8).count() <= 3, "{bytes:x?}");
                assert!(reader.next().is_none());
            }
        }
    }
}
