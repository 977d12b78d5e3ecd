// SPDX-License-Identifier: Apache-2.0
//! Values and how they are written (D-Bus Specification, "Type System" and "Marshaling"): little-endian, each aligned to
//! its type's boundary counted from the start of the message.

/// How deep arrays, structures and variants may be nested: twice the specification's 32.
const DEEPEST: usize = 64;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `y`
    Byte(u8),
    /// `b`
    Bool(bool),
    /// `n`
    Int16(i16),
    /// `q`
    Uint16(u16),
    /// `i`
    Int32(i32),
    /// `u`
    Uint32(u32),
    /// `x`
    Int64(i64),
    /// `t`
    Uint64(u64),
    /// `d`
    Double(f64),
    /// `s`
    Text(String),
    /// `o`
    Path(String),
    /// `g`
    Signature(String),
    /// `a`, with the signature of its elements, which an empty one has too.
    Array(String, Vec<Value>),
    /// `(…)`
    Struct(Vec<Value>),
    /// `{…}`, an element of an array only.
    Entry(Box<(Value, Value)>),
    /// `v`
    Variant(Box<Value>),
}

/// Bytes that are no message, or no value of their signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(crate) &'static str);

impl Value {
    /// A text.
    pub fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    /// A value in a variant.
    #[must_use]
    pub fn in_variant(self) -> Value {
        Value::Variant(Box::new(self))
    }

    /// The text of a text, path or signature.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) | Value::Path(text) | Value::Signature(text) => Some(text),
            Value::Variant(value) => value.as_text(),
            _ => None,
        }
    }

    /// The value's type.
    pub fn signature(&self) -> String {
        let inner = |values: &[Value]| values.iter().map(Value::signature).collect::<String>();
        match self {
            Value::Byte(_) => "y".into(),
            Value::Bool(_) => "b".into(),
            Value::Int16(_) => "n".into(),
            Value::Uint16(_) => "q".into(),
            Value::Int32(_) => "i".into(),
            Value::Uint32(_) => "u".into(),
            Value::Int64(_) => "x".into(),
            Value::Uint64(_) => "t".into(),
            Value::Double(_) => "d".into(),
            Value::Text(_) => "s".into(),
            Value::Path(_) => "o".into(),
            Value::Signature(_) => "g".into(),
            Value::Array(element, _) => format!("a{element}"),
            Value::Struct(fields) => format!("({})", inner(fields)),
            Value::Entry(entry) => format!("{{{}{}}}", entry.0.signature(), entry.1.signature()),
            Value::Variant(_) => "v".into(),
        }
    }
}

/// Writes values. What is appended is aligned from the buffer's first byte.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    pub(super) bytes: Vec<u8>,
}

impl Encoder {
    pub(super) fn align(&mut self, boundary: usize) {
        let length = self.bytes.len().next_multiple_of(boundary);
        self.bytes.resize(length, 0);
    }

    fn number(&mut self, bytes: &[u8]) {
        self.align(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Lengths are 32 bits wide. Whatever is longer is cut off by the limit on messages before it gets here.
    fn length(&mut self, length: usize) {
        self.number(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    fn signature(&mut self, signature: &str) {
        // At most 255 bytes (specification, "Valid Signatures"); ours are short.
        self.bytes.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.bytes.extend_from_slice(signature.as_bytes());
        self.bytes.push(0);
    }

    pub(super) fn value(&mut self, value: &Value) {
        match value {
            Value::Byte(v) => self.bytes.push(*v),
            Value::Bool(v) => self.number(&u32::from(*v).to_le_bytes()),
            Value::Int16(v) => self.number(&v.to_le_bytes()),
            Value::Uint16(v) => self.number(&v.to_le_bytes()),
            Value::Int32(v) => self.number(&v.to_le_bytes()),
            Value::Uint32(v) => self.number(&v.to_le_bytes()),
            Value::Int64(v) => self.number(&v.to_le_bytes()),
            Value::Uint64(v) => self.number(&v.to_le_bytes()),
            Value::Double(v) => self.number(&v.to_le_bytes()),
            Value::Text(v) | Value::Path(v) => self.text(v),
            Value::Signature(v) => self.signature(v),
            Value::Struct(fields) => {
                self.align(8);
                fields.iter().for_each(|field| self.value(field));
            }
            Value::Entry(entry) => {
                self.align(8);
                self.value(&entry.0);
                self.value(&entry.1);
            }
            Value::Variant(inner) => {
                self.signature(&inner.signature());
                self.value(inner);
            }
            Value::Array(element, items) => self.array(element, items),
        }
    }

    /// The length counts from the first element, after its alignment; an empty array is aligned too.
    fn array(&mut self, element: &str, items: &[Value]) {
        self.length(0);
        let at = self.bytes.len() - 4;
        self.align(boundary(element.as_bytes().first().copied()));
        let begin = self.bytes.len();
        items.iter().for_each(|item| self.value(item));
        let length = u32::try_from(self.bytes.len() - begin).unwrap_or(u32::MAX);
        self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// The boundary of a type, by its first letter.
fn boundary(letter: Option<u8>) -> usize {
    match letter {
        Some(b'y' | b'g' | b'v') => 1,
        Some(b'n' | b'q') => 2,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 4,
    }
}

/// Reads values.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    /// Reads `bytes`, whose first byte is aligned to 8.
    pub(super) fn new(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder { bytes, at: 0 }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(super) fn align(&mut self, boundary: usize) -> Result<(), Malformed> {
        let aligned = self.at.next_multiple_of(boundary);
        let padding = self.bytes.get(self.at..aligned).ok_or(Malformed("it ends in padding"))?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(Malformed("its padding is not zero"));
        }
        self.at = aligned;
        Ok(())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(length).ok_or(Malformed("a length is too large"))?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed("it ends within a value"))?;
        self.at = end;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.align(N)?;
        self.take(N)?.try_into().map_err(|_| Malformed("it ends within a number"))
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        usize::try_from(u32::from_le_bytes(self.number()?)).map_err(|_| Malformed("a length is too large"))
    }

    fn terminated(&mut self, length: usize) -> Result<String, Malformed> {
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| Malformed("a text is not UTF-8"))?;
        if self.take(1)? != [0] || text.contains('\0') {
            return Err(Malformed("a text does not end in a zero byte"));
        }
        Ok(text.to_owned())
    }

    fn signature(&mut self) -> Result<String, Malformed> {
        let length = usize::from(self.take(1)?[0]);
        self.terminated(length)
    }

    /// Values of all the types of a signature.
    pub(super) fn values(&mut self, signature: &str) -> Result<Vec<Value>, Malformed> {
        let mut rest = signature;
        let mut values = Vec::new();
        while !rest.is_empty() {
            let (first, after) = split_type(rest)?;
            values.push(self.value(first, 0)?);
            rest = after;
        }
        Ok(values)
    }

    fn value(&mut self, signature: &str, depth: usize) -> Result<Value, Malformed> {
        if depth > DEEPEST {
            return Err(Malformed("its values are nested too deep"));
        }
        Ok(match signature.as_bytes().first() {
            Some(b'y') => Value::Byte(self.take(1)?[0]),
            Some(b'b') => match u32::from_le_bytes(self.number()?) {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return Err(Malformed("a boolean is neither 0 nor 1")),
            },
            Some(b'n') => Value::Int16(i16::from_le_bytes(self.number()?)),
            Some(b'q') => Value::Uint16(u16::from_le_bytes(self.number()?)),
            Some(b'i') => Value::Int32(i32::from_le_bytes(self.number()?)),
            Some(b'u' | b'h') => Value::Uint32(u32::from_le_bytes(self.number()?)),
            Some(b'x') => Value::Int64(i64::from_le_bytes(self.number()?)),
            Some(b't') => Value::Uint64(u64::from_le_bytes(self.number()?)),
            Some(b'd') => Value::Double(f64::from_le_bytes(self.number()?)),
            Some(b's') => {
                let length = self.length()?;
                Value::Text(self.terminated(length)?)
            }
            Some(b'o') => {
                let length = self.length()?;
                Value::Path(self.terminated(length)?)
            }
            Some(b'g') => Value::Signature(self.signature()?),
            Some(b'v') => {
                let inner = self.signature()?;
                let (first, rest) = split_type(&inner)?;
                if !rest.is_empty() {
                    return Err(Malformed("a variant has more than one type"));
                }
                self.value(first, depth + 1)?.in_variant()
            }
            Some(b'a') => self.array(&signature[1..], depth)?,
            Some(b'(') => {
                self.align(8)?;
                let mut rest = &signature[1..signature.len() - 1];
                let mut fields = Vec::new();
                while !rest.is_empty() {
                    let (first, after) = split_type(rest)?;
                    fields.push(self.value(first, depth + 1)?);
                    rest = after;
                }
                Value::Struct(fields)
            }
            Some(b'{') => {
                self.align(8)?;
                let (key, rest) = split_type(&signature[1..signature.len() - 1])?;
                let entry = (self.value(key, depth + 1)?, self.value(rest, depth + 1)?);
                Value::Entry(Box::new(entry))
            }
            _ => return Err(Malformed("it has a type that does not exist")),
        })
    }

    fn array(&mut self, element: &str, depth: usize) -> Result<Value, Malformed> {
        let length = self.length()?;
        self.align(boundary(element.as_bytes().first().copied()))?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(Malformed("an array is longer than the message"))?;
        let mut items = Vec::new();
        while self.at < end {
            let before = self.at;
            items.push(self.value(element, depth + 1)?);
            // An empty structure would be read for ever; there is none in the specification.
            if self.at == before {
                return Err(Malformed("an array's element is empty"));
            }
        }
        if self.at != end {
            return Err(Malformed("an array ends within an element"));
        }
        Ok(Value::Array(element.to_owned(), items))
    }
}

/// The first complete type of a signature, and the rest.
fn split_type(signature: &str) -> Result<(&str, &str), Malformed> {
    let bytes = signature.as_bytes();
    let mut at = 0;
    while bytes.get(at) == Some(&b'a') {
        at += 1;
    }
    let end = match bytes.get(at) {
        Some(b'(' | b'{') => {
            let mut depth = 0_usize;
            let close = bytes[at..].iter().position(|byte| {
                match byte {
                    b'(' | b'{' => depth += 1,
                    b')' | b'}' => depth -= 1,
                    _ => {}
                }
                depth == 0
            });
            at + close.ok_or(Malformed("a signature's bracket is not closed"))? + 1
        }
        Some(b')' | b'}') | None => return Err(Malformed("a signature ends too early")),
        Some(_) => at + 1,
    };
    signature.split_at_checked(end).ok_or(Malformed("a signature is not ASCII"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(name: &str, value: Value) -> Value {
        Value::Struct(vec![Value::text(name), value.in_variant()])
    }

    fn encode(values: &[Value]) -> Vec<u8> {
        let mut encoder = Encoder::default();
        values.iter().for_each(|value| encoder.value(value));
        encoder.bytes
    }

    /// The specification's own examples ("Marshaling containers", "String-like types"), and alignment.
    #[test]
    fn bytes_are_those_of_the_specification() {
        assert_eq!(encode(&[Value::text("foo")]), b"\x03\0\0\0foo\0");
        assert_eq!(encode(&[Value::Array("x".into(), vec![Value::Int64(5)])]), b"\x08\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0");
        assert_eq!(encode(&[Value::Byte(1), Value::Uint32(5).in_variant()]), b"\x01\x01u\0\x05\0\0\0");
        assert_eq!(encode(&[Value::Byte(1), Value::Array("(sv)".into(), vec![])]), b"\x01\0\0\0\0\0\0\0");
        assert_eq!(encode(&[Value::Bool(true), Value::Signature("a(sv)".into())]), b"\x01\0\0\0\x05a(sv)\0");
    }

    #[test]
    fn what_is_written_is_read() {
        let properties = Value::Array(
            "(sv)".into(),
            vec![
                property("PIDs", Value::Array("u".into(), vec![Value::Uint32(7)])),
                property("Delegate", Value::Bool(true)),
                property("AllowedCPUs", Value::Array("y".into(), vec![Value::Byte(3), Value::Byte(1)])),
                property(
                    "DeviceAllow",
                    Value::Array("(ss)".into(), vec![Value::Struct(vec![Value::text("/dev/null"), Value::text("rw")])]),
                ),
            ],
        );
        let entry = Value::Entry(Box::new((Value::text("k"), Value::Double(0.5).in_variant())));
        let values = [
            Value::text("x.scope"),
            properties,
            Value::Int16(-2),
            Value::Uint64(u64::MAX),
            Value::Path("/a".into()),
            Value::Array("{sv}".into(), vec![entry]),
        ];
        let signature: String = values.iter().map(Value::signature).collect();
        assert_eq!(signature, "sa(sv)ntoa{sv}");
        let bytes = encode(&values);
        let mut decoder = Decoder::new(&bytes);
        assert_eq!(decoder.values(&signature).unwrap(), values);
        assert!(decoder.is_at_end());
        // Cut anywhere, it is an error and no panic.
        for end in 0..bytes.len() {
            assert!(Decoder::new(&bytes[..end]).values(&signature).is_err(), "{end}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let cases: [(&[u8], &str); 9] = [
            (b"\x02\0\0\0", "b"),
            (b"\xff\xff\xff\xff", "ay"),
            (b"\x03\0\0\0\xff\xff\xff\0", "s"),
            (b"\x01\0\0\0xy", "s"),
            (b"\x01\x01\x01\x01\0\0\0\0", "yu"),
            (b"\0\0\0\0", "(u"),
            (b"\0\0\0\0", "a"),
            (b"\x02uu\0", "v"),
            (b"\x05\0\0\0\0\0\0\0\0", "au"),
        ];
        for (bytes, signature) in cases {
            assert!(Decoder::new(bytes).values(signature).is_err(), "{signature} from {bytes:?}");
        }
        let deep = format!("v{}", "\x01v\0".repeat(200));
        assert!(Decoder::new(&deep.as_bytes()[1..]).values("v").is_err());
    }
}
