// SPDX-License-Identifier: Apache-2.0
//! CRC-32C (RFC 3720, appendix B.4) as EROFS uses it: begun with all ones, and not inverted at the end.

/// The polynomial, its bits in reverse order.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The checksum of `bytes`. Bit by bit: it is for one block.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 0 { 0 } else { POLYNOMIAL })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standards_check_value() {
        assert_eq!(!crc32c(b"123456789"), 0xe306_9283);
    }
}
