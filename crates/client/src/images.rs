// SPDX-License-Identifier: Apache-2.0
//! What can be asked about images. `name` is a name with or without tag, a digest, or an image's id.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use api_types::docker::{
    AuthConfig, AuthResponse, ImageDeleteResponseItem, ImageHistoryResponseItem, ImageInspect, ImagePruneResponse,
    ImageSummary,
};
use api_types::{ProgressLine, WasteReport};
use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use oci::ImageRef;

use crate::body::RequestBody;
use crate::error::ClientError;
use crate::transport::Client;
use crate::url::{Path, encode};

/// The longest line of progress, in bytes.
pub(crate) const LONGEST_LINE: usize = 1 << 20;

/// What a name without a tag means to a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untagged {
    /// The tag `latest`.
    Latest,
    /// All tags that the registry has.
    All,
}

impl Client {
    /// The images there are; of them those that `filters` (pairs of a name and a value) let through.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn list_images(&self, all: bool, filters: &[Filter]) -> Result<Vec<ImageSummary>, ClientError> {
        let path =
            Path::new("/images/json").with_flag("all", all).with_some("filters", filters_json(filters)).into_string();
        self.json(Method::GET, &path, RequestBody::Empty).await
    }

    /// All about one image, as the daemon's JSON.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn inspect_image_json(&self, name: &str) -> Result<Bytes, ClientError> {
        self.bytes(Method::GET, &format!("/images/{}/json", encode(name))).await
    }

    /// All about one image.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn inspect_image(&self, name: &str) -> Result<ImageInspect, ClientError> {
        self.json(Method::GET, &format!("/images/{}/json", encode(name)), RequestBody::Empty).await
    }

    /// Fetch an image from its registry, or where `name` has no tag what `untagged` says;
    /// `progress` sees each step. `auth` is the value of an `X-Registry-Auth` header.
    ///
    /// # Errors
    /// The daemon or the registry cannot be reached, or refuses; the content is not what its digest says.
    pub async fn pull(
        &self,
        name: &str,
        untagged: Untagged,
        platform: Option<&str>,
        auth: Option<&str>,
        progress: impl FnMut(ProgressLine),
    ) -> Result<(), ClientError> {
        // What is no name is the daemon's to refuse.
        let tag = name.parse::<ImageRef>().ok().filter(|name| name.tag().is_none() && name.digest().is_none());
        let tag = tag.filter(|_| untagged == Untagged::Latest).map(|_| "latest");
        let path = Path::new("/images/create").with("fromImage", name).with_some("tag", tag);
        let path = path.with_some("platform", platform).into_string();
        let response = self.send_for(Method::POST, &path, RequestBody::Empty, auth).await?;
        follow(&path, response, progress).await
    }

    /// Give an image to its registry, or with no `tag` all tags of its repository; `progress` sees each step.
    /// `compression` (`gzip`, `zstd` or `keep`) is what its layers shall have there; by default those that have none get
    /// gzip, unless the image came from a registry. `auth` is the value of an
    /// `X-Registry-Auth` header.
    ///
    /// # Errors
    /// The daemon or the registry cannot be reached, or refuses; the image is not here.
    pub async fn push(
        &self,
        name: &str,
        tag: Option<&str>,
        compression: Option<&str>,
        auth: Option<&str>,
        progress: impl FnMut(ProgressLine),
    ) -> Result<(), ClientError> {
        let path = Path::new(format!("/images/{}/push", encode(name)));
        let path = path.with_some("tag", tag).with_some("compression", compression).into_string();
        let response = self.send_for(Method::POST, &path, RequestBody::Empty, auth).await?;
        follow(&path, response, progress).await
    }

    /// Try credentials at their registry. Nothing is stored.
    ///
    /// # Errors
    /// The daemon or the registry cannot be reached; `Unauthorized` when the registry does not accept them.
    pub async fn check_auth(&self, credentials: &AuthConfig) -> Result<AuthResponse, ClientError> {
        let body = RequestBody::json(credentials).map_err(ClientError::Encode)?;
        self.json(Method::POST, "/auth", body).await
    }

    /// Make an image of a root file system's tar (plain, gzip or zstd).
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses; the archive is truncated, hostile, or cannot be read.
    pub async fn import(
        &self,
        archive: impl Read + Send + 'static,
        import: &Import,
        progress: impl FnMut(ProgressLine),
    ) -> Result<(), ClientError> {
        let path = import.path("-");
        let response = self.send(Method::POST, &path, RequestBody::reader(archive)).await?;
        follow(&path, response, progress).await
    }

    /// The same of an archive at `url`, which the daemon fetches; `progress` sees how far it is, and last the image's id.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses; the archive cannot be had, is truncated or hostile.
    pub async fn import_from(
        &self,
        url: &str,
        import: &Import,
        progress: impl FnMut(ProgressLine),
    ) -> Result<(), ClientError> {
        let path = import.path(url);
        let response = self.send(Method::POST, &path, RequestBody::Empty).await?;
        follow(&path, response, progress).await
    }

    /// Remove the images that no container needs: those without a name, or with the filter `dangling=false` all.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn prune_images(&self, filters: &[Filter]) -> Result<ImagePruneResponse, ClientError> {
        let path = Path::new("/images/prune").with_some("filters", filters_json(filters)).into_string();
        self.json(Method::POST, &path, RequestBody::Empty).await
    }

    /// The bytes of an image that nobody can use.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn image_waste(&self, name: &str) -> Result<WasteReport, ClientError> {
        self.json(Method::GET, &format!("/corten/v1/images/{}/waste", encode(name)), RequestBody::Empty).await
    }

    /// How an image was made, the last step first.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn image_history(&self, name: &str) -> Result<Vec<ImageHistoryResponseItem>, ClientError> {
        self.json(Method::GET, &format!("/images/{}/history", encode(name)), RequestBody::Empty).await
    }

    /// Give an image the further name `new`, with or without a tag.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn tag_image(&self, name: &str, new: &str) -> Result<(), ClientError> {
        let path = Path::new(format!("/images/{}/tag", encode(name))).with("repo", new).into_string();
        self.send(Method::POST, &path, RequestBody::Empty).await.map(drop)
    }

    /// Write an archive of the images `names` to `out`: an OCI image layout that `docker load` reads, too.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses; the archive is cut off, or cannot be written.
    pub async fn save_images(
        &self,
        names: &[String],
        platforms: &[String],
        out: &mut impl Write,
    ) -> Result<(), ClientError> {
        let mut path = Path::new("/images/get");
        for platform in platforms {
            path = path.with("platform", platform);
        }
        for name in names {
            path = path.with("names", name);
        }
        self.download(&path.into_string(), out).await
    }

    /// Load the images of an archive (plain, gzip or zstd), of which `progress` tells.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses: the archive is truncated, hostile, holds no image, or cannot be read.
    pub async fn load_images(
        &self,
        archive: impl Read + Send + 'static,
        platforms: &[String],
        progress: impl FnMut(ProgressLine),
    ) -> Result<(), ClientError> {
        let mut path = Path::new("/images/load");
        for platform in platforms {
            path = path.with("platform", platform);
        }
        let path = path.into_string();
        let response = self.send(Method::POST, &path, RequestBody::reader(archive)).await?;
        follow(&path, response, progress).await
    }

    /// Write the answer to a `GET` to `out` as it comes.
    pub(crate) async fn download(&self, path: &str, out: &mut impl Write) -> Result<(), ClientError> {
        let response = self.send(Method::GET, path, RequestBody::Empty).await?;
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| ClientError::CutOff { path: path.to_owned() })?;
            if let Ok(data) = frame.into_data() {
                out.write_all(&data).map_err(ClientError::Write)?;
            }
        }
        out.flush().map_err(ClientError::Write)
    }

    /// Remove a name of an image, and the image with its last name.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses: `Conflict` when a container uses the image.
    pub async fn remove_image(
        &self,
        name: &str,
        force: bool,
        noprune: bool,
    ) -> Result<Vec<ImageDeleteResponseItem>, ClientError> {
        let path = Path::new(format!("/images/{}", encode(name))).with_flag("force", force);
        let path = path.with_flag("noprune", noprune).into_string();
        self.json(Method::DELETE, &path, RequestBody::Empty).await
    }
}

/// What an imported image shall be.
#[derive(Debug, Clone, Default)]
pub struct Import {
    /// Its name, with or without a tag.
    pub name: Option<String>,
    /// Instructions of the Dockerfile language.
    pub changes: Vec<String>,
    /// What there is to say about it.
    pub message: Option<String>,
    /// What it is made for, `OS/ARCHITECTURE`; the daemon's host where nothing is said.
    pub platform: Option<String>,
}

impl Import {
    /// The request for it, of an archive from `source`: `-` for the request's body.
    fn path(&self, source: &str) -> String {
        let mut path = Path::new("/images/create").with("fromSrc", source).with_some("repo", self.name.as_ref());
        path = path.with_some("message", self.message.as_ref()).with_some("platform", self.platform.as_ref());
        for change in &self.changes {
            path = path.with("changes", change);
        }
        path.into_string()
    }
}

/// One filter of a listing: its name and the value it must have.
pub type Filter = (String, String);

/// Filters as the daemon reads them; `None` for none.
pub(crate) fn filters_json(filters: &[Filter]) -> Option<String> {
    let mut named: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in filters {
        named.entry(name).or_default().push(value);
    }
    // A map of strings always becomes JSON.
    (!named.is_empty()).then(|| serde_json::to_string(&named).unwrap_or_default())
}

/// Hand each line of progress on; the line that says that it failed is the error.
async fn follow(
    path: &str,
    response: Response<Incoming>,
    mut progress: impl FnMut(ProgressLine),
) -> Result<(), ClientError> {
    let mut body = response.into_body();
    let mut lines = Lines::default();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|source| ClientError::Http { method: Method::POST, path: path.to_owned(), source })?;
        let Ok(data) = frame.into_data() else { continue };
        lines.push(&data);
        while let Some(line) = lines.next() {
            see(path, &line, &mut progress)?;
        }
        if lines.buffered.len() > LONGEST_LINE {
            return Err(ClientError::Framing("a line of progress is longer than any can be"));
        }
    }
    let rest = lines.rest();
    if rest.iter().all(u8::is_ascii_whitespace) { Ok(()) } else { see(path, &rest, &mut progress) }
}

fn see(path: &str, line: &[u8], progress: &mut impl FnMut(ProgressLine)) -> Result<(), ClientError> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let line: ProgressLine = serde_json::from_slice(line).map_err(|source| ClientError::Malformed {
        method: Method::POST,
        path: path.to_owned(),
        source,
    })?;
    if let Some(error) = line.error_detail {
        return Err(ClientError::Answered(error.into_report(500)));
    }
    progress(line);
    Ok(())
}

/// Lines out of pieces that end anywhere.
#[derive(Default)]
pub(crate) struct Lines {
    buffered: BytesMut,
}

impl Lines {
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.buffered.extend_from_slice(data);
    }

    pub(crate) fn next(&mut self) -> Option<Bytes> {
        let end = self.buffered.iter().position(|byte| *byte == b'\n')?;
        let line = self.buffered.split_to(end).freeze();
        self.buffered.advance(1);
        Some(line)
    }

    /// How much of a line has come, in bytes.
    pub(crate) fn length(&self) -> usize {
        self.buffered.len()
    }

    fn rest(self) -> Bytes {
        self.buffered.freeze()
    }
}

#[cfg(test)]
mod tests {
    use errors::Kind;

    use super::*;

    #[test]
    fn lines_may_arrive_in_any_pieces() {
        let mut lines = Lines::default();
        lines.push(b"{\"a\"");
        assert_eq!(lines.next(), None);
        lines.push(b":1}\n{}\nrest");
        assert_eq!(lines.next().as_deref(), Some(&b"{\"a\":1}"[..]));
        assert_eq!(lines.next().as_deref(), Some(&b"{}"[..]));
        assert_eq!(lines.next(), None);
        assert_eq!(lines.rest().as_ref(), b"rest");
    }

    #[test]
    fn a_failure_in_the_stream_is_the_error_with_its_kind() {
        let line = br#"{"error":"x","errorDetail":{"message":"x","kind":"corrupt"}}"#;
        let error = see("/", line, &mut |_| panic!("not progress")).unwrap_err();
        assert!(matches!(error, ClientError::Answered(report) if report.kind == Kind::Corrupt));
    }
}
