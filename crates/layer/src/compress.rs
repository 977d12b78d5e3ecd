// SPDX-License-Identifier: Apache-2.0
//! Compressing a layer with several processors at once.

use std::io::{self, Read, Write};
use std::num::NonZero;
use std::ops::RangeInclusive;

use flate2::write::GzEncoder;

use crate::Compression;

/// The uncompressed bytes of one gzip member. Every reader of RFC 1952 takes several for one stream; at this size they
/// cost less than a thousandth.
const MEMBER: usize = 1 << 20;
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
            // It is one of nine.
            let level = level.and_then(|level| u32::try_from(level).ok()).map(flate2::Compression::new);
            gzip(source, target, level.unwrap_or_default(), threads.get())
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

/// As many members at once as there are threads.
fn gzip(mut source: impl Read, target: &mut dyn Write, level: flate2::Compression, threads: usize) -> io::Result<()> {
    let mut is_first = true;
    loop {
        let mut blocks = Vec::with_capacity(threads);
        while blocks.len() < threads {
            let mut block = Vec::new();
            source.by_ref().take(MEMBER as u64).read_to_end(&mut block)?;
            let is_last = block.len() < MEMBER;
            // An empty source is one empty member; a source that ends with a block needs no other.
            if !block.is_empty() || (is_first && blocks.is_empty()) {
                blocks.push(block);
            }
            if is_last {
                break;
            }
        }
        let ends = blocks.last().is_none_or(|block| block.len() < MEMBER);
        for member in members(&blocks, level)? {
            target.write_all(&member)?;
        }
        is_first = false;
        if ends {
            return Ok(());
        }
    }
}

fn members(blocks: &[Vec<u8>], level: flate2::Compression) -> io::Result<Vec<Vec<u8>>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = blocks.iter().map(|block| scope.spawn(move || member(block, level))).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|joined| joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

fn member(block: &[u8], level: flate2::Compression) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(block.len() / 2), level);
    encoder.write_all(block)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
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
    fn a_higher_level_is_smaller_and_one_that_is_none_the_nearest() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(|n| (n % 1013 * n).to_le_bytes()).collect();
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
