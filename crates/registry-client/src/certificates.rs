// SPDX-License-Identifier: Apache-2.0
//! Authorities and client certificates of single registries (containers-certs.d(5); Docker's `certs.d`):
//! `HOST[:PORT]/*.crt` are authorities to trust beside the system's, `NAME.cert` and `NAME.key` prove who asks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use errors::{Classify, Kind, kind_of_io};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why certificates could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A file or directory cannot be read.
    #[error("read {0:?}")]
    Read(PathBuf, #[source] io::Error),
    /// A file is not what its name says.
    #[error("{0:?} holds no valid PEM")]
    Pem(PathBuf, #[source] pem::Error),
    /// There is none in the file.
    #[error("{0:?} holds no certificate")]
    Empty(PathBuf),
    /// A certificate's key is not there.
    #[error("{0:?} is missing: a certificate needs its key beside it")]
    NoKey(PathBuf),
}

impl Classify for CertificateError {
    fn kind(&self) -> Kind {
        match self {
            CertificateError::Read(_, source) => kind_of_io(source),
            CertificateError::NoKey(_) => Kind::NotFound,
            CertificateError::Pem(..) | CertificateError::Empty(_) => Kind::InvalidArgument,
        }
    }
}

/// What one registry's directory holds.
#[derive(Default)]
pub(crate) struct Certificates {
    pub(crate) roots: Vec<CertificateDer<'static>>,
    pub(crate) client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

/// The directories of `authority` (host and perhaps port) that exist in `directories`, the first found first.
pub(crate) fn directories_of(directories: &[PathBuf], authority: &str) -> Vec<PathBuf> {
    // What comes from a redirect may be anything that passes for a host.
    let is_name = authority.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    if !is_name || authority.starts_with('.') || authority.is_empty() {
        return Vec::new();
    }
    directories.iter().map(|directory| directory.join(authority)).filter(|path| path.is_dir()).collect()
}

/// Reads a few small files. The first client certificate counts.
pub(crate) fn read(directories: &[PathBuf]) -> Result<Certificates, CertificateError> {
    let mut found = Certificates::default();
    for directory in directories {
        let unreadable = |error| CertificateError::Read(directory.clone(), error);
        let entries = fs::read_dir(directory).map_err(unreadable)?;
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>().map_err(unreadable)?;
        paths.sort();
        for path in paths {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => found.roots.extend(certificates(&path)?),
                Some("cert") if found.client.is_none() => {
                    found.client = Some((certificates(&path)?, key(&path.with_extension("key"))?));
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

/// The certificates in a file, at least one.
///
/// # Errors
/// It cannot be read, or holds none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let text = fs::read(path).map_err(|error| CertificateError::Read(path.to_owned(), error))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(|error| CertificateError::Pem(path.to_owned(), error))?;
    if all.is_empty() { Err(CertificateError::Empty(path.to_owned())) } else { Ok(all) }
}

/// The private key in a file.
///
/// # Errors
/// It cannot be read, or holds none.
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(CertificateError::NoKey(path.to_owned())),
        Err(error) => return Err(CertificateError::Read(path.to_owned(), error)),
    };
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| CertificateError::Pem(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_found_by_host_and_port_and_by_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.example", "a.example:5000"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let directories = [dir.path().to_owned(), dir.path().join("missing")];
        let found = |authority| directories_of(&directories, authority);
        assert_eq!(found("a.example:5000"), [dir.path().join("a.example:5000")]);
        assert_eq!(found("a.example"), [dir.path().join("a.example")]);
        for none in ["a.example:1", "..", ".", "", "a.example/../a.example"] {
            assert!(found(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn what_is_broken_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let read_it = || read(&[dir.path().to_owned()]).map(|found| (found.roots.len(), found.client.is_some()));
        assert_eq!(read_it().unwrap(), (0, false));
        fs::write(dir.path().join("ca.crt"), include_bytes!("../tests/tls/ca.pem")).unwrap();
        fs::write(dir.path().join("notes.txt"), "not looked at").unwrap();
        assert_eq!(read_it().unwrap(), (1, false));
        fs::write(dir.path().join("client.cert"), include_bytes!("../tests/tls/client.pem")).unwrap();
        assert!(matches!(read_it(), Err(CertificateError::NoKey(path)) if path.ends_with("client.key")));
        fs::write(dir.path().join("client.key"), "").unwrap();
        assert!(matches!(read_it(), Err(CertificateError::Pem(path, _)) if path.ends_with("client.key")));
        fs::write(dir.path().join("client.key"), include_bytes!("../tests/tls/client.key")).unwrap();
        assert_eq!(read_it().unwrap(), (1, true));
        fs::write(dir.path().join("more.crt"), "no certificate").unwrap();
        assert!(matches!(read_it(), Err(CertificateError::Empty(path)) if path.ends_with("more.crt")));
    }
}
