// SPDX-License-Identifier: Apache-2.0
//! What is asked of a registry: the same whichever address answers in the end, and however often it is sent.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use crate::body::Part;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// The registry, as the image name gives it.
    pub(crate) registry: &'a str,
    /// The repository whose content it is about; empty for the registry itself.
    pub(crate) repository: &'a str,
    /// What is to be done with the repository; decides which token is needed.
    pub(crate) access: Access<'a>,
    /// Path and query; or the whole address that the registry gave for an upload.
    pub(crate) path: &'a str,
    /// The media types that are understood.
    pub(crate) accept: Option<&'static str>,
    /// The first byte wanted of it.
    pub(crate) from: u64,
    /// The byte behind the last one that is wanted; all without it.
    pub(crate) end: Option<u64>,
}

impl<'a> Ask<'a> {
    /// Asks for something to read.
    pub(crate) fn pull(registry: &'a str, repository: &'a str, path: &'a str) -> Ask<'a> {
        Ask { registry, repository, access: Access::Pull, path, accept: None, from: 0, end: None }
    }

    /// Asks for something of a repository that is written to.
    pub(crate) fn push(registry: &'a str, repository: &'a str, path: &'a str) -> Ask<'a> {
        Ask { access: Access::Push, ..Ask::pull(registry, repository, path) }
    }
}

/// What is done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access<'a> {
    /// It is read.
    Pull,
    /// It is read and written.
    Push,
    /// It is written, with blobs of this other repository, which is read.
    Mount(&'a str),
    /// Nothing yet: it is only found out whether the registry knows who asks.
    Login,
}

impl Access<'_> {
    /// The scopes of a token for it (distribution, "Token Scope Documentation").
    pub(crate) fn scopes(self, repository: &str) -> Vec<String> {
        if repository.is_empty() {
            return Vec::new();
        }
        let scope = |repository: &str, actions| format!("repository:{repository}:{actions}");
        match self {
            Access::Pull => vec![scope(repository, "pull")],
            Access::Push => vec![scope(repository, "pull,push")],
            Access::Login => Vec::new(),
            Access::Mount(from) => vec![scope(repository, "pull,push"), scope(from, "pull")],
        }
    }
}

/// A request's method, and what it carries. Can be sent again as often as needed.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) payload: Payload,
}

impl Outgoing {
    /// A request that carries nothing.
    pub(crate) fn empty(method: Method) -> Outgoing {
        Outgoing { method, payload: Payload::Empty }
    }
}

/// What a request carries.
#[derive(Clone)]
pub(crate) enum Payload {
    /// Nothing.
    Empty,
    /// A document of this media type.
    Document(Bytes, String),
    /// Bytes of a blob, streamed.
    Part(Arc<Part>),
}
