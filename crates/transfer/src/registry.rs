// SPDX-License-Identifier: Apache-2.0
//! `docker://`: images in registries. The only part that waits for others, and so the only one that knows an async runtime.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf as _, Bytes};
use oci::document::Descriptor;
use oci::{Digest, ImageRef};
use registry_client::{Blob, Client, RegistryError};
use tokio::runtime::Handle;

use crate::blob::{Reader, Verified};
use crate::destination::{Destination, Layers, Role};
use crate::document::Document;
use crate::error::TransferError;
use crate::source::Source;
use crate::stop::Stop;

/// Blobs on their way at the same time: as many as a push sends.
const PARALLEL: usize = 5;

/// How registries are spoken to: each side with its own trust and credentials.
#[derive(Debug, Clone)]
pub struct Registries {
    /// The client for where the image comes from.
    pub source: Client,
    /// The client for where it goes.
    pub destination: Client,
    /// The runtime that both live in. The copy itself runs on threads outside of it.
    pub runtime: Handle,
}

/// One registry's image, seen from a thread that blocks.
struct Link {
    client: Client,
    name: ImageRef,
    runtime: Handle,
    stop: Stop,
}

impl Link {
    fn wait<T>(&self, asked: impl Future<Output = Result<T, RegistryError>>) -> Result<T, TransferError> {
        self.runtime.block_on(async {
            tokio::select! {
                answer = asked => Ok(answer?),
                () = self.stop.stopped() => Err(TransferError::Stopped),
            }
        })
    }
}

/// An image in a registry, to be read.
pub(crate) struct RegistrySource(Arc<Link>);

impl RegistrySource {
    pub(crate) fn new(name: &ImageRef, registries: &Registries, stop: &Stop) -> RegistrySource {
        let (client, runtime) = (registries.source.clone(), registries.runtime.clone());
        RegistrySource(Arc::new(Link { client, name: name.clone(), runtime, stop: stop.clone() }))
    }

    fn document(&self, name: &ImageRef) -> Result<Document, TransferError> {
        let found = self.0.wait(self.0.client.manifest(name))?;
        Ok(Document { media_type: found.media_type, digest: found.digest, text: found.body })
    }
}

impl Source for RegistrySource {
    fn top(&self) -> Result<Document, TransferError> {
        self.document(&self.0.name)
    }

    fn manifest(&self, entry: &Descriptor) -> Result<Document, TransferError> {
        self.document(&self.0.name.at_digest(entry.digest))
    }

    fn blob(&self, blob: &Descriptor) -> Result<Box<dyn Reader>, TransferError> {
        let (link, digest, size) = (Arc::clone(&self.0), blob.digest, blob.size);
        Ok(Box::new(Remote { link, digest, size, state: Mutex::default() }))
    }

    fn repository(&self) -> Option<&ImageRef> {
        Some(&self.0.name)
    }
}

/// A blob in a registry. It is read in one stream, asked for when the first byte is wanted; whoever goes back begins a
/// new one.
struct Remote {
    link: Arc<Link>,
    digest: Digest,
    size: u64,
    state: Mutex<Stream>,
}

#[derive(Default)]
struct Stream {
    blob: Option<Blob>,
    /// Where `rest` begins in the blob.
    position: u64,
    /// What has come and was not read yet.
    rest: Bytes,
}

impl Reader for Remote {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, TransferError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.blob.is_none() || state.position != offset {
            let Link { client, name, .. } = &*self.link;
            let blob = self.link.wait(client.blob_from(name, self.digest, self.size, offset))?;
            *state = Stream { blob: Some(blob), position: offset, rest: Bytes::new() };
        }
        let Stream { blob: Some(blob), position, rest } = &mut *state else { return Ok(0) };
        while rest.is_empty() {
            match self.link.wait(blob.chunk())? {
                Some(bytes) => *rest = bytes,
                None => return Ok(0),
            }
        }
        let count = rest.len().min(buffer.len());
        rest.copy_to_slice(&mut buffer[..count]);
        *position += count as u64;
        Ok(count)
    }
}

/// An image in a registry, to be written.
pub(crate) struct RegistryDestination(Link);

impl RegistryDestination {
    pub(crate) fn new(name: &ImageRef, registries: &Registries, stop: &Stop) -> RegistryDestination {
        let (client, runtime) = (registries.destination.clone(), registries.runtime.clone());
        RegistryDestination(Link { client, name: name.clone(), runtime, stop: stop.clone() })
    }
}

impl Destination for RegistryDestination {
    fn layers(&self) -> Layers {
        Layers::Compressed
    }

    fn parallel(&self) -> usize {
        PARALLEL
    }

    fn has_blob(&self, blob: &Descriptor) -> Result<bool, TransferError> {
        self.0.wait(self.0.client.blob_exists(&self.0.name, blob.digest))
    }

    fn mount(&self, blob: &Descriptor, from: &ImageRef) -> Result<bool, TransferError> {
        let Link { client, name, .. } = &self.0;
        if from.registry() != name.registry() || from.repository() == name.repository() {
            return Ok(false);
        }
        self.0.wait(client.mount_blob(name, blob.digest, from.repository()))
    }

    fn put_blob(&self, _role: Role, blob: &Descriptor, content: &Arc<Verified>) -> Result<(), TransferError> {
        let content: Arc<dyn registry_client::Source> = Arc::clone(content) as _;
        let Link { client, name, .. } = &self.0;
        self.0.wait(client.push_blob(name, blob.digest, blob.size, content, &|_| {}))
    }

    fn accepts(&self, top: &Document) -> Result<(), TransferError> {
        match self.0.name.digest() {
            Some(wanted) if wanted != top.digest => {
                let place = format!("docker://{}", self.0.name);
                Err(TransferError::OtherDigest { place, found: top.digest })
            }
            _ => Ok(()),
        }
    }

    fn put_manifest(&self, document: &Document, is_top: bool) -> Result<(), TransferError> {
        let Link { client, name, .. } = &self.0;
        let name = if is_top { name.clone() } else { name.at_digest(document.digest) };
        self.0.wait(client.push_manifest(&name, &document.media_type, document.text.clone())).map(drop)
    }

    fn finish(self: Box<Self>) -> Result<(), TransferError> {
        Ok(())
    }
}
