// SPDX-License-Identifier: Apache-2.0
//! One 512-byte header: POSIX ustar (IEEE Std 1003.1, `pax`), GNU tar's variant of it, and the older v7 form.
//! Pure: a block in, numbers and names out.

use crate::error::FormatError;
use crate::stream::BLOCK;

/// A header whose checksum was right.
pub(crate) struct Header<'b>(&'b [u8; BLOCK]);

/// Which fields there are behind the v7 ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    V7,
    Ustar,
    Gnu,
}

impl<'b> Header<'b> {
    /// The header in `block`.
    pub(crate) fn parse(block: &'b [u8; BLOCK]) -> Result<Header<'b>, FormatError> {
        let stored = number(&block[148..156]).ok_or(FormatError::Checksum)?;
        let outside = block[..148].iter().chain(&block[156..]);
        // The checksum field itself counts as eight spaces. Some old writers summed signed bytes.
        let unsigned: i64 = 256 + outside.clone().map(|&byte| i64::from(byte)).sum::<i64>();
        let signed: i64 = 256 + outside.map(|&byte| i64::from(byte.cast_signed())).sum::<i64>();
        if stored != unsigned && stored != signed {
            return Err(FormatError::Checksum);
        }
        Ok(Header(block))
    }

    fn form(&self) -> Form {
        match &self.0[257..265] {
            b"ustar  \0" => Form::Gnu,
            magic if magic.starts_with(b"ustar\0") => Form::Ustar,
            _ => Form::V7,
        }
    }

    /// The type of the entry.
    pub(crate) fn kind(&self) -> u8 {
        self.0[156]
    }

    /// Appends the name to `into`: with its prefix, cut at the first zero byte.
    pub(crate) fn name(&self, into: &mut Vec<u8>) {
        if self.form() == Form::Ustar {
            let prefix = text(&self.0[345..500]);
            if !prefix.is_empty() {
                into.extend_from_slice(prefix);
                into.push(b'/');
            }
        }
        into.extend_from_slice(text(&self.0[..100]));
    }

    /// The target of a link.
    pub(crate) fn link(&self) -> &'b [u8] {
        text(&self.0[157..257])
    }

    /// Permission and set-id bits, without the file type that some writers put there.
    pub(crate) fn mode(&self) -> Result<u32, FormatError> {
        let mode = self.unsigned(100..108, "mode")?;
        u32::try_from(mode & 0o7777).map_err(|_| FormatError::Number("mode"))
    }

    /// The user id.
    pub(crate) fn uid(&self) -> Result<u64, FormatError> {
        self.unsigned(108..116, "uid")
    }

    /// The group id.
    pub(crate) fn gid(&self) -> Result<u64, FormatError> {
        self.unsigned(116..124, "gid")
    }

    /// Bytes of data behind the header.
    pub(crate) fn size(&self) -> Result<u64, FormatError> {
        self.unsigned(124..136, "size")
    }

    /// Seconds since 1970; may be negative.
    pub(crate) fn mtime(&self) -> Result<i64, FormatError> {
        number(&self.0[136..148]).ok_or(FormatError::Number("mtime"))
    }

    /// Major and minor number of a device.
    pub(crate) fn device(&self) -> Result<(u32, u32), FormatError> {
        if self.form() == Form::V7 {
            return Ok((0, 0));
        }
        let part = |range, field| {
            let number = self.unsigned(range, field)?;
            u32::try_from(number).map_err(|_| FormatError::Number(field))
        };
        Ok((part(329..337, "device major")?, part(337..345, "device minor")?))
    }

    /// GNU sparse: the four regions in the header, whether a block with more follows, and the file's real size.
    pub(crate) fn gnu_sparse(&self) -> Result<(&'b [u8], bool, u64), FormatError> {
        if self.form() != Form::Gnu {
            return Err(FormatError::Sparse);
        }
        let size = self.unsigned(483..495, "real size")?;
        Ok((&self.0[386..482], self.0[482] != 0, size))
    }

    fn unsigned(&self, range: std::ops::Range<usize>, field: &'static str) -> Result<u64, FormatError> {
        number(&self.0[range]).and_then(|number| u64::try_from(number).ok()).ok_or(FormatError::Number(field))
    }
}

/// A field's bytes up to the first zero.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or(field)
}

/// A numeric field: octal digits between spaces and zeros, nothing at all for 0, or, with the top bit set, a big-endian
/// two's-complement number (GNU's base-256, which star and others write as well).
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        return binary(first, rest);
    }
    let padding = |&byte: &u8| byte == b' ' || byte == 0;
    let start = field.iter().position(|byte| !padding(byte)).unwrap_or(field.len());
    let digits = &field[start..];
    let length = digits.iter().position(padding).unwrap_or(digits.len());
    if !digits[length..].iter().all(padding) {
        return None;
    }
    digits[..length].iter().try_fold(0i64, |value, &byte| {
        let digit = (b'0'..=b'7').contains(&byte).then(|| i64::from(byte - b'0'))?;
        value.checked_mul(8)?.checked_add(digit)
    })
}

fn binary(first: u8, rest: &[u8]) -> Option<i64> {
    // The top bit marks the form; the next one is the sign.
    let negative = first & 0x40 != 0;
    let start = if negative { i128::from(first.cast_signed()) } else { i128::from(first & 0x3f) };
    let value = rest.iter().try_fold(start, |value, &byte| value.checked_mul(256)?.checked_add(i128::from(byte)))?;
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_all_their_forms() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"        ", Some(0)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"77777777777 ", Some(0o77777777777)),
            (b"12a45670", None),
            (b"8000000\0", None),
            (b"12 45670", None),
            (b"-0000001", None),
            (b"\x80\0\0\0\0\0\0\0\0\0\x10\0", Some(4096)),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_block_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), BLOCK)) {
            let mut block = [0; BLOCK];
            block.copy_from_slice(&bytes);
            // With the checksum made right, every accessor sees the noise.
            let sum: u32 = 256 + block[..148].iter().chain(&block[156..]).map(|&b| u32::from(b)).sum::<u32>();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            let header = Header::parse(&block).unwrap();
            header.name(&mut Vec::new());
            let _ = (header.mode(), header.uid(), header.size(), header.mtime(), header.device(), header.gnu_sparse().is_ok());
        }
    }
}
