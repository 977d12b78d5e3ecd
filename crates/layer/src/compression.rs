// SPDX-License-Identifier: Apache-2.0
//! Recognising and undoing a layer's compression.

use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::bufread::MultiGzDecoder;
use oci::media_type::Compression;

/// The largest zstd window that is accepted: 2^27 bytes, 128 MiB, what `zstd --ultra` makes, and
/// the most that one layer's decoder may cost in memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
const BUFFER: usize = 64 << 10;

/// The compression that `start`, the first bytes of a layer, belongs to. Four bytes are enough.
pub fn detect(start: &[u8]) -> Compression {
    match start {
        [0x1f, 0x8b, 8, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        // A skippable frame: what zstd:chunked layers and pzstd start with.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// Reads `source`, and undoes `compression`. Read errors that are the data's fault have the kind
/// [`io::ErrorKind::InvalidData`] or [`io::ErrorKind::UnexpectedEof`]; errors of `source` pass as they are.
///
/// # Errors
/// When no memory can be had for a zstd decoder.
pub fn decompress<R: Read>(source: R, compression: Compression) -> io::Result<Decoder<R>> {
    let failure = Failure::default();
    let source = BufReader::with_capacity(BUFFER, Source { inner: source, failure: failure.clone() });
    let state = match compression {
        Compression::None => State::None(source),
        Compression::Gzip => State::Gzip(Box::new(MultiGzDecoder::new(source))),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            State::Zstd(Box::new(decoder))
        }
    };
    Ok(Decoder { state, failure })
}

/// The content of `source`, decompressed by what its first bytes say.
///
/// # Errors
/// `source` cannot be read; as those of [`decompress`].
pub fn decompressed<R: Read>(mut source: R) -> io::Result<impl Read> {
    let mut start = Vec::with_capacity(4);
    source.by_ref().take(4).read_to_end(&mut start)?;
    let compression = detect(&start);
    decompress(Read::chain(io::Cursor::new(start), source), compression)
}

/// A decompressed stream, made by [`decompress`].
pub struct Decoder<R: Read> {
    state: State<R>,
    failure: Failure,
}

enum State<R: Read> {
    None(BufReader<Source<R>>),
    Gzip(Box<MultiGzDecoder<BufReader<Source<R>>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<Source<R>>>>),
}

/// Whether the source itself failed: the decoders' own errors do not say whose fault it was.
#[derive(Clone, Default)]
struct Failure(Arc<AtomicBool>);

struct Source<R> {
    inner: R,
    failure: Failure,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.failure.0.store(true, Ordering::Relaxed);
            }
        })
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = match &mut self.state {
            State::None(source) => return source.read(buffer),
            State::Gzip(decoder) => decoder.read(buffer),
            State::Zstd(decoder) => decoder.read(buffer),
        };
        result.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::Interrupted => error,
            _ if self.failure.0.load(Ordering::Relaxed) => error,
            _ => io::Error::new(io::ErrorKind::InvalidData, error),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        decompress(bytes, detect(bytes))?.read_to_end(&mut all)?;
        Ok(all)
    }

    #[test]
    fn several_members_and_frames_are_one_stream() {
        let text = b"layer ".repeat(5000);
        assert_eq!(read(&text).unwrap(), text);
        assert_eq!(read(&[gzip(&text), gzip(b"end")].concat()).unwrap(), [&text[..], b"end"].concat());
        let frame = zstd::encode_all(&text[..], 3).unwrap();
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(read(&[&skippable[..], &frame, &skippable, &frame].concat()).unwrap(), text.repeat(2));
    }

    #[test]
    fn truncated_and_flipped_data_is_the_datas_fault() {
        let text: Vec<u8> = (0..60_000u32).flat_map(u32::to_le_bytes).collect();
        for packed in [gzip(&text), zstd::encode_all(&text[..], 3).unwrap()] {
            for cut in [5, packed.len() / 2, packed.len() - 1] {
                let error = read(&packed[..cut]).expect_err("truncated");
                assert!(
                    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData),
                    "{cut}: {error:?}"
                );
            }
            let mut flipped = packed.clone();
            let middle = flipped.len() / 2;
            flipped[middle..middle + 64].fill(0xff);
            // zstd frames need not carry a checksum: then the digest tells.
            if let Err(error) = read(&flipped) {
                assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error:?}");
            }
        }
    }

    #[test]
    fn a_zstd_window_beyond_the_limit_is_refused() {
        // Magic, a frame header with a window descriptor of 2^31 bytes, an empty last block.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00];
        assert_eq!(read(&frame).expect_err("window").kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn an_error_of_the_source_stays_what_it_is() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::ConnectionReset))
            }
        }
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let packed = match compression {
                Compression::None => b"x".to_vec(),
                Compression::Gzip => gzip(b"x"),
                Compression::Zstd => zstd::encode_all(&b"x"[..], 1).unwrap(),
            };
            let source = packed[..packed.len() - 1].chain(Broken);
            let mut all = Vec::new();
            let error = decompress(source, compression).unwrap().read_to_end(&mut all).expect_err("broken");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{compression:?}");
        }
    }
}
