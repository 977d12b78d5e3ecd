// SPDX-License-Identifier: Apache-2.0
//! Compressing a layer with several processors at once.

mod gzip;

use std::io::{self, Read, Write};
use std::num::NonZero;
use std::ops::RangeInclusive;

pub use gzip::Gzip;

use crate::Compression;

/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

/// The levels that a compression knows, from the fastest to the smallest.
pub fn levels(compression: Compression) -> RangeInclusive<i32> {
    match compression {
        Compression::None => 0..=0,
        Compression::Gzip => 1..=9,
        Compression::Zstd => 1..=22,
    }
}

/// Reads `source` to its end and writes it to `target`, compressed with `threads` threads. The same source gives the same
/// bytes, whatever the number of threads.
///
/// # Errors
/// Those of `source` and `target`, as they are.
pub fn compress(
    source: impl Read,
    target: &mut dyn Write,
    compression: Compression,
    threads: NonZero<usize>,
) -> io::Result<()> {
    compress_at(source, target, compression, None, threads)
}

/// The same at one of [`levels`]; a level outside means the nearest one. Without one, the compression's own default.
///
/// # Errors
/// Those of `source` and `target`, as they are.
pub fn compress_at(
    mut source: impl Read,
    target: &mut dyn Write,
    compression: Compression,
    level: Option<i32>,
    threads: NonZero<usize>,
) -> io::Result<()> {
    let (least, most) = levels(compression).into_inner();
    let level = level.map(|level| level.clamp(least, most));
    match compression {
        Compression::None => io::copy(&mut source, target).map(drop),
        Compression::Gzip => {
            let mut gzip = Gzip::new(target, level, threads);
            gzip.read_from(source)?;
            gzip.finish().map(drop)
        }
        Compression::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(target, level.unwrap_or(ZSTD_LEVEL))?;
            // Also with one: without workers the bytes would be others.
            encoder.multithread(u32::try_from(threads.get()).unwrap_or(u32::MAX).min(64))?;
            io::copy(&mut source, &mut encoder)?;
            encoder.finish().map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::gzip::MEMBER;
    use super::*;
    use crate::{decompress, detect};

    fn packed(bytes: &[u8], compression: Compression, threads: usize) -> Vec<u8> {
        let mut out = Vec::new();
        compress(bytes, &mut out, compression, NonZero::new(threads).unwrap()).unwrap();
        out
    }

    #[test]
    fn what_is_compressed_reads_back_and_does_not_depend_on_the_number_of_threads() {
        let text: Vec<u8> = (0..900_000_u32).flat_map(|n| (n / 3).to_le_bytes()).collect();
        for length in [0, 1, MEMBER - 1, MEMBER, MEMBER + 1, 2 * MEMBER, text.len()] {
            for compression in [Compression::Gzip, Compression::Zstd] {
                let one = packed(&text[..length], compression, 1);
                assert_eq!(detect(&one), compression);
                let mut back = Vec::new();
                decompress(&one[..], compression).unwrap().read_to_end(&mut back).unwrap();
                assert!(back == text[..length], "{length} {compression:?}");
                assert!(packed(&text[..length], compression, 3) == one, "{length} {compression:?}");
            }
        }
        assert!(packed(&text, Compression::Gzip, 2).len() < text.len() / 2);
    }

    #[test]
    fn what_is_written_in_pieces_makes_the_same_stream() {
        let text: Vec<u8> = (0..700_000_u32).flat_map(|n| (n / 3).to_le_bytes()).collect();
        for size in [999, 64 << 10, MEMBER, 3 * MEMBER] {
            let mut gzip = Gzip::new(Vec::new(), None, NonZero::new(2).unwrap());
            for piece in text.chunks(size) {
                gzip.write_all(piece).unwrap();
                gzip.flush().unwrap();
            }
            assert!(gzip.finish().unwrap() == packed(&text, Compression::Gzip, 2), "{size}");
        }
    }

    #[test]
    fn an_error_of_the_target_passes() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let text = vec![7; 9 * MEMBER];
        for compression in [Compression::Gzip, Compression::Zstd] {
            let error = compress(&text[..], &mut Full, compression, NonZero::new(4).unwrap()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }

    #[test]
    fn a_higher_level_is_smaller_and_one_that_is_none_the_nearest() {
        // Lines that resemble others somewhere before: the longer one looks, the better the match.
        let line = |n: u32| format!("{:x} {} of {}\n", n.wrapping_mul(2_654_435_761) >> 22, n % 37, n / 7 % 501);
        let text: Vec<u8> = (0..40_000).flat_map(|n| line(n).into_bytes()).collect();
        for compression in [Compression::Gzip, Compression::Zstd] {
            let length = |level| {
                let mut out = Vec::new();
                compress_at(&text[..], &mut out, compression, level, NonZero::<usize>::MIN).unwrap();
                out.len()
            };
            let (least, most) = levels(compression).into_inner();
            assert!(length(Some(most)) < length(Some(least)), "{compression:?}");
            assert_eq!(length(Some(i32::MIN)), length(Some(least)));
            assert_eq!(length(Some(i32::MAX)), length(Some(most)));
        }
    }

    #[test]
    fn an_error_of_the_source_passes() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
        }
        for compression in [Compression::Gzip, Compression::Zstd] {
            let error = compress(Broken, &mut Vec::new(), compression, NonZero::<usize>::MIN).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }
}
