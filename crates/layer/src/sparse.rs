// SPDX-License-Identifier: Apache-2.0
//! Maps of sparse files: which regions of a file have data in the archive (GNU tar manual, "Storing Sparse Files").
//! Pure.

use crate::error::FormatError;
use crate::header::number;
use crate::pax::decimal;

/// Data at `offset`, `length` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// More regions than this are refused: 16 bytes of memory each.
const MAX_REGIONS: usize = 1 << 18;

/// A map in the making.
#[derive(Debug, Default)]
pub(crate) struct Map {
    regions: Vec<Region>,
}

impl Map {
    /// Adds a region.
    pub(crate) fn push(&mut self, offset: u64, length: u64) -> Result<(), FormatError> {
        if self.regions.len() >= MAX_REGIONS {
            return Err(FormatError::Sparse);
        }
        self.regions.push(Region { offset, length });
        Ok(())
    }

    /// Adds the regions of an old GNU header or of one of its continuations: pairs of 12-byte numbers, up to an empty
    /// one.
    pub(crate) fn push_gnu(&mut self, fields: &[u8]) -> Result<(), FormatError> {
        for pair in fields.chunks_exact(24) {
            if pair[0] == 0 || pair[12] == 0 {
                break;
            }
            let part = |field| number(field).and_then(|n| u64::try_from(n).ok()).ok_or(FormatError::Sparse);
            self.push(part(&pair[..12])?, part(&pair[12..])?)?;
        }
        Ok(())
    }

    /// Adds the regions of a `GNU.sparse.map` record: decimal numbers between commas.
    pub(crate) fn push_list(&mut self, list: &[u8]) -> Result<(), FormatError> {
        let mut numbers = list.split(|&byte| byte == b',');
        while let Some(offset) = numbers.next() {
            let length = numbers.next().ok_or(FormatError::Sparse)?;
            let part = |text| decimal(text).ok_or(FormatError::Sparse);
            self.push(part(offset)?, part(length)?)?;
        }
        Ok(())
    }

    /// The map of a file of `size` bytes with `data` bytes in the archive: in order, apart, inside the file.
    pub(crate) fn finish(self, size: u64, data: u64) -> Result<Vec<Region>, FormatError> {
        let (mut end, mut sum) = (0u64, 0u64);
        for region in &self.regions {
            let next = region.offset.checked_add(region.length).ok_or(FormatError::Sparse)?;
            if region.offset < end || next > size {
                return Err(FormatError::Sparse);
            }
            end = next;
            sum += region.length;
        }
        if sum != data {
            return Err(FormatError::Sparse);
        }
        Ok(self.regions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_must_be_in_order_apart_inside_and_complete() {
        let map = |list: &[u8], size, data| {
            let mut map = Map::default();
            map.push_list(list)?;
            map.finish(size, data)
        };
        assert_eq!(map(b"0,3,10,2,100,0", 100, 5).unwrap().len(), 3);
        for (list, size, data) in [
            (&b"0,3,2,2"[..], 100, 5),
            (b"10,2,0,3", 100, 5),
            (b"99,2", 100, 2),
            (b"0,3", 100, 4),
            (b"0,3", 100, 2),
            (b"0", 100, 0),
            (b"", 100, 0),
            (b"a,b", 100, 0),
            (b"18446744073709551615,1", u64::MAX, 1),
        ] {
            assert!(map(list, size, data).is_err(), "{:?}", String::from_utf8_lossy(list));
        }
    }
}
