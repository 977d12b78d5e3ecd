// SPDX-License-Identifier: Apache-2.0
//! TLS to a log server: whom to trust, and how to prove who sends.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The files that say so; without an authority, the host's count.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsFiles {
    pub(super) authority: Option<PathBuf>,
    /// A certificate and its key.
    pub(super) client: Option<(PathBuf, PathBuf)>,
    pub(super) unverified: bool,
}

/// TLS as it was read from the files.
#[derive(Clone)]
pub(crate) struct Tls(TlsConnector);

impl Tls {
    /// Reads the files. The host's own certificates take milliseconds.
    ///
    /// # Errors
    /// What is wrong with which of them.
    pub(crate) fn read(files: &TlsFiles) -> Result<Tls, String> {
        let mut roots = RootCertStore::empty();
        match &files.authority {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match files.unverified {
            true => builder.dangerous().with_custom_certificate_verifier(registry_client::unverified(provider)),
            false => builder.with_root_certificates(roots),
        };
        let config = match &files.client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let broken = |error: rustls::pki_types::pem::Error| format!("{}: {error}", key.display());
                let private = PrivateKeyDer::from_pem_file(key).map_err(broken)?;
                let chain = certificates(certificate)?;
                builder.with_client_auth_cert(chain, private).map_err(|error| error.to_string())?
            }
        };
        Ok(Tls(TlsConnector::from(Arc::new(config))))
    }

    pub(super) async fn wrap(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        self.0.connect(name, stream).await
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match all {
        Ok(all) if all.is_empty() => Err(format!("{}: there is no certificate in it", path.display())),
        other => other.map_err(|error| format!("{}: {error}", path.display())),
    }
}
