// SPDX-License-Identifier: Apache-2.0
//! The protection of cosign's private keys: a key derived from the password with scrypt (RFC 7914), and NaCl's
//! `secretbox`, XSalsa20 with Poly1305, around the PKCS#8 document; written down as JSON.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use ring::rand::{SecureRandom as _, SystemRandom};
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _};
use serde::{Deserialize, Serialize};

use super::KeyError;

/// What is written: the only cost that older readers accept. 32 MiB.
const WRITTEN: Parameters = Parameters { n: 32768, r: 8, p: 1 };
/// The most memory that opening a key may take.
const MOST_MEMORY: u64 = 256 << 20;
/// The most passes over that memory.
const MOST_PASSES: u32 = 16;
const TAG: usize = 16;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    kdf: Derivation,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Derivation {
    name: String,
    params: Parameters,
    salt: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cipher {
    name: String,
    nonce: String,
}

/// Protects `secret` with `password`.
pub(super) fn seal(secret: &[u8], password: &[u8]) -> Result<Vec<u8>, KeyError> {
    let random = SystemRandom::new();
    let (mut salt, mut nonce) = ([0; 32], [0; 24]);
    for bytes in [&mut salt[..], &mut nonce[..]] {
        random.fill(bytes).map_err(|_| KeyError::Operation("reading random numbers"))?;
    }
    let sealed = Sealed {
        kdf: Derivation { name: "scrypt".to_owned(), params: WRITTEN, salt: BASE64_STANDARD.encode(salt) },
        cipher: Cipher { name: "nacl/secretbox".to_owned(), nonce: BASE64_STANDARD.encode(nonce) },
        ciphertext: BASE64_STANDARD.encode(put_in_box(&derive(password, &salt, WRITTEN)?, &nonce, secret)),
    };
    serde_json::to_vec(&sealed).map_err(|_| KeyError::Operation("writing a key"))
}

/// What [`seal`] protected.
pub(super) fn open(sealed: &[u8], password: &[u8]) -> Result<Vec<u8>, KeyError> {
    let malformed = || KeyError::Malformed { wanted: "private" };
    let sealed: Sealed = serde_json::from_slice(sealed).map_err(|_| malformed())?;
    if sealed.kdf.name != "scrypt" || sealed.cipher.name != "nacl/secretbox" {
        return Err(KeyError::Unsupported("protected by other means than scrypt and secretbox"));
    }
    let bytes = |text: &str| BASE64_STANDARD.decode(text).map_err(|_| malformed());
    let (salt, content) = (bytes(&sealed.kdf.salt)?, bytes(&sealed.ciphertext)?);
    let nonce: [u8; 24] = bytes(&sealed.cipher.nonce)?.try_into().map_err(|_| malformed())?;
    take_out_of_box(&derive(password, &salt, sealed.kdf.params)?, &nonce, &content).ok_or(KeyError::Password)
}

fn derive(password: &[u8], salt: &[u8], Parameters { n, r, p }: Parameters) -> Result<[u8; 32], KeyError> {
    let memory = n.checked_mul(u64::from(r)).and_then(|blocks| blocks.checked_mul(128));
    if !n.is_power_of_two() || n < 2 || p > MOST_PASSES || memory.is_none_or(|memory| memory > MOST_MEMORY) {
        return Err(KeyError::Cost);
    }
    // Below 64 as n is an u64.
    let parameters = scrypt::Params::new(n.ilog2() as u8, r, p).map_err(|_| KeyError::Cost)?;
    let mut key = [0; 32];
    scrypt::scrypt(password, salt, &parameters, &mut key).map_err(|_| KeyError::Operation("deriving a key"))?;
    Ok(key)
}

/// The stream of XSalsa20 behind its first 32 bytes, and those as the key of the authenticator.
fn stream(key: &[u8; 32], nonce: &[u8; 24]) -> (XSalsa20, Poly1305) {
    let mut stream = XSalsa20::new(key.into(), nonce.into());
    let mut first = [0; 32];
    stream.apply_keystream(&mut first);
    (stream, Poly1305::new(&first.into()))
}

fn put_in_box(key: &[u8; 32], nonce: &[u8; 24], content: &[u8]) -> Vec<u8> {
    let (mut stream, authenticator) = stream(key, nonce);
    let mut hidden = content.to_vec();
    stream.apply_keystream(&mut hidden);
    let tag = authenticator.compute_unpadded(&hidden);
    [tag.as_slice(), &hidden].concat()
}

fn take_out_of_box(key: &[u8; 32], nonce: &[u8; 24], content: &[u8]) -> Option<Vec<u8>> {
    let (tag, hidden) = content.split_at_checked(TAG)?;
    let (mut stream, authenticator) = stream(key, nonce);
    // How long this takes tells only who has the file and tries passwords on it.
    if authenticator.compute_unpadded(hidden).as_slice() != tag {
        return None;
    }
    let mut shown = hidden.to_vec();
    stream.apply_keystream(&mut shown);
    Some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of NaCl's own documentation ("Cryptography in NaCl", section 10, and `tests/secretbox.c`).
    #[test]
    fn the_box_is_nacls() {
        let key = hex::decode("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389").unwrap();
        let nonce = hex::decode("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37").unwrap();
        let content = hex::decode(
            "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01\
             233561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd\
             4924ca1c60902e52f0a089bc76897040e082f937763848645e0705",
        )
        .unwrap();
        let (key, nonce) = (key.try_into().unwrap(), nonce.try_into().unwrap());
        let boxed = put_in_box(&key, &nonce, &content);
        assert!(hex::encode(&boxed).starts_with("f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce"));
        assert_eq!(take_out_of_box(&key, &nonce, &boxed), Some(content));
        for place in 0..boxed.len() {
            let mut changed = boxed.clone();
            changed[place] ^= 1;
            assert_eq!(take_out_of_box(&key, &nonce, &changed), None);
        }
        assert_eq!(take_out_of_box(&key, &nonce, &boxed[..15]), None);
    }

    #[test]
    fn a_password_opens_what_it_sealed_and_no_other_does() {
        let sealed = seal(b"secret", b"password").unwrap();
        assert_eq!(open(&sealed, b"password").unwrap(), b"secret");
        assert_eq!(open(&sealed, b"Password"), Err(KeyError::Password));
        assert_eq!(open(b"{}", b""), Err(KeyError::Malformed { wanted: "private" }));
    }

    #[test]
    fn a_file_cannot_ask_for_all_memory_or_all_time() {
        let text = String::from_utf8(seal(b"secret", b"x").unwrap()).unwrap();
        let changed = |from: &str, to: &str| open(text.replace(from, to).as_bytes(), b"x").err();
        for to in ["\"N\":1073741824", "\"N\":18446744073709551615", "\"N\":3", "\"N\":1", "\"N\":0"] {
            assert_eq!(changed("\"N\":32768", to), Some(KeyError::Cost), "{to}");
        }
        assert_eq!(changed("\"p\":1", "\"p\":1000000"), Some(KeyError::Cost));
        assert_eq!(changed("\"r\":8", "\"r\":4294967295"), Some(KeyError::Cost));
        assert_eq!(changed("\"r\":8", "\"r\":0"), Some(KeyError::Cost));
        assert!(matches!(changed("scrypt", "pbkdf2"), Some(KeyError::Unsupported(_))));
    }
}
