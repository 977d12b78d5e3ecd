// SPDX-License-Identifier: Apache-2.0
//! Layers in another compression. What comes of one is known only when it is done, and archives and registries want to
//! know it before the first byte: so it lies in a nameless file meanwhile.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;

use layer::Compression;
use oci::manifest::NewLayer;
use oci::{Digest, Hasher};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::blob::{Stretch, Verified};
use crate::error::{At as _, TransferError, system};

/// Where nameless files are: `$TMPDIR`, or `/var/tmp`, which is on a disk where `/tmp` may be memory.
fn directory() -> PathBuf {
    std::env::var_os("TMPDIR").filter(|path| !path.is_empty()).map_or_else(|| "/var/tmp".into(), PathBuf::from)
}

/// A file without a name, which is gone with its descriptor.
pub(crate) fn nameless() -> Result<(File, PathBuf), TransferError> {
    let path = directory();
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(&path, flags | OFlags::TMPFILE, Mode::RUSR | Mode::WUSR) {
        Ok(file) => return Ok((file.into(), path)),
        // Not every file system has nameless files: open(2).
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {}
        Err(error) => return Err(system("make a file in", path, error)),
    }
    let name = path.join(format!(".corten-{}-{:?}", std::process::id(), std::thread::current().id()));
    let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let file = rustix::fs::open(&name, flags, Mode::RUSR | Mode::WUSR).at("make", &name)?;
    rustix::fs::unlinkat(rustix::fs::CWD, &name, AtFlags::empty()).at("remove", &name)?;
    Ok((file.into(), name))
}

/// Compresses the layer `blob` of `place` as `wanted`, with all processors.
pub(crate) fn repacked(
    blob: &Verified,
    place: &str,
    digest: Digest,
    wanted: Compression,
    level: Option<i32>,
) -> Result<(NewLayer, Stretch), TransferError> {
    let (file, path) = nameless()?;
    let mut out = Out { file, hasher: Hasher::new(), size: 0, failure: None };
    let mut source = blob.sequential();
    let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let packed = layer::decompressed(&mut source)
        .and_then(|tar| layer::compress_at(tar, &mut out, wanted, level, threads))
        // Bytes behind the compressed stream belong to the blob, and so to what its digest is of.
        .and_then(|()| drain(&mut source));
    if let Err(source) = packed {
        if let Some(failure) = blob.take_failure() {
            return Err(failure);
        }
        if let Some(failure) = out.failure {
            return Err(system("write a file in", path, failure));
        }
        // What a wrong blob makes the decoders say is of no use: the digest tells more.
        blob.for_each(|_| Ok(()))?;
        return Err(TransferError::Decompress { place: place.to_owned(), layer: digest, source });
    }
    let new = NewLayer { digest: out.hasher.finish(), size: out.size, compression: wanted };
    Ok((new, Stretch { file: Arc::new(out.file), path, offset: 0, size: new.size }))
}

fn drain(source: &mut impl io::Read) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    while source.read(&mut buffer)? > 0 {}
    Ok(())
}

/// The uncompressed content of `stretch` in a nameless file.
pub(crate) fn unpacked(stretch: &Stretch) -> Result<File, TransferError> {
    let (mut file, path) = nameless()?;
    let mut failure = None;
    let read = layer::decompressed(content(stretch)).and_then(|mut content| {
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = content.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            if let Err(error) = file.write_all(&buffer[..count]) {
                failure = Some(error);
                return Err(io::ErrorKind::Other.into());
            }
        }
    });
    match (failure, read) {
        (Some(error), _) => Err(system("write a file in", path, error)),
        (None, Err(error)) => Err(system("decompress", &stretch.path, error)),
        (None, Ok(())) => Ok(file),
    }
}

/// The bytes of `stretch`, for readers of [`io::Read`].
pub(crate) fn content(stretch: &Stretch) -> impl io::Read + '_ {
    FromStretch { stretch, offset: 0 }
}

struct FromStretch<'a> {
    stretch: &'a Stretch,
    offset: u64,
}

impl io::Read for FromStretch<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = crate::blob::Reader::read_at(self.stretch, buffer, self.offset);
        let count = read.map_err(|error| io::Error::other(errors::chain(&error)))?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// The file, hashed as it is written.
struct Out {
    file: File,
    hasher: Hasher,
    size: u64,
    failure: Option<io::Error>,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.file.write(bytes) {
            Ok(count) => {
                self.hasher.update(&bytes[..count]);
                self.size += count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.failure = Some(error);
                Err(kind.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
