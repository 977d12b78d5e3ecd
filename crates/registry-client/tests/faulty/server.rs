// SPDX-License-Identifier: Apache-2.0
//! A registry whose every answer is decided by a closure.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use oci::ImageRef;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A request as the closure sees it.
pub(crate) struct Asked {
    /// The method.
    pub(crate) method: http::Method,
    /// Path and query.
    pub(crate) path: String,
    /// What the request carries, at most a few kilobytes.
    pub(crate) body: Bytes,
    /// How many requests for this path there were, with this one.
    pub(crate) nth: usize,
    headers: http::HeaderMap,
    earlier: Vec<String>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// How many requests so far had a path that begins so.
    pub(crate) fn total_of(&self, prefix: &str) -> usize {
        self.earlier.iter().filter(|path| path.starts_with(prefix)).count()
    }
}

/// What to answer.
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    manner: Manner,
}

enum Manner {
    WithLength,
    Chunked,
    BreaksAfter(usize),
    StallsAfter(usize),
    Throttled,
    Never,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: Vec::new(), manner: Manner::WithLength }
    }

    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Reply {
        Reply::status(200).body(body)
    }

    pub(crate) fn never() -> Reply {
        Reply { manner: Manner::Never, ..Reply::status(200) }
    }

    pub(crate) fn body(self, body: impl Into<Vec<u8>>) -> Reply {
        Reply { body: body.into(), ..self }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn chunked(self) -> Reply {
        Reply { manner: Manner::Chunked, ..self }
    }

    pub(crate) fn breaks_after(self, bytes: usize) -> Reply {
        Reply { manner: Manner::BreaksAfter(bytes), ..self }
    }

    pub(crate) fn stalls_after(self, bytes: usize) -> Reply {
        Reply { manner: Manner::StallsAfter(bytes), ..self }
    }

    /// Slowly: some five megabytes a second, whoever else is served.
    pub(crate) fn throttled(self) -> Reply {
        Reply { manner: Manner::Throttled, ..self }
    }

    async fn send(self) -> Response<BoxBody<Bytes, io::Error>> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        let frame = |bytes: &[u8]| Ok(Frame::data(Bytes::copy_from_slice(bytes)));
        let body = match self.manner {
            Manner::WithLength => Full::new(Bytes::from(self.body)).map_err(|never| match never {}).boxed(),
            Manner::Chunked => {
                let frames: Vec<_> = self.body.chunks(64 << 10).map(frame).collect();
                BodyExt::boxed(StreamBody::new(stream::iter(frames)))
            }
            Manner::BreaksAfter(bytes) => {
                response = response.header("content-length", self.body.len());
                let frames = [frame(&self.body[..bytes]), Err(io::ErrorKind::BrokenPipe.into())];
                // The pause lets the bytes before the break out of the server's buffer.
                let frames = stream::iter(frames).then(async |frame| {
                    if frame.is_err() {
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    }
                    frame
                });
                BodyExt::boxed(StreamBody::new(frames))
            }
            Manner::StallsAfter(bytes) => {
                response = response.header("content-length", self.body.len());
                BodyExt::boxed(StreamBody::new(stream::iter([frame(&self.body[..bytes])]).chain(stream::pending())))
            }
            Manner::Throttled => {
                response = response.header("content-length", self.body.len());
                let frames: Vec<_> = self.body.chunks(64 << 10).map(frame).collect();
                let frames = stream::iter(frames).then(async |frame| {
                    tokio::time::sleep(std::time::Duration::from_millis(12)).await;
                    frame
                });
                BodyExt::boxed(StreamBody::new(frames))
            }
            Manner::Never => std::future::pending().await,
        };
        response.body(body).unwrap()
    }
}

/// A certificate and its key, in PEM.
pub(crate) type Identity = (&'static [u8], &'static [u8]);

/// A running server; it ends with the test's runtime.
pub(crate) struct Registry {
    authority: String,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    pub(crate) async fn start(answer: impl Fn(Asked) -> Reply + Send + Sync + 'static) -> Registry {
        Registry::serve(None, answer).await
    }

    pub(crate) async fn start_tls(answer: impl Fn(Asked) -> Reply + Send + Sync + 'static) -> Registry {
        let identity: Identity = (include_bytes!("../tls/server.pem"), include_bytes!("../tls/server.key"));
        Registry::start_tls_as(identity, None, answer).await
    }

    /// With this certificate; where `clients` is an authority, only for clients with a certificate of it.
    pub(crate) async fn start_tls_as(
        (certificate, key): Identity,
        clients: Option<&[u8]>,
        answer: impl Fn(Asked) -> Reply + Send + Sync + 'static,
    ) -> Registry {
        let certificate = CertificateDer::from_pem_slice(certificate).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(authority).unwrap()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder.with_single_cert(vec![certificate], key).unwrap();
        Registry::serve(Some(TlsAcceptor::from(Arc::new(config))), answer).await
    }

    async fn serve(tls: Option<TlsAcceptor>, answer: impl Fn(Asked) -> Reply + Send + Sync + 'static) -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let paths: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, answer) = (Arc::clone(&paths), Arc::new(answer));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, answer, tls) = (Arc::clone(&seen), Arc::clone(&answer), tls.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                    async move {
                        let asked = record(&seen, request).await;
                        let reply = answer(asked);
                        Ok::<_, Infallible>(reply.send().await)
                    }
                });
                let http = hyper::server::conn::http1::Builder::new();
                // A client that hangs up is part of the play.
                tokio::spawn(async move {
                    match tls {
                        None => http.serve_connection(TokioIo::new(stream), service).await.is_ok(),
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await.is_ok(),
                            Err(_) => false,
                        },
                    }
                });
            }
        });
        Registry { authority, paths }
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn image(&self, name: &str) -> ImageRef {
        format!("{}/{name}", self.authority).parse().unwrap()
    }

    /// What was asked for so far.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.paths.lock().unwrap().clone()
    }
}

async fn record(seen: &Mutex<Vec<String>>, request: Request<Incoming>) -> Asked {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = head.uri.path_and_query().unwrap().to_string();
    let mut seen = seen.lock().unwrap();
    seen.push(path.clone());
    let nth = seen.iter().filter(|earlier| **earlier == path).count();
    Asked { method: head.method, path, body, nth, headers: head.headers, earlier: seen.clone() }
}
