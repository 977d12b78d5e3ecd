// SPDX-License-Identifier: Apache-2.0
//! A context as an archive, to take it to another machine: `meta.json` and `tls/docker/*.pem` in a tar, as docker has it.

use std::io::{Read, Write};

use super::{ContextError, ContextStore, ENDPOINT, StoredContext, TLS_FILES};

/// The largest archive that is read, in bytes: keys and certificates are a few kilobytes.
const LARGEST: u64 = 10 << 20;

/// What a tar archive ends with at most, in bytes: a block that is filled up, and two of zeros.
const END: u64 = 3 * 512;

impl ContextStore {
    /// Writes the context `name` and its certificates to `to`.
    ///
    /// # Errors
    /// There is no such context, or it cannot be read or written.
    pub fn export(&self, name: &str, to: impl Write) -> Result<(), ContextError> {
        let context = self.read(name)?;
        let mut archive = tar::Builder::new(to);
        let text = serde_json::to_vec(&context).map_err(ContextError::Encode)?;
        append(&mut archive, "meta.json", &text)?;
        let directory = self.tls(name)?.join(ENDPOINT);
        for file in TLS_FILES {
            let path = directory.join(file);
            match std::fs::read(&path) {
                Ok(text) => append(&mut archive, &format!("tls/{ENDPOINT}/{file}"), &text)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(ContextError::io("read", &path, error)),
            }
        }
        archive.into_inner().and_then(|mut to| to.flush()).map_err(ContextError::Archive)
    }

    /// Keeps the context in an archive as `name`.
    ///
    /// # Errors
    /// The name is none or taken, or the archive is not one of a context. Then nothing is kept.
    pub fn import(&self, name: &str, from: impl Read) -> Result<(), ContextError> {
        super::check_name(name)?;
        if self.meta(name)?.exists() {
            return Err(ContextError::Taken(name.to_owned()));
        }
        let (mut context, certificates) = read(from)?;
        name.clone_into(&mut context.name);
        self.write_tls(name, &certificates)?;
        self.write(&context, None)
    }
}

fn append(archive: &mut tar::Builder<impl Write>, path: &str, text: &[u8]) -> Result<(), ContextError> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o600);
    header.set_size(text.len() as u64);
    archive.append_data(&mut header, path, text).map_err(ContextError::Archive)
}

type Certificates = Vec<(&'static str, Vec<u8>)>;

fn read(from: impl Read) -> Result<(StoredContext, Certificates), ContextError> {
    let (mut context, mut certificates) = (None, Certificates::new());
    // Docker leaves out what fills the last block, and the end.
    let mut archive = tar::Archive::new(from.take(LARGEST).chain(std::io::repeat(0).take(END)));
    for entry in archive.entries().map_err(ContextError::Archive)? {
        let mut entry = entry.map_err(ContextError::Archive)?;
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut text = Vec::new();
        entry.read_to_end(&mut text).map_err(ContextError::Archive)?;
        // Such an end must not stand in for what was cut off: no text has zeros.
        if text.contains(&0) {
            return Err(ContextError::Foreign(format!("its file {path:?} is cut off or no text")));
        }
        // Only names that are known are kept, so no name of the archive's becomes a path.
        match path.strip_prefix("tls/docker/").and_then(|file| TLS_FILES.into_iter().find(|known| *known == file)) {
            Some(file) => certificates.push((file, text)),
            None if path == "meta.json" => {
                context = Some(serde_json::from_slice(&text).map_err(ContextError::ForeignRecord)?);
            }
            None => return Err(ContextError::Foreign(format!("it has a file {path:?}"))),
        }
    }
    let context = context.ok_or_else(|| ContextError::Foreign("it has no meta.json".into()))?;
    Ok((context, certificates))
}
