// SPDX-License-Identifier: Apache-2.0
//! Users with passwords: a file of `user:hash` lines as `htpasswd -B` writes it. Only bcrypt hashes are accepted.
//!
//! bcrypt is slow on purpose, so a password that was right is remembered while it is in use, as a keyed hash; others are
//! checked one after the other, however many guess at once (see [`super::turns`]).

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use errors::{Classify, Kind, kind_of_io};
use http::HeaderValue;
use oci::{Digest, Hasher};

use super::passes::Passes;
use super::turns::Turns;
use crate::storage::{Lru, held};

/// How long after it was used last a password that was right need not be hashed again. Who is at work must not have to
/// wait behind those who guess.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Passwords remembered.
const MOST_REMEMBERED: usize = 1024;
/// The longest `Authorization` that is looked at, in bytes.
const MAX_CREDENTIALS: usize = 1024;
/// The greatest cost that a hash may have: seconds of work each time.
const MAX_COST: u32 = 16;

/// A file of users that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HtpasswdError {
    /// It cannot be read.
    #[error("cannot read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line is not `user:hash` with a hash of bcrypt.
    #[error("{path:?}, line {line}: expected USER:HASH with a hash of bcrypt, as `htpasswd -B` writes it")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
    },
    /// A user has two passwords, of which one would not count.
    #[error("{path:?}, line {line}: this user has a line already; remove one of the two")]
    Twice {
        /// The file.
        path: PathBuf,
        /// Counted from one: the second.
        line: usize,
    },
    /// Nobody could ever come in.
    #[error("{path:?} has no users")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random numbers.
    #[error("cannot get random numbers from the system")]
    Random(#[source] std::io::Error),
}

impl Classify for HtpasswdError {
    fn kind(&self) -> Kind {
        match self {
            HtpasswdError::Read { source, .. } | HtpasswdError::Random(source) => kind_of_io(source),
            HtpasswdError::Line { .. } | HtpasswdError::Twice { .. } | HtpasswdError::Empty { .. } => {
                Kind::InvalidArgument
            }
        }
    }
}

/// The users of a registry.
#[derive(Debug)]
pub struct Users {
    hashes: HashMap<String, Arc<str>>,
    /// What unknown users' passwords are compared with, so that it takes as long.
    decoys: Vec<Arc<str>>,
    /// Makes what is remembered useless elsewhere.
    key: [u8; 32],
    remembered: Mutex<Lru<Digest, Instant>>,
    turns: Turns,
    pub(super) passes: Passes,
}

impl Users {
    /// Reads a file of users. Empty lines and those that begin with `#` are skipped.
    ///
    /// # Errors
    /// It cannot be read, a line is no user's, or there are none.
    pub fn read(path: &Path) -> Result<Users, HtpasswdError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| HtpasswdError::Read { path: path.to_owned(), source })?;
        let mut hashes = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let user = line.split_once(':').filter(|(user, hash)| !user.is_empty() && is_bcrypt(hash));
            let (user, hash) = user.ok_or_else(|| HtpasswdError::Line { path: path.to_owned(), line: number + 1 })?;
            if hashes.insert(user.to_owned(), Arc::from(hash)).is_some() {
                return Err(HtpasswdError::Twice { path: path.to_owned(), line: number + 1 });
            }
        }
        let decoys: Vec<Arc<str>> = hashes.values().cloned().collect();
        if decoys.is_empty() {
            return Err(HtpasswdError::Empty { path: path.to_owned() });
        }
        let remembered = Mutex::new(Lru::new(MOST_REMEMBERED));
        let (key, passes) = (random()?, Passes::new(random()?));
        Ok(Users { hashes, decoys, key, remembered, turns: Turns::new(), passes })
    }

    /// The user whose name and password these are (RFC 7617), if they are right. `client` is where they come from.
    pub(crate) async fn check(&self, authorization: &HeaderValue, client: IpAddr) -> Option<String> {
        let (user, password) = basic(authorization)?;
        let proof = self.proof(&user, &password);
        let since = held(&self.remembered).get(&proof);
        if since.is_none_or(|since| since.elapsed() >= REMEMBERED) {
            let known = self.hashes.get(&user);
            let hash = Arc::clone(known.unwrap_or_else(|| self.decoy(&user)));
            let turn = self.turns.take(client).await?;
            let matches = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                bcrypt::verify(password, &hash).unwrap_or(false)
            });
            if !matches.await.unwrap_or(false) || known.is_none() {
                return None;
            }
        }
        held(&self.remembered).insert(proof, Instant::now(), 1);
        Some(user)
    }

    /// Some user's hash, always the same for one name: where hashes cost differently, an unknown user's takes as long as
    /// somebody's.
    fn decoy(&self, user: &str) -> &Arc<str> {
        let number =
            self.proof(user, "").as_bytes().iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        // There is one at least: the file is refused otherwise.
        &self.decoys[number % self.decoys.len()]
    }

    fn proof(&self, user: &str, password: &str) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(&self.key);
        hasher.update(&(user.len() as u64).to_le_bytes());
        hasher.update(user.as_bytes());
        hasher.update(password.as_bytes());
        hasher.finish()
    }
}

fn random() -> Result<[u8; 32], HtpasswdError> {
    let mut bytes = [0; 32];
    // The kernel gives up to 256 bytes whole (getrandom(2)).
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| HtpasswdError::Random(error.into()))?;
    Ok(bytes)
}

/// Whether neither a name nor a password is given, in so many words.
pub(super) fn is_nobody(authorization: &HeaderValue) -> bool {
    basic(authorization).is_some_and(|(user, password)| user.is_empty() && password.is_empty())
}

/// Name and password of `Authorization: Basic <base64>`.
fn basic(value: &HeaderValue) -> Option<(String, String)> {
    let (scheme, encoded) = value.to_str().ok().filter(|text| text.len() <= MAX_CREDENTIALS)?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// `$2<letter>$<two digits of cost>$<53 characters>`
fn is_bcrypt(hash: &str) -> bool {
    let mut parts = hash.split('$');
    let begin = parts.next() == Some("");
    let version = parts.next().is_some_and(|version| matches!(version, "2a" | "2b" | "2x" | "2y"));
    let cost =
        parts.next().and_then(|cost| cost.parse::<u32>().ok()).is_some_and(|cost| (4..=MAX_COST).contains(&cost));
    // Its own base 64.
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
    let rest = parts.next().is_some_and(|rest| rest.len() == 53 && rest.bytes().all(is_digit));
    begin && version && cost && rest && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Users written as `htpasswd -B` does, with the least cost.
    fn file(users: &[(&str, &str)]) -> tempfile::NamedTempFile {
        let lines: String =
            users.iter().map(|(user, password)| format!("{user}:{}\n", bcrypt::hash(password, 4).unwrap())).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, format!("# users\n\n{lines}")).unwrap();
        file
    }

    fn header(user: &str, password: &str) -> HeaderValue {
        format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))).parse().unwrap()
    }

    #[tokio::test]
    async fn only_the_right_password_proves_a_user() {
        let users = Users::read(file(&[("alice", "secret"), ("bob", "a:b")]).path()).unwrap();
        for _ in 0..2 {
            assert_eq!(users.check(&header("alice", "secret"), HERE).await.as_deref(), Some("alice"));
            assert_eq!(users.check(&header("bob", "a:b"), HERE).await.as_deref(), Some("bob"));
            for (user, password) in [("alice", "a:b"), ("alice", ""), ("nobody", "secret"), ("bob", "secret")] {
                assert_eq!(users.check(&header(user, password), HERE).await, None, "{user} {password}");
            }
        }
        for nonsense in ["Basic", "Basic !!!", "Bearer abc", "Basic YWxpY2U="] {
            assert_eq!(users.check(&nonsense.parse().unwrap(), HERE).await, None, "{nonsense}");
        }
    }

    #[tokio::test]
    async fn who_leaves_while_a_password_is_hashed_does_not_let_the_next_one_begin() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, format!("alice:{}\n", bcrypt::hash("secret", 12).unwrap())).unwrap();
        let users = Arc::new(Users::read(file.path()).unwrap());
        let users_there = Arc::clone(&users);
        let guess = tokio::spawn(async move { users_there.check(&header("alice", "guess"), HERE).await });
        while !users.turns.is_taken() {
            tokio::task::yield_now().await;
        }
        guess.abort();
        assert!(guess.await.unwrap_err().is_cancelled());
        // The work goes on for some tenths of a second, and so does its turn.
        assert!(users.turns.is_taken());
        assert_eq!(users.check(&header("alice", "secret"), HERE).await.as_deref(), Some("alice"));
        assert!(!users.turns.is_taken());
    }

    #[tokio::test]
    async fn an_unknown_user_is_always_compared_with_the_same_hash() {
        let users = Users::read(file(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]).path()).unwrap();
        let decoys = |name: &str| [users.decoy(name), users.decoy(name)].map(Arc::clone);
        let mut different = std::collections::HashSet::new();
        for number in 0..100 {
            let [one, again] = decoys(&format!("nobody{number}"));
            assert_eq!(one, again);
            different.insert(one);
        }
        assert_eq!(different.len(), 4, "and each is somebody's");
    }

    #[test]
    fn only_bcrypt_is_accepted() {
        for line in ["alice:plain", "alice:{SHA}abc=", "alice:$apr1$abc$def", "alice", ":x", "alice:$2y$31$aaa"] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(&file, line).unwrap();
            let error = Users::read(file.path()).unwrap_err();
            assert!(matches!(error, HtpasswdError::Line { line: 1, .. }), "{line}");
        }
        let hash = bcrypt::hash("x", 4).unwrap();
        for line in [format!("alice:x{hash}"), format!("alice:{}é", &hash[..58]), format!("alice:{}!", &hash[..59])] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(&file, &line).unwrap();
            assert!(matches!(Users::read(file.path()), Err(HtpasswdError::Line { .. })), "{line}");
        }
        let twice = file(&[("alice", "1"), ("bob", "2"), ("alice", "3")]);
        assert!(matches!(Users::read(twice.path()), Err(HtpasswdError::Twice { line: 5, .. })));
        let empty = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(Users::read(empty.path()), Err(HtpasswdError::Empty { .. })));
    }
}
