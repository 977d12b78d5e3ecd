// SPDX-License-Identifier: Apache-2.0
//! What this engine is called by those who keep account of several: an id that it is given once, and that goes where its
//! data root goes.

use metadata::{Durability, Store, Table};

use crate::EngineError;

/// What the engine knows of itself.
const ENGINE: Table = Table::new("engine");
const ID: &str = "id";

/// The id in the store, made when there is none.
pub(crate) fn read_or_make(store: &Store) -> Result<String, EngineError> {
    if let Some(id) = store.read(|tx| tx.get::<String>(ENGINE, ID))? {
        return Ok(id);
    }
    let mut random = [0; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| EngineError::io("read", "/dev/urandom")(errno.into()))?;
    let id = uuid(random);
    store.write(Durability::Synced, |tx| tx.put(ENGINE, ID, &id))?;
    Ok(id)
}

/// A random UUID (RFC 9562, version 4), as Docker's ids of engines are.
fn uuid(mut random: [u8; 16]) -> String {
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    let digits = hex::encode(random);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metadata.redb");
        let first = read_or_make(&Store::open(&path).unwrap()).unwrap();
        assert_eq!(read_or_make(&Store::open(&path).unwrap()).unwrap(), first);
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
    }
}
