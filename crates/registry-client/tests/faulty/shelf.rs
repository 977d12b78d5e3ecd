// SPDX-License-Identifier: Apache-2.0
//! A registry that can be pushed to, and whose uploads go wrong as a list says.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use oci::{Digest, ImageRef};
use tokio::net::TcpListener;

/// What goes wrong with one `PUT` or `PATCH` of an upload; each request takes one from the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The connection breaks after so many bytes, which are kept.
    BreaksAfter(usize),
    /// The connection breaks after so many bytes, and the session is forgotten.
    Forgets(usize),
    /// The blob is stored, and the connection breaks before the answer.
    LosesTheAnswer,
    /// An answer with this status, without a look at the bytes.
    Status(u16),
    /// No byte is taken, and nothing is said.
    Stalls,
    /// The answer claims that something else was stored.
    Lies,
}

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) blobs: HashMap<Digest, Vec<u8>>,
    pub(crate) manifests: HashMap<String, Vec<u8>>,
    /// Method, path without query, range.
    pub(crate) requests: Vec<(Method, String, Option<String>)>,
    sessions: HashMap<String, Vec<u8>>,
    faults: VecDeque<Fault>,
    begun: usize,
    /// Bodies larger than this are refused.
    limit: Option<usize>,
}

/// The running registry; it ends with the test's runtime.
pub(crate) struct Shelf {
    authority: String,
    pub(crate) state: Arc<Mutex<State>>,
}

type Answer = Result<Response<Full<Bytes>>, io::Error>;

impl Shelf {
    pub(crate) async fn start(faults: &[Fault], limit: Option<usize>) -> Shelf {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let state = State { faults: faults.iter().copied().collect(), limit, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = Arc::clone(&shared);
                let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(async move { http.serve_connection(TokioIo::new(stream), service).await.is_ok() });
            }
        });
        Shelf { authority, state }
    }

    pub(crate) fn image(&self, name: &str) -> ImageRef {
        format!("{}/{name}", self.authority).parse().unwrap()
    }

    /// How many requests of this method there were for paths with this part.
    pub(crate) fn count(&self, method: &Method, part: &str) -> usize {
        self.state.lock().unwrap().requests.iter().filter(|(m, path, _)| m == method && path.contains(part)).count()
    }
}

fn status(status: u16) -> http::response::Builder {
    Response::builder().status(status)
}

fn empty(builder: http::response::Builder) -> Answer {
    Ok(builder.body(Full::default()).unwrap())
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let range = head.headers.get("content-range").map(|value| value.to_str().unwrap().to_owned());
    state.lock().unwrap().requests.push((head.method.clone(), path.clone(), range.clone()));
    let parameter = |name: &str| {
        let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.map(str::to_owned)
    };
    match (head.method, path.as_str()) {
        (Method::GET, "/v2/") => empty(status(200)),
        (Method::POST, path) if path.ends_with("/blobs/uploads/") => {
            assert_eq!(head.headers.get("content-length").unwrap(), "0");
            let mut state = state.lock().unwrap();
            if let Some(digest) = parameter("mount")
                && parameter("from").as_deref() == Some("other")
                && state.blobs.contains_key(&digest.parse::<Digest>().unwrap())
            {
                return empty(status(201).header("location", "/there"));
            }
            state.begun += 1;
            let session = format!("session{}", state.begun);
            state.sessions.insert(session.clone(), Vec::new());
            empty(status(202).header("location", format!("{path}{session}?_state=x")).header("range", "0-0"))
        }
        (Method::PUT, path) if path.contains("/manifests/") => {
            let content = body.collect().await.unwrap().to_bytes();
            state.lock().unwrap().manifests.insert(path.rsplit('/').next().unwrap().to_owned(), content.to_vec());
            empty(status(201).header("docker-content-digest", Digest::of(&content).to_string()))
        }
        (Method::HEAD, path) => {
            let digest: Digest = path.rsplit('/').next().unwrap().parse().unwrap();
            let here = state.lock().unwrap().blobs.contains_key(&digest);
            empty(status(if here { 200 } else { 404 }))
        }
        (method, path) => {
            let session = path.rsplit('/').next().unwrap().to_owned();
            upload(&state, method, path, session, range, parameter("digest"), body).await
        }
    }
}

/// A request to an upload's own address.
async fn upload(
    state: &Mutex<State>,
    method: Method,
    path: &str,
    session: String,
    range: Option<String>,
    digest: Option<String>,
    body: Incoming,
) -> Answer {
    let location = format!("{path}?_state=x");
    let Some(stored) = state.lock().unwrap().sessions.get(&session).map(Vec::len) else {
        return Ok(status(404).body(r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}"#.into()).unwrap());
    };
    let told = format!("0-{}", stored.saturating_sub(1));
    match method {
        Method::GET => return empty(status(204).header("location", location).header("range", told)),
        Method::DELETE => {
            state.lock().unwrap().sessions.remove(&session);
            return empty(status(204));
        }
        _ => {}
    }
    let (fault, limit) = {
        let mut state = state.lock().unwrap();
        (state.faults.pop_front().unwrap_or(Fault::None), state.limit)
    };
    let from: usize = range.as_deref().map_or(0, |range| range.split('-').next().unwrap().parse().unwrap());
    if from != stored {
        return empty(status(416).header("location", location).header("range", told));
    }
    match fault {
        Fault::Status(code) => return Ok(status(code).body(r#"{"errors":[{"code":"NO"}]}"#.into()).unwrap()),
        Fault::Stalls => std::future::pending().await,
        _ => {}
    }
    let whole = take(state, &session, body, fault, limit).await?;
    if !whole {
        return empty(status(StatusCode::PAYLOAD_TOO_LARGE.as_u16()));
    }
    if method == Method::PATCH {
        let stored = state.lock().unwrap().sessions[&session].len();
        return empty(status(202).header("location", location).header("range", format!("0-{}", stored - 1)));
    }
    let content = state.lock().unwrap().sessions.remove(&session).unwrap();
    let digest: Digest = digest.unwrap().parse().unwrap();
    if Digest::of(&content) != digest {
        return Ok(status(400).body(r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#.into()).unwrap());
    }
    state.lock().unwrap().blobs.insert(digest, content);
    match fault {
        Fault::LosesTheAnswer => Err(io::ErrorKind::BrokenPipe.into()),
        Fault::Lies => empty(status(201).header("docker-content-digest", Digest::of(b"lie").to_string())),
        _ => empty(status(201).header("docker-content-digest", digest.to_string())),
    }
}

/// Takes the bytes of a body. `false` when there are more than are allowed.
async fn take(
    state: &Mutex<State>,
    session: &str,
    mut body: Incoming,
    fault: Fault,
    limit: Option<usize>,
) -> io::Result<bool> {
    let mut taken = 0;
    let announced = hyper::body::Body::size_hint(&body).exact().unwrap();
    if limit.is_some_and(|limit| announced > limit as u64) {
        return Ok(false);
    }
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(io::Error::other)?.into_data() else { continue };
        let cut = match fault {
            Fault::BreaksAfter(bytes) | Fault::Forgets(bytes) => Some(bytes.saturating_sub(taken)),
            _ => None,
        };
        let kept = cut.map_or(data.len(), |cut| cut.min(data.len()));
        taken += kept;
        let mut state = state.lock().unwrap();
        state.sessions.get_mut(session).unwrap().extend_from_slice(&data[..kept]);
        if cut.is_some_and(|cut| cut <= data.len()) {
            if matches!(fault, Fault::Forgets(_)) {
                state.sessions.remove(session);
            }
            return Err(io::ErrorKind::BrokenPipe.into());
        }
    }
    Ok(true)
}
