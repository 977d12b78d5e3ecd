// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;

use super::*;

/// Keys and signatures that OpenSSL made: `openssl dgst -sha256 -sign`, and `pkeyutl -rawin` for Ed25519.
macro_rules! openssl {
    ($name:literal) => {
        include_str!(concat!("testdata/", $name))
    };
}

const MESSAGE: &[u8] = b"message";

#[test]
fn what_openssl_signed_is_verified_and_nothing_else() {
    for (public, signature, kind) in [
        (openssl!("p256.pub"), openssl!("p256.b64"), "ECDSA P-256"),
        (openssl!("p384.pub"), openssl!("p384.b64"), "ECDSA P-384"),
        (openssl!("rsa.pub"), openssl!("rsa.b64"), "RSA"),
        (openssl!("ed.pub"), openssl!("ed.b64"), "Ed25519"),
    ] {
        let key = PublicKey::from_pem(public).unwrap();
        assert_eq!(key.kind(), kind);
        assert_eq!(key.to_pem(), public);
        assert!(key.verifies(MESSAGE, signature), "{kind}");
        assert!(!key.verifies(b"massage", signature), "{kind}");
        for wrong in
            ["", "*", "AAAA", openssl!("p256.b64"), openssl!("p384.b64"), openssl!("rsa.b64"), openssl!("ed.b64")]
        {
            assert_eq!(key.verifies(MESSAGE, wrong), wrong == signature, "{kind} {wrong}");
        }
        let mut bytes = BASE64_STANDARD.decode(signature).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(!key.verifies(MESSAGE, &BASE64_STANDARD.encode(bytes)), "{kind}");
    }
}

#[test]
fn what_a_private_key_signs_its_public_key_verifies() {
    for (private, public) in [
        (openssl!("p256.key"), openssl!("p256.pub")),
        (openssl!("rsa.key"), openssl!("rsa.pub")),
        (openssl!("ed.key"), openssl!("ed.pub")),
    ] {
        let private = PrivateKey::from_pem(private, None).unwrap();
        let key = private.public().unwrap();
        assert_eq!(key, PublicKey::from_pem(public).unwrap());
        assert!(key.verifies(MESSAGE, &private.sign(MESSAGE).unwrap()));
    }
}

#[test]
fn a_generated_pair_is_sealed_and_belongs_together() {
    let pair = PrivateKey::generate(b"password").unwrap();
    assert!(PrivateKey::is_sealed(&pair.private) && !PrivateKey::is_sealed(openssl!("p256.key")));
    let open = |password: Option<&[u8]>| PrivateKey::from_pem(&pair.private, password);
    let key = open(Some(b"password")).unwrap();
    assert_eq!(key.public().unwrap().to_pem(), pair.public);
    assert_eq!(open(None).err(), Some(KeyError::PasswordNeeded));
    assert_eq!(open(Some(b"other")).err(), Some(KeyError::Password));
    let newer = pair.private.replace("ENCRYPTED COSIGN", "ENCRYPTED SIGSTORE");
    assert_eq!(PrivateKey::from_pem(&newer, Some(b"password")).unwrap().public(), key.public());
}

#[test]
fn keys_that_are_not_believed_say_why() {
    let public = |text: &str| PublicKey::from_pem(text).unwrap_err();
    assert_eq!(public(openssl!("weak.pub")), KeyError::Unsupported("RSA with fewer than 2048 bits"));
    assert!(matches!(public(openssl!("p521.pub")), KeyError::Unsupported(_)));
    assert_eq!(public(openssl!("p256.key")), KeyError::Malformed { wanted: "public" });
    assert_eq!(public(&openssl!("p256.pub").replace("MFkw", "MFow")), KeyError::Malformed { wanted: "public" });
    let private = |text: &str| PrivateKey::from_pem(text, None).unwrap_err();
    assert!(matches!(private(openssl!("p384.key")), KeyError::Unsupported(_)));
    assert!(matches!(private(openssl!("p521.key")), KeyError::Unsupported(_)));
    assert!(matches!(private(openssl!("sec1.key")), KeyError::Unsupported(_)));
    assert_eq!(private(openssl!("p256.pub")), KeyError::Malformed { wanted: "private" });
}

proptest! {
    #[test]
    fn a_damaged_key_is_read_or_not_and_never_panics(place in 0usize..500, byte in any::<u8>(), public in any::<bool>()) {
        let text = if public { openssl!("rsa.pub") } else { openssl!("p256.key") };
        let (label, mut bytes) = pem::parse(text).unwrap();
        let place = place % bytes.len();
        bytes[place] = byte;
        let text = pem::write(label, &bytes);
        if let Ok(key) = PublicKey::from_pem(&text) {
            key.verifies(MESSAGE, openssl!("rsa.b64"));
        }
        if let Ok(key) = PrivateKey::from_pem(&text, None) {
            key.sign(MESSAGE).unwrap();
        }
    }
}
