// SPDX-License-Identifier: Apache-2.0
//! Who is at the other end: with TLS, whom the client's certificate names.

use rustls::pki_types::CertificateDer;
use spki::SEQUENCE;

/// X.501 `commonName`, 2.5.4.3, as an object identifier with its tag and length.
const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];
/// DER's SET OF.
const SET: u8 = 0x31;
/// The version of a certificate: context-specific, constructed, 0.
const VERSION: u8 = 0xa0;
/// The kinds of text that names are written in: UTF8String, PrintableString, IA5String, TeletexString.
const TEXTS: [u8; 4] = [0x0c, 0x13, 0x16, 0x14];

/// A client that is connected.
#[derive(Debug, Clone, Default)]
pub(super) struct Peer {
    /// Its certificate's common name.
    pub(super) user: Option<String>,
    /// Its certificate, and those between it and its authority.
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

impl Peer {
    /// Who showed `certificates`, which were verified.
    pub(super) fn of(certificates: &[CertificateDer<'_>]) -> Peer {
        Peer {
            user: certificates.first().and_then(|certificate| common_name(certificate)),
            certificates: certificates.iter().map(|certificate| certificate.clone().into_owned()).collect(),
        }
    }
}

/// The last common name of a certificate's subject, the most specific one (RFC 5280, 4.1).
fn common_name(certificate: &[u8]) -> Option<String> {
    let (certificate, _) = spki::element(certificate, SEQUENCE)?;
    let (content, _) = spki::element(certificate, SEQUENCE)?;
    let content = spki::element(content, VERSION).map_or(content, |(_, rest)| rest);
    let (_serial, rest) = spki::element(content, spki::INTEGER)?;
    let (_algorithm, rest) = spki::element(rest, SEQUENCE)?;
    let (_issuer, rest) = spki::element(rest, SEQUENCE)?;
    let (_validity, rest) = spki::element(rest, SEQUENCE)?;
    let (mut subject, _) = spki::element(rest, SEQUENCE)?;
    let mut name = None;
    while let Some((mut attributes, rest)) = spki::element(subject, SET) {
        subject = rest;
        while let Some((attribute, rest)) = spki::element(attributes, SEQUENCE) {
            attributes = rest;
            if let Some(value) = attribute.strip_prefix(COMMON_NAME) {
                let text = TEXTS.iter().find_map(|tag| spki::element(value, *tag));
                name = text.map(|(text, _)| String::from_utf8_lossy(text).into_owned()).or(name);
            }
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use registry_client::pem;

    use super::*;

    #[test]
    fn the_common_name_is_found_and_nonsense_is_nobody() {
        let file = |name: &str| {
            let path = format!("{}/../registry-client/tests/tls/{name}.pem", env!("CARGO_MANIFEST_DIR"));
            pem::certificates(path.as_ref()).unwrap()
        };
        assert_eq!(Peer::of(&file("client")).user.as_deref(), Some("client"));
        assert_eq!(Peer::of(&file("ca2")).user.as_deref(), Some("Corten second test authority"));
        let whole = file("client").remove(0);
        for length in 0..whole.len() {
            // Cut off anywhere it is nobody, or somebody it names: never a panic.
            let _ = common_name(&whole[..length]);
        }
        assert_eq!(common_name(b""), None);
    }
}
