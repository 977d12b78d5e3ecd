// SPDX-License-Identifier: Apache-2.0
//! The keys that leave a session: `ctrl-p,ctrl-q` unless the user chooses others. Corten's own client looks for them itself;
//! Docker's clients leave it to the daemon.

use std::str::FromStr;

/// A sequence of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

/// A key that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is no key: write one character, or ctrl- and one of a-z @ [ \\ ] ^ _, separated by commas")]
pub struct NoSuchKey(String);

impl Default for DetachKeys {
    /// `ctrl-p,ctrl-q`.
    fn default() -> DetachKeys {
        DetachKeys(vec![0x10, 0x11])
    }
}

impl FromStr for DetachKeys {
    type Err = NoSuchKey;

    fn from_str(text: &str) -> Result<DetachKeys, NoSuchKey> {
        let key = |name: &str| {
            let unknown = || NoSuchKey(name.to_owned());
            match name.strip_prefix("ctrl-").map(str::as_bytes) {
                Some([letter @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]) => Ok(letter & 0x1f),
                Some(_) => Err(unknown()),
                None => match name.as_bytes() {
                    [byte] if byte.is_ascii() => Ok(*byte),
                    _ => Err(unknown()),
                },
            }
        };
        text.split(',').map(key).collect::<Result<_, _>>().map(DetachKeys)
    }
}

/// What is typed, on its way to the container.
#[derive(Debug)]
pub struct Filter {
    keys: Vec<u8>,
    matched: usize,
}

/// What to do with a piece of what was typed.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// Send this; keys that may begin the sequence are held back.
    Forward(Vec<u8>),
    /// Send this, then leave.
    Detach(Vec<u8>),
}

impl Filter {
    /// A filter that waits for `keys`.
    pub fn new(keys: &DetachKeys) -> Filter {
        Filter { keys: keys.0.clone(), matched: 0 }
    }

    /// What to do with `data`.
    pub fn push(&mut self, data: &[u8]) -> Typed {
        let mut forward = Vec::with_capacity(data.len() + self.matched);
        for byte in data {
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return Typed::Detach(forward);
                }
                continue;
            }
            forward.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(self.keys.first() == Some(byte) && self.keys.len() > 1);
            if self.matched == 0 {
                forward.push(*byte);
            }
        }
        Typed::Forward(forward)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(keys: &str) -> Filter {
        Filter::new(&keys.parse().unwrap())
    }

    #[test]
    fn keys_are_written_as_docker_writes_them() {
        assert_eq!("ctrl-p,ctrl-q".parse::<DetachKeys>().unwrap(), DetachKeys::default());
        assert_eq!("a,ctrl-@,ctrl-_".parse::<DetachKeys>().unwrap(), DetachKeys(vec![b'a', 0, 31]));
        for text in ["", "ctrl-", "ctrl-1", "ab", "ctrl-p,", "é"] {
            assert!(text.parse::<DetachKeys>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_sequence_is_found_across_pieces_and_not_sent() {
        let mut filter = filter("ctrl-p,ctrl-q");
        assert_eq!(filter.push(b"ab\x10"), Typed::Forward(b"ab".to_vec()));
        assert_eq!(filter.push(b"\x11rest"), Typed::Detach(vec![]));
    }

    #[test]
    fn a_sequence_that_is_not_finished_is_sent_after_all() {
        let mut filter = filter("ctrl-p,ctrl-q");
        assert_eq!(filter.push(b"\x10x"), Typed::Forward(b"\x10x".to_vec()));
        assert_eq!(filter.push(b"\x10\x10"), Typed::Forward(b"\x10".to_vec()));
        assert_eq!(filter.push(b"\x11"), Typed::Detach(vec![]));
    }
}
