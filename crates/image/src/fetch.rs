// SPDX-License-Identifier: Apache-2.0
//! One layer's way in. A task takes bytes from the network, a thread does the rest as they come: write and hash the
//! blob, decompress, hash and unpack the layer. Nothing is read twice, and little is in memory: the thread lags a few
//! pieces behind at most.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use content::{BlobWriter, ContentError};
use errors::{Classify as _, Kind};
use oci::document::Descriptor;
use oci::{Digest, Hasher, ImageRef};
use registry_client::Client;
use snapshot::SnapshotError;
use tokio::sync::mpsc::{self, Receiver};

use crate::Inner;
use crate::error::ImageError;
use crate::progress::{Event, Progress, Status};
use crate::references::Session;
use crate::room;

/// Pieces of the network's size (some hundred kilobytes at most) between task and thread.
const QUEUE: usize = 8;
/// How much of what an earlier pull has stored is read at once, in bytes.
const BEFORE: usize = 256 << 10;
/// Bytes hashed at once.
const BUFFER: usize = 128 << 10;
/// The shortest time between two reports of one layer's progress.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// The layer to fetch.
pub(crate) struct Wanted<'a> {
    pub(crate) registry: &'a Client,
    pub(crate) image: &'a ImageRef,
    pub(crate) blob: &'a Descriptor,
    pub(crate) diff_id: Digest,
    pub(crate) progress: &'a dyn Progress,
}

impl Wanted<'_> {
    fn report(&self, status: Status) {
        self.progress.event(Event { layer: self.blob.digest, status });
    }
}

/// Runs `work` on a thread where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    tokio::task::spawn_blocking(work).await.map_err(ImageError::Worker)?
}

/// Sees to it that the layer is here, as a blob and unpacked. Fetches and unpacks only what is missing.
pub(crate) async fn layer(session: &Arc<Session>, wanted: &Wanted<'_>) -> Result<(), ImageError> {
    wanted.report(Status::Waiting);
    let store = session.store();
    let (digest, diff_id) = (wanted.blob.digest, wanted.diff_id);
    let _only_one = store.fetching.lock(digest).await;
    // The semaphore is never closed, so this never fails.
    let _slot = store.slots.acquire().await.ok();
    let shared = Arc::clone(session);
    let (has_blob, has_layer) = blocking(move || {
        shared.pin(digest);
        shared.pin(diff_id);
        let store = shared.store();
        Ok((store.content.contains(&digest), store.layers.contains(&diff_id)))
    })
    .await?;
    match (has_blob, has_layer) {
        (true, true) => {
            wanted.report(Status::Exists);
            return Ok(());
        }
        (true, false) => {
            wanted.report(Status::Extracting);
            let (shared, image) = (Arc::clone(session), wanted.image.to_string());
            blocking(move || unpack_stored(shared.store(), &image, digest, diff_id)).await?;
        }
        (false, has_layer) => download(session, wanted, !has_layer).await?,
    }
    wanted.report(Status::Done);
    Ok(())
}

/// Unpacks a blob that is in the content store, and whose diff ID is known to be right.
pub(crate) fn unpack_stored(store: &Inner, image: &str, digest: Digest, diff_id: Digest) -> Result<(), ImageError> {
    let size = store.content.size(&digest)?;
    if store.layers.contains(&diff_id) {
        return Ok(());
    }
    unpack_with_room(store, image, digest, diff_id, size)
}

/// Unpacks a blob of `size` bytes that is in the content store, and begins again when the disk was full and there is room.
fn unpack_with_room(store: &Inner, image: &str, digest: Digest, diff_id: Digest, size: u64) -> Result<(), ImageError> {
    store.with_room(size, || unpack(store, image, digest, diff_id, store.content.open_blob(&digest)?))
}

/// Unpacks a blob that is in the content store, and of which somebody claims that `diff_id` is its diff ID. It is verified
/// although there may be such a layer already, of another blob.
pub(crate) fn unpack_claimed(store: &Inner, image: &str, digest: Digest, diff_id: Digest) -> Result<(), ImageError> {
    // An uncompressed layer was verified when it was stored.
    if digest == diff_id {
        return unpack_stored(store, image, digest, diff_id);
    }
    unpack_with_room(store, image, digest, diff_id, store.content.size(&digest)?)
}

/// Fetches a blob, from where an earlier pull was interrupted.
async fn download(session: &Arc<Session>, wanted: &Wanted<'_>, unpacks: bool) -> Result<(), ImageError> {
    let (digest, size) = (wanted.blob.digest, wanted.blob.size);
    loop {
        let shared = Arc::clone(session);
        let writer = blocking(move || {
            let store = shared.store();
            Ok(store.with_room(0, || store.content.resume(digest, size))?)
        })
        .await?;
        let resumed = writer.written() > 0;
        match receive(session, wanted, writer, unpacks).await {
            // What was there was damaged; it is gone now.
            Err(ImageError::Blob { source, .. }) if resumed && matches!(*source, ContentError::Digest(_)) => {}
            result => return result,
        }
    }
}

/// Adds to `writer` what it lacks.
async fn receive(
    session: &Arc<Session>,
    wanted: &Wanted<'_>,
    writer: BlobWriter,
    unpacks: bool,
) -> Result<(), ImageError> {
    let (digest, total) = (wanted.blob.digest, wanted.blob.size);
    let mut done = writer.written();
    let mut blob = wanted.registry.blob_from(wanted.image, digest, total, done).await?;
    let (pieces, queue) = mpsc::channel(QUEUE);
    let (shared, image) = (Arc::clone(session), wanted.image.to_string());
    let diff_id = wanted.diff_id;
    let worker =
        tokio::task::spawn_blocking(move || store_layer(shared.store(), &image, digest, diff_id, writer, queue));
    let mut reported = None::<Instant>;
    // A thread that has failed takes no more pieces, and says why when it is waited for.
    while let Some(piece) = blob.chunk().await? {
        done += piece.len() as u64;
        if pieces.send(Piece::Bytes(piece)).await.is_err() {
            break;
        }
        if reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
            wanted.report(Status::Downloading { done, total });
            reported = Some(Instant::now());
        }
    }
    wanted.report(Status::Downloading { done, total });
    wanted.report(if unpacks { Status::Extracting } else { Status::Verifying });
    // Failing to send means the same as above.
    let _: Result<(), _> = pieces.send(Piece::End).await;
    drop(pieces);
    worker.await.map_err(ImageError::Worker)?
}

enum Piece {
    Bytes(Bytes),
    /// All bytes were sent. Without it the sender has failed, and nothing may be kept.
    End,
}

/// The thread's part: stores what comes through `queue` as the blob `digest`, and unpacks it as the layer `diff_id`.
fn store_layer(
    store: &Inner,
    image: &str,
    digest: Digest,
    diff_id: Digest,
    writer: BlobWriter,
    queue: Receiver<Piece>,
) -> Result<(), ImageError> {
    let blob_error = |source| ImageError::Blob { image: image.to_owned(), digest, source: Box::new(source) };
    let before = writer.reader().map_err(blob_error)?;
    let mut arriving =
        Arriving { store, before: Some(before), queue, rest: Bytes::new(), writer, failure: None, ended: false };
    let room = store.room.made();
    let mut unpacked = unpack(store, image, digest, diff_id, &mut arriving);
    // It is unpacked again when the blob is here, whole: nothing is fetched twice.
    let again = unpacked.as_ref().is_err_and(|error| {
        arriving.failure.is_none() && store.room.is_made_after(error, arriving.writer.written(), room)
    });
    if again {
        unpacked = Ok(());
    }
    // What a wrong blob made the decoders say is of no use: the digest tells more. A full disk is no such error.
    if let Err(error) = &unpacked
        && error.kind() != Kind::Corrupt
        && arriving.failure.is_none()
    {
        if error.kind() == Kind::NoSpace {
            arriving.writer.forget();
        }
        return unpacked;
    }
    let arrived = arriving.finish().map_err(blob_error)?;
    match arrived {
        Some(writer) => {
            writer.commit().map_err(blob_error)?;
            match again {
                true => unpack_stored(store, image, digest, diff_id),
                false => unpacked,
            }
        }
        // The task that sent the bytes has the reason; this stands in for it where the task itself is gone.
        None => Err(ImageError::Input(io::ErrorKind::ConnectionAborted.into())),
    }
}

/// Decompresses `blob`, whatever it is compressed with, and unpacks it as the layer `diff_id`; where that is here already,
/// only compares its digest.
fn unpack(store: &Inner, image: &str, digest: Digest, diff_id: Digest, blob: impl Read) -> Result<(), ImageError> {
    let unreadable = |source| ImageError::Decompress { image: image.to_owned(), layer: digest, source };
    let failed = |source| ImageError::Layer { image: image.to_owned(), layer: digest, source: Box::new(source) };
    let mut tar = Noticed { inner: layer::decompressed(blob).map_err(unreadable)?, read: false };
    store.layers.unpack(&diff_id, &mut tar).map_err(failed)?;
    if tar.read {
        // It was unpacked, and verified on the way.
        return Ok(());
    }
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; BUFFER]);
    loop {
        match tar.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    diff_id.matches(hasher.finish()).map_err(|mismatch| failed(SnapshotError::Digest(mismatch)))
}

/// A reader that knows whether anything was asked of it.
struct Noticed<R> {
    inner: R,
    read: bool,
}

impl<R: Read> Read for Noticed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read = true;
        self.inner.read(buffer)
    }
}

/// The blob's bytes, in the order they come. Whoever reads them makes them stored as well.
struct Arriving<'s> {
    store: &'s Inner,
    /// What an earlier pull has stored.
    before: Option<io::Take<File>>,
    queue: Receiver<Piece>,
    rest: Bytes,
    writer: BlobWriter,
    failure: Option<ContentError>,
    ended: bool,
}

impl Arriving<'_> {
    /// Waits for bytes. `false` at the end.
    fn fill(&mut self) -> io::Result<bool> {
        while self.rest.is_empty() {
            if let Some(before) = &mut self.before {
                let mut piece = Vec::with_capacity(BEFORE);
                before.by_ref().take(BEFORE as u64).read_to_end(&mut piece)?;
                if piece.is_empty() {
                    self.before = None;
                }
                self.rest = piece.into();
                continue;
            }
            if self.ended {
                return Ok(false);
            }
            match self.queue.blocking_recv() {
                Some(Piece::Bytes(bytes)) => {
                    if let Err(error) = room::append(self.store, &mut self.writer, &bytes) {
                        self.writer.forget();
                        let kind = if error.kind() == Kind::NoSpace {
                            io::ErrorKind::StorageFull
                        } else {
                            io::ErrorKind::InvalidData
                        };
                        self.failure = Some(error);
                        return Err(kind.into());
                    }
                    self.rest = bytes;
                }
                Some(Piece::End) => self.ended = true,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        Ok(true)
    }

    /// Takes what nobody has read: bytes behind the end of the archive belong to the blob too. `None` when the bytes
    /// ended before their end was announced.
    fn finish(mut self) -> Result<Option<BlobWriter>, ContentError> {
        // It is stored already.
        self.before = None;
        while self.failure.is_none() {
            self.rest.clear();
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return Ok(Some(self.writer)),
                Err(_) => break,
            }
        }
        self.failure.map_or(Ok(None), Err)
    }
}

impl Read for Arriving<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.fill()? {
            return Ok(0);
        }
        let count = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
