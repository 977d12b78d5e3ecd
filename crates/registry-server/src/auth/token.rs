// SPDX-License-Identifier: Apache-2.0
//! Tokens: JSON Web Tokens (RFC 7519) that a token service signs, by the protocol of the distribution project ("Token
//! Authentication Specification"). The registry sends its clients there, and believes what its key has signed.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use errors::{Classify, Kind, kind_of_io};
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde::de::IgnoredAny;
use spki::Envelope;
use spki::id::{EC, NULL, P256, RSA};

/// How far two clocks may differ, in seconds.
const LEEWAY: u64 = 60;
/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 64 << 10;

/// A token service that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Its key cannot be read.
    #[error("cannot read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its key is no public key that tokens can be checked with.
    #[error("{path:?} is not a public key of RSA or of the curve P-256 in PEM (\"PUBLIC KEY\")")]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// A name that cannot stand in a challenge.
    #[error("{0:?} cannot be used: it has a quotation mark, a backslash or a control character")]
    Name(String),
}

impl Classify for TokenError {
    fn kind(&self) -> Kind {
        match self {
            TokenError::Read { source, .. } => kind_of_io(source),
            TokenError::Key { .. } | TokenError::Name(_) => Kind::InvalidArgument,
        }
    }
}

/// A token service that the registry trusts.
#[derive(Debug)]
pub struct Tokens {
    realm: String,
    service: String,
    issuer: String,
    /// The only algorithm that its key is for, as tokens name it: a token does not choose.
    algorithm: &'static str,
    key: UnparsedPublicKey<Vec<u8>>,
}

/// One entry of a token's `access`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Grant {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    actions: Vec<String>,
}

/// What a token says that matters here.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) subject: String,
    pub(super) access: Vec<Grant>,
}

impl Tokens {
    /// A service at `realm` (an address) that knows this registry as `service`, calls itself `issuer`, and signs with the
    /// private half of the public key in the file `key`: PEM, RSA (RS256) or P-256 (ES256).
    ///
    /// # Errors
    /// The key cannot be used, or one of the names.
    pub fn new(realm: &str, service: &str, issuer: &str, key: &Path) -> Result<Tokens, TokenError> {
        for name in [realm, service] {
            if name.chars().any(|c| c.is_control() || c == '"' || c == '\\') || !name.is_ascii() {
                return Err(TokenError::Name(name.to_owned()));
            }
        }
        let pem = std::fs::read(key).map_err(|source| TokenError::Read { path: key.to_owned(), source })?;
        let unusable = || TokenError::Key { path: key.to_owned() };
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(&pem).map_err(|_| unusable())?;
        let Envelope { algorithm, parameters, key: bytes } = spki::open(&spki).ok_or_else(unusable)?;
        let (algorithm, check): (_, &dyn VerificationAlgorithm) = match (algorithm, parameters) {
            (RSA, NULL) => ("RS256", &RSA_PKCS1_2048_8192_SHA256),
            (EC, P256) => ("ES256", &ECDSA_P256_SHA256_FIXED),
            _ => return Err(unusable()),
        };
        Ok(Tokens {
            realm: realm.to_owned(),
            service: service.to_owned(),
            issuer: issuer.to_owned(),
            algorithm,
            key: UnparsedPublicKey::new(check, bytes.to_vec()),
        })
    }

    /// What a token says, if it is for this registry, of this time, and signed by the service.
    pub(super) fn check(&self, token: &str) -> Option<Claims> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        self.check_at(token, now)
    }

    fn check_at(&self, token: &str, now: u64) -> Option<Claims> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
            /// What who checks it must understand (RFC 7515, section 4.1.11).
            crit: Option<IgnoredAny>,
        }
        #[derive(Deserialize)]
        struct Body {
            iss: String,
            #[serde(default)]
            sub: String,
            aud: Audience,
            exp: u64,
            #[serde(default)]
            nbf: u64,
            #[serde(default)]
            access: Vec<Grant>,
        }
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, body) = signed.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        if header.alg != self.algorithm || header.crit.is_some() {
            return None;
        }
        self.key.verify(signed.as_bytes(), &decode(signature)?).ok()?;
        let body: Body = serde_json::from_slice(&decode(body)?).ok()?;
        let is_ours = body.iss == self.issuer && body.aud.names(&self.service);
        let is_of_now = now < body.exp.saturating_add(LEEWAY) && body.nbf <= now.saturating_add(LEEWAY);
        (is_ours && is_of_now).then_some(Claims { subject: body.sub, access: body.access })
    }

    /// The value of `WWW-Authenticate` that sends a client to the service.
    pub(super) fn challenge(&self, scope: Option<&str>, error: Option<&str>) -> String {
        challenge(&self.realm, &self.service, scope, error)
    }
}

/// The value of `WWW-Authenticate` that sends a client to `realm` (RFC 6750, section 3).
pub(super) fn challenge(realm: &str, service: &str, scope: Option<&str>, error: Option<&str>) -> String {
    let mut text = format!("Bearer realm=\"{realm}\",service=\"{service}\"");
    for (name, value) in [("scope", scope), ("error", error)] {
        if let Some(value) = value {
            text.push_str(&format!(",{name}=\"{value}\""));
        }
    }
    text
}

/// For whom a token is: one name or several (RFC 7519, section 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn names(&self, service: &str) -> bool {
        match self {
            Audience::One(name) => name == service,
            Audience::Several(names) => names.iter().any(|name| name == service),
        }
    }
}

impl Grant {
    pub(super) fn allows(&self, repository: &str, action: &str) -> bool {
        self.kind == "repository" && self.name == repository && self.has(action)
    }

    pub(super) fn is_for_catalog(&self) -> bool {
        self.kind == "registry" && self.name == "catalog" && self.has("*")
    }

    fn has(&self, action: &str) -> bool {
        self.actions.iter().any(|granted| granted == action || granted == "*")
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    struct Service(EcdsaKeyPair);

    impl Service {
        fn new() -> (Service, Tokens) {
            let random = SystemRandom::new();
            let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
            let spki = spki::close(&Envelope { algorithm: EC, parameters: P256, key: pair.public_key().as_ref() });
            let file = tempfile::NamedTempFile::new().unwrap();
            let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(spki));
            std::fs::write(&file, pem).unwrap();
            let tokens = Tokens::new("https://auth/token", "registry", "issuer", file.path()).unwrap();
            (Service(pair), tokens)
        }

        fn sign(&self, header: &Value, body: &Value) -> String {
            let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let signed = format!("{}.{}", encode(header), encode(body));
            let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
        }
    }

    fn good() -> Value {
        json!({"iss": "issuer", "sub": "alice", "aud": ["other", "registry"], "exp": NOW + 300, "nbf": NOW,
            "access": [{"type": "repository", "name": "a/b", "actions": ["pull", "push"]}]})
    }

    #[test]
    fn a_signed_token_grants_what_it_says() {
        let (service, tokens) = Service::new();
        let claims = tokens.check_at(&service.sign(&json!({"alg": "ES256"}), &good()), NOW).unwrap();
        assert_eq!(claims.subject, "alice");
        let grant = &claims.access[0];
        assert!(grant.allows("a/b", "push") && !grant.allows("a/b", "delete") && !grant.allows("a", "pull"));
        assert!(!grant.is_for_catalog());
    }

    /// Made with `openssl genrsa 2048`; the private half signed [`RSA_TOKEN`] and is gone.
    const RSA_KEY: &str = "\
        MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAtEFDw4B6GGNjSMtNYZTp5cQEJUr4NmS+aaSU4hIZDAcUbQ0bd/0sw9xpl+Lp\
        lQMlOOH5JHMoYey+Pase2jum/qT8OxsXsOHi+EMrw7UO2W1bKrwJZRkvVvk/wa5v2bIp5czjGAnZtk/3lL/RjVrCBqryiQp5Jg8rHPLP\
        f1cNiacA9dUnK8fEZeOAnEguT3whu8XroRwbE1oT38Az5AEpIufXvgSarrWgOq5CkpqBOWyvI99YQEGr7C4Yw0PenN0pKDQZLgs2hPPU\
        mF/k9zSz6skv9vHvP3bUV63KjmT15R9LCmohO9xEByqcg+SZ/4X0KheXhEBhncdnNqup6GZEVQIDAQAB";
    const RSA_TOKEN: &str = "\
        eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJpc3N1ZXIiLCJhdWQiOiJyZWdpc3RyeSIsInN1YiI6ImFsaWNlIiwiZXhwIjo5OTk5OTk5OTk\
        5LCJhY2Nlc3MiOlt7InR5cGUiOiJyZWdpc3RyeSIsIm5hbWUiOiJjYXRhbG9nIiwiYWN0aW9ucyI6WyIqIl19XX0.fAw7UOkuJGXsVqI\
        2lcp5W5InthQCL7f9eOlknghRe0rzU8dpBDnxXYqn-uzgE0KBWjR2T_K28gy5Dx_3Om802D7-gDyqZPm75hPjFwNbjyG49LBMH5YQ50P\
        jEjbafC1Ug1ENZmBh6De5reh1Vg43OBz-qRIllmb0YwLhPnxFSb94AGJDtCR6_wK8zZefIi6OuT4h0jnaR62FC7r8bGfbqmkR9Wdg9g_\
        uXJB67uppkSmkTnaPzV0X_r3MW7ObeAWszRZSwkjO6f1lKIXQAGNVfQfNxXpNA-la4FpELil4b9W7Ow-4eFhzYafUxfDif3eAiAejuNv\
        054Js-ZTNVxOl9Q";

    #[test]
    fn a_token_signed_with_rsa_is_believed_and_changed_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, format!("-----BEGIN PUBLIC KEY-----\n{RSA_KEY}\n-----END PUBLIC KEY-----\n")).unwrap();
        let tokens = Tokens::new("https://auth/token", "registry", "issuer", file.path()).unwrap();
        assert!(tokens.check(RSA_TOKEN).unwrap().access[0].is_for_catalog());
        let (signed, signature) = RSA_TOKEN.rsplit_once('.').unwrap();
        let (header, _) = signed.split_once('.').unwrap();
        let body = URL_SAFE_NO_PAD.encode(good().to_string());
        assert!(tokens.check_at(&format!("{header}.{body}.{signature}"), NOW).is_none());
    }

    #[test]
    fn a_token_of_another_time_place_or_hand_is_nothing() {
        let (service, tokens) = Service::new();
        let header = json!({"alg": "ES256"});
        for (field, value) in [
            ("iss", json!("somebody")),
            ("aud", json!("other")),
            ("exp", json!(NOW - 61)),
            ("nbf", json!(NOW + 61)),
            ("exp", json!("never")),
        ] {
            let mut body = good();
            body[field] = value;
            assert!(tokens.check_at(&service.sign(&header, &body), NOW).is_none(), "{field}");
        }
        for algorithm in ["none", "HS256", "RS256", ""] {
            assert!(tokens.check_at(&service.sign(&json!({"alg": algorithm}), &good()), NOW).is_none(), "{algorithm}");
        }
        let critical = json!({"alg": "ES256", "crit": ["x"], "x": 1});
        assert!(tokens.check_at(&service.sign(&critical, &good()), NOW).is_none(), "what is not understood");
        // Sealed with what everybody knows, or with nothing.
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        for (algorithm, sealed) in
            [("HS256", true), ("none", false), ("None", false), ("ES256", true), ("ES256", false)]
        {
            let signed = format!("{}.{}", encode(&json!({"alg": algorithm})), encode(&good()));
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, service.0.public_key().as_ref());
            let seal =
                if sealed { URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, signed.as_bytes())) } else { String::new() };
            assert!(tokens.check_at(&format!("{signed}.{seal}"), NOW).is_none(), "{algorithm}");
        }
        let (other, _) = Service::new();
        assert!(tokens.check_at(&other.sign(&header, &good()), NOW).is_none());
        let token = service.sign(&header, &good());
        let (_, signature) = token.rsplit_once('.').unwrap();
        let mut body = good();
        body["sub"] = "root".into();
        let forged = service.sign(&header, &body);
        let forged = format!("{}.{signature}", forged.rsplit_once('.').unwrap().0);
        assert!(tokens.check_at(&forged, NOW).is_none());
        for nonsense in ["", ".", "..", "a.b.c", "a.b", &"x".repeat(100_000)] {
            assert!(tokens.check_at(nonsense, NOW).is_none());
        }
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        for content in ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(&file, content).unwrap();
            assert!(matches!(Tokens::new("r", "s", "i", file.path()), Err(TokenError::Key { .. })));
        }
        assert!(matches!(Tokens::new("a\"b", "s", "i", Path::new("/none")), Err(TokenError::Name(_))));
    }
}
