// SPDX-License-Identifier: Apache-2.0
//! Files of containers, out and in.

use std::io::{Read, Write};

use api_types::{PATH_STAT_HEADER, PathStat};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::body::RequestBody;
use crate::error::ClientError;
use crate::transport::Client;
use crate::url::{Path, encode};

/// A file or directory of a container, as an archive that has begun to come.
#[derive(Debug)]
pub struct PathArchive {
    /// What it is.
    pub stat: PathStat,
    path: String,
    body: Incoming,
}

impl PathArchive {
    /// Write all of it to `out`.
    ///
    /// # Errors
    /// The archive is cut off, or cannot be written.
    pub async fn write(mut self, out: &mut impl Write) -> Result<(), ClientError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|_| ClientError::CutOff { path: self.path.clone() })?;
            if let Ok(data) = frame.into_data() {
                out.write_all(&data).map_err(ClientError::Write)?;
            }
        }
        out.flush().map_err(ClientError::Write)
    }
}

fn path_of(container: &str, path: &str) -> Path {
    Path::new(format!("/containers/{}/archive", encode(container))).with("path", path)
}

fn stat_in(path: &str, headers: &HeaderMap) -> Result<PathStat, ClientError> {
    let read = |bytes: &[u8]| serde_json::from_slice(&BASE64.decode(bytes).unwrap_or_default());
    let header = headers.get(PATH_STAT_HEADER).map(|value| value.as_bytes()).unwrap_or_default();
    let malformed = |source| ClientError::Malformed { method: Method::GET, path: path.to_owned(), source };
    read(header).map_err(malformed)
}

impl Client {
    /// What a container's file is.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses: `NotFound` when there is no such container, or no such file in it.
    pub async fn stat_path(&self, container: &str, path: &str) -> Result<PathStat, ClientError> {
        let path = path_of(container, path).into_string();
        let response = self.send(Method::HEAD, &path, RequestBody::Empty).await?;
        stat_in(&path, response.headers())
    }

    /// Begin to copy a file or directory out of a container.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses: `NotFound` when there is no such container, or no such file in it.
    pub async fn copy_from(&self, container: &str, path: &str) -> Result<PathArchive, ClientError> {
        let path = path_of(container, path).into_string();
        let response = self.send(Method::GET, &path, RequestBody::Empty).await?;
        let stat = stat_in(&path, response.headers())?;
        Ok(PathArchive { stat, path, body: response.into_body() })
    }

    /// Extract an archive into a directory of a container; with `users`, as the container's user's. No directory is
    /// replaced by something else, nor the reverse.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses; the archive cannot be read, is broken or hostile.
    pub async fn copy_to(
        &self,
        container: &str,
        path: &str,
        users: bool,
        archive: impl Read + Send + 'static,
    ) -> Result<(), ClientError> {
        let path = path_of(container, path).with("noOverwriteDirNonDir", "true").with_flag("copyUIDGID", users);
        self.send(Method::PUT, &path.into_string(), RequestBody::reader(archive)).await.map(drop)
    }
}
