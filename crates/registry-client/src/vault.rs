// SPDX-License-Identifier: Apache-2.0
//! Corten's own store of secrets, for users without a credential helper: one file, sealed with ChaCha20-Poly1305.
//!
//! ```text
//! credentials       magic, nonce (12 bytes), sealed JSON: registry → X-Registry-Auth
//! credentials.key   32 random bytes, mode 0600
//! ```
//!
//! The key lies beside the file: whoever can read both, root and every process of this user among them, has the
//! passwords. It protects a copy of the one file (a backup, a dotfiles repository, a screen shared too long), and shows
//! when the file was changed by others. More needs a key ring, which is what credential helpers are for.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use errors::{Classify, Kind};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::credentials::Credentials;

/// What the file begins with; sealed along, so that no other version's file is taken for one of this.
const MAGIC: &[u8] = b"corten-credentials-1\n";
const KEY_LEN: usize = 32;
/// Longer files are not ours.
const MAX_FILE: u64 = 4 << 20;

/// Why the store could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// A file cannot be read or written.
    #[error("{operation} {path:?}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The key can be read by others.
    #[error("{path:?} can be read by others (mode {mode:03o}), so the passwords that it protects are not secret")]
    Exposed {
        /// The key's file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file is not what was written with this key.
    #[error("{path:?} cannot be opened with its key: one of the two was changed or replaced")]
    Sealed {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random numbers.
    #[error("no random numbers for a key")]
    Random,
}

impl Classify for VaultError {
    fn kind(&self) -> Kind {
        match self {
            VaultError::File { source, .. } => errors::kind_of_io(source),
            VaultError::Exposed { .. } => Kind::PermissionDenied,
            VaultError::Sealed { .. } => Kind::Corrupt,
            VaultError::Random => Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            VaultError::Exposed { path, .. } => {
                Some(format!("chmod 600 {}, and change the passwords if others may have read it", path.display()))
            }
            VaultError::Sealed { path } => Some(format!("remove {} and log in again", path.display())),
            _ => None,
        }
    }
}

/// The store in one directory. Nothing is made before something is stored.
#[derive(Debug)]
pub(crate) struct Vault<'a> {
    directory: &'a Path,
}

type Entries = BTreeMap<String, String>;

impl<'a> Vault<'a> {
    pub(crate) fn new(directory: &'a Path) -> Vault<'a> {
        Vault { directory }
    }

    /// Where the secrets are.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join("credentials")
    }

    pub(crate) fn find(&self, registry: &str) -> Result<Option<Credentials>, VaultError> {
        let Some(key) = self.key()? else { return Ok(None) };
        let entries = self.open(&key)?;
        let Some(header) = entries.get(registry) else { return Ok(None) };
        Credentials::from_header(header.as_bytes()).map_err(|_| VaultError::Sealed { path: self.path() })
    }

    pub(crate) fn store(&self, registry: &str, credentials: &Credentials) -> Result<(), VaultError> {
        let directory = DirBuilder::new().recursive(true).mode(0o700).create(self.directory);
        directory.map_err(file("make", self.directory))?;
        let _locked = self.lock()?;
        let key = match self.key()? {
            Some(key) => key,
            None => self.make_key()?,
        };
        let mut entries = self.open(&key)?;
        entries.insert(registry.to_owned(), credentials.to_header());
        self.seal(&key, &entries)
    }

    /// Says whether there was anything to forget.
    pub(crate) fn erase(&self, registry: &str) -> Result<bool, VaultError> {
        if self.key()?.is_none() {
            return Ok(false);
        }
        let _locked = self.lock()?;
        let Some(key) = self.key()? else { return Ok(false) };
        let mut entries = self.open(&key)?;
        let had = entries.remove(registry).is_some();
        if had {
            self.seal(&key, &entries)?;
        }
        Ok(had)
    }

    /// Held by whoever changes the store, so that two logins at once are both kept.
    fn lock(&self) -> Result<File, VaultError> {
        let path = self.directory.join("credentials.lock");
        let options = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let lock = options.map_err(file("open", &path))?;
        lock.lock().map_err(file("lock", &path))?;
        Ok(lock)
    }

    fn key_path(&self) -> PathBuf {
        self.directory.join("credentials.key")
    }

    fn key(&self) -> Result<Option<LessSafeKey>, VaultError> {
        let path = self.key_path();
        let Some((bytes, mode)) = read(&path)? else { return Ok(None) };
        if mode & 0o077 != 0 {
            return Err(VaultError::Exposed { path, mode: mode & 0o777 });
        }
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(|_| VaultError::Sealed { path: self.path() })?;
        Ok(Some(LessSafeKey::new(key)))
    }

    fn make_key(&self) -> Result<LessSafeKey, VaultError> {
        let mut bytes = [0; KEY_LEN];
        SystemRandom::new().fill(&mut bytes).map_err(|_| VaultError::Random)?;
        replace(&self.key_path(), &bytes)?;
        // A key of this length is always one.
        UnboundKey::new(&CHACHA20_POLY1305, &bytes).map(LessSafeKey::new).map_err(|_| VaultError::Random)
    }

    fn open(&self, key: &LessSafeKey) -> Result<Entries, VaultError> {
        let Some((mut bytes, _)) = read(&self.path())? else { return Ok(Entries::new()) };
        let wrong = || VaultError::Sealed { path: self.path() };
        let header = MAGIC.len() + NONCE_LEN;
        if !bytes.starts_with(MAGIC) || bytes.len() < header {
            return Err(wrong());
        }
        let nonce = Nonce::try_assume_unique_for_key(&bytes[MAGIC.len()..header]).map_err(|_| wrong())?;
        let text = key.open_in_place(nonce, Aad::from(MAGIC), &mut bytes[header..]).map_err(|_| wrong())?;
        serde_json::from_slice(text).map_err(|_| wrong())
    }

    fn seal(&self, key: &LessSafeKey, entries: &Entries) -> Result<(), VaultError> {
        // Chosen at random for each of the few writes of a key's life: 96 bits do not repeat.
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| VaultError::Random)?;
        // A map of strings always becomes JSON.
        let mut sealed = serde_json::to_vec(entries).unwrap_or_default();
        let unique = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(unique, Aad::from(MAGIC), &mut sealed).map_err(|_| VaultError::Random)?;
        replace(&self.path(), &[MAGIC, &nonce, &sealed].concat())
    }
}

fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VaultError {
    let path = path.to_owned();
    move |source| VaultError::File { operation, path, source }
}

/// A file's content and mode, if it is there.
fn read(path: &Path) -> Result<Option<(Vec<u8>, u32)>, VaultError> {
    let opened = match File::open(path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file("open", path)(error)),
    };
    let mode = opened.metadata().map_err(file("stat", path))?.permissions().mode();
    let mut bytes = Vec::new();
    opened.take(MAX_FILE).read_to_end(&mut bytes).map_err(file("read", path))?;
    Ok(Some((bytes, mode)))
}

/// Puts a file of this content, for its owner alone, in the place of the old one.
fn replace(path: &Path, content: &[u8]) -> Result<(), VaultError> {
    let partial = path.with_extension(format!("partial{}", std::process::id()));
    let written = (|| {
        let mut new = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&partial)?;
        new.write_all(content)?;
        new.sync_all()?;
        fs::rename(&partial, path)
    })();
    written.map_err(file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_found_until_it_is_erased_and_stands_in_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("corten");
        let vault = Vault::new(&directory);
        assert_eq!(vault.find("a").unwrap(), None);
        assert!(!vault.erase("a").unwrap());
        assert!(!directory.exists(), "nothing is made before something is stored");
        let credentials = Credentials::password("me", "hunter2-hunter2");
        vault.store("a:5000", &credentials).unwrap();
        vault.store("b", &Credentials::password("you", "x")).unwrap();
        assert_eq!(vault.find("a:5000").unwrap(), Some(credentials.clone()));
        assert_eq!(vault.find("a").unwrap(), None);
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
            let content = fs::read(&path).unwrap();
            for secret in ["hunter2-hunter2", "a:5000", credentials.to_header().as_str()] {
                assert!(!content.windows(secret.len()).any(|part| part == secret.as_bytes()), "{path:?}");
            }
        }
        assert!(vault.erase("a:5000").unwrap() && !vault.erase("a:5000").unwrap());
        assert_eq!((vault.find("a:5000").unwrap(), vault.find("b").unwrap().is_some()), (None, true));
    }

    #[test]
    fn a_changed_file_or_key_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::new(dir.path());
        vault.store("a", &Credentials::password("me", "x")).unwrap();
        let good = fs::read(vault.path()).unwrap();
        for at in [0, MAGIC.len(), MAGIC.len() + NONCE_LEN, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(vault.path(), &bad).unwrap();
            assert!(matches!(vault.find("a"), Err(VaultError::Sealed { .. })), "byte {at}");
        }
        fs::write(vault.path(), &good[..10]).unwrap();
        assert!(matches!(vault.store("b", &Credentials::password("me", "x")), Err(VaultError::Sealed { .. })));
        fs::write(vault.path(), &good).unwrap();
        fs::set_permissions(vault.key_path(), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(vault.find("a"), Err(VaultError::Exposed { mode: 0o640, .. })));
        fs::write(vault.key_path(), [0; 7]).unwrap();
        fs::set_permissions(vault.key_path(), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(vault.find("a"), Err(VaultError::Sealed { .. })));
    }

    #[test]
    fn two_logins_at_once_are_both_kept() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for n in 0..8 {
                let directory = dir.path();
                scope.spawn(move || Vault::new(directory).store(&n.to_string(), &Credentials::password("u", "p")));
            }
        });
        for n in 0..8 {
            assert!(Vault::new(dir.path()).find(&n.to_string()).unwrap().is_some(), "{n}");
        }
    }
}
