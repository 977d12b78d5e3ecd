// SPDX-License-Identifier: Apache-2.0
//! Signing with a key of the user's. The private key stays in this process: the daemon is given the signature.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use api_types::{RegistrySignatures, SignatureText};
use errors::{Kind, kind_of_io};
use jiff::Timestamp;
use oci::{Digest, ImageRef};
use trust::{Payload, PrivateKey, PublicKey, Signature};

use crate::cli::Context;
use crate::failure::Failure;
use crate::{printer, terminal};

/// The variable that cosign takes the password from.
const VARIABLE: &str = "COSIGN_PASSWORD";
/// The longest key or password, in bytes.
const LONGEST: u64 = 64 << 10;
/// What signatures say of their maker.
const CREATOR: &str = concat!("corten/", env!("CARGO_PKG_VERSION"));

fn read(what: &str, file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::new(kind_of_io(&error), format!("cannot read {what} {}: {error}", file.display()))),
    }
}

fn unusable(file: &Path, error: &trust::KeyError) -> Failure {
    let mut report = errors::Report::from(error);
    report.message = format!("the key {} cannot be used: {}", file.display(), report.message);
    report.into()
}

/// The public key in a file.
pub(crate) fn public_key(file: &Path) -> Result<PublicKey, Failure> {
    PublicKey::from_pem(&read("the key", file)?).map_err(|error| unusable(file, &error))
}

/// The private key in a file. The password, where it takes one, comes from `password_file`, from the environment, or is asked
/// for.
pub(crate) fn open(file: &Path, password_file: Option<&Path>) -> Result<PrivateKey, Failure> {
    let text = read("the key", file)?;
    let password = match PrivateKey::is_sealed(&text) {
        true => {
            given_password(password_file)?.map_or_else(|| asked_password(file).map(Some), |given| Ok(Some(given)))?
        }
        false => None,
    };
    PrivateKey::from_pem(&text, password.as_deref()).map_err(|error| unusable(file, &error))
}

/// The password that a new key shall have. An empty one is one as well: cosign has it so.
pub(crate) fn new_password(password_file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    if let Some(given) = given_password(password_file)? {
        return Ok(given);
    }
    let first = typed("Password of the new key: ")?;
    if first != typed("The same again: ")? {
        return Err(Failure::new(Kind::InvalidArgument, "the two passwords differ"));
    }
    Ok(first)
}

fn given_password(file: Option<&Path>) -> Result<Option<Vec<u8>>, Failure> {
    if let Some(file) = file {
        let text = read("the password", file)?;
        // An editor puts a newline at the end.
        let text = text.strip_suffix('\n').unwrap_or(&text);
        return Ok(Some(text.strip_suffix('\r').unwrap_or(text).as_bytes().to_vec()));
    }
    Ok(std::env::var_os(VARIABLE).map(std::os::unix::ffi::OsStringExt::into_vec))
}

fn asked_password(file: &Path) -> Result<Vec<u8>, Failure> {
    typed(&format!("Password of {}: ", file.display()))
}

fn typed(prompt: &str) -> Result<Vec<u8>, Failure> {
    if !terminal::is_interactive() {
        return Err(Failure::new(
            Kind::InvalidArgument,
            "the key's password is needed, and there is no terminal to ask at",
        )
        .with_hint(format!("set {VARIABLE}, or give --password-file FILE")));
    }
    let line = terminal::hidden_line(prompt);
    printer::note("");
    let unreadable = |error: io::Error| Failure::new(kind_of_io(&error), format!("cannot read from stdin: {error}"));
    Ok(line.map_err(unreadable)?.ok_or(Failure { report: None, code: 130 })?.into_bytes())
}

/// What the daemon answered about a registry, in this program's words.
pub(crate) struct Found {
    /// The name, with a tag or a digest.
    pub(crate) name: ImageRef,
    /// The digest of the manifest or index there.
    pub(crate) digest: Digest,
    /// The signatures over it. Not verified.
    pub(crate) signatures: Vec<Signature>,
}

/// Asks for what the registry has under `name`.
pub(crate) async fn look_up(context: &Context, name: &ImageRef, auth: Option<&str>) -> Result<Found, Failure> {
    let RegistrySignatures { reference, digest, signatures } =
        context.client.registry_signatures(&name.canonical(), auth).await?;
    let nonsense =
        |what: String| Failure::new(Kind::Internal, format!("the daemon's answer is not understood: {what}"));
    let signature = |text: SignatureText| Signature { payload: text.payload.into_bytes(), signature: text.signature };
    Ok(Found {
        name: reference.parse().map_err(|error: oci::ReferenceError| nonsense(error.to_string()))?,
        digest: digest.parse().map_err(|error: oci::DigestError| nonsense(error.to_string()))?,
        signatures: signatures.into_iter().map(signature).collect(),
    })
}

/// Signs `digest`, or else what the registry has under `name`, as `name`; and says which digest that is. What the key has
/// signed before is not signed again.
pub(crate) async fn sign(
    context: &Context,
    name: &ImageRef,
    digest: Option<Digest>,
    key: &PrivateKey,
    auth: Option<&str>,
) -> Result<Digest, Failure> {
    let asked = match digest {
        Some(digest) => format!("{}/{}@{digest}", name.registry(), name.repository())
            .parse()
            .map_err(|error: oci::ReferenceError| Failure::new(Kind::Internal, error.to_string()))?,
        None => name.clone(),
    };
    let found = look_up(context, &asked, auth).await?;
    let claim = Payload { name: name.clone().with_default_tag(), digest: found.digest };
    let keys = [key.public()?];
    let is_made = |signature: &&Signature| trust::verify(signature, &keys, &[claim.digest]).as_ref() == Ok(&claim);
    let made = match found.signatures.iter().find(is_made) {
        Some(made) => made.clone(),
        None => {
            let payload = claim.to_text(CREATOR, Timestamp::now().as_second());
            Signature { signature: key.sign(&payload)?, payload }
        }
    };
    // Ours is JSON, and the daemon's came as text.
    let payload = String::from_utf8(made.payload)
        .map_err(|_| Failure::new(Kind::Internal, "the payload of a signature is no text"))?;
    let text = SignatureText { payload, signature: made.signature };
    context.client.add_signature(&claim.name.canonical(), &text, auth).await?;
    Ok(claim.digest)
}
