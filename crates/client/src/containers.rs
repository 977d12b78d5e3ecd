// SPDX-License-Identifier: Apache-2.0
//! What can be asked about containers. `name` is a name, an id, or a unique beginning of an id.

use api_types::docker::{
    ContainerCreateBody, ContainerCreateResponse, ContainerInspectResponse, ContainerPruneResponse, ContainerSummary,
    ContainerTopResponse, ContainerUpdateBody, ContainerUpdateResponse, ContainerWaitResponse, FilesystemChange,
    IdResponse,
};
use api_types::explain::Explanation;
use api_types::{
    AttachRequest, ContainerUsage, ExecRequest, ExecResponse, PortChangeRequest, RUN_ROUTE, RunRequest, RunResponse,
    USAGE_ROUTE, Wish,
};
use bytes::Bytes;
use http::{Method, StatusCode};

use crate::body::RequestBody;
use crate::error::ClientError;
use crate::images::{Filter, filters_json};
use crate::logs::LogStream;
use crate::session::Session;
use crate::transport::{Client, decode};
use crate::url::{Path, encode};

/// So many names go into one request: their ids fit into a line that every proxy takes.
const NAMES_AT_ONCE: usize = 64;

/// What a `run` is answered with.
#[derive(Debug)]
pub enum RunAnswer {
    /// The container runs; its id and warnings.
    Detached(RunResponse),
    /// The container's streams.
    Attached(Session),
}

impl RunAnswer {
    /// The container's id.
    pub fn container(&self) -> Option<&str> {
        match self {
            RunAnswer::Detached(response) => Some(&response.id),
            RunAnswer::Attached(session) => session.container.as_deref(),
        }
    }
}

/// Which containers to list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Those that do not run, too.
    pub all: bool,
    /// With their sizes, for which all that they have changed is looked at.
    pub size: bool,
    /// Only so many of the newest, whatever their state.
    pub limit: Option<u32>,
    /// Only those that these let through.
    pub filters: Vec<Filter>,
}

/// Which part of a container's log to read, and how.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Go on as the container writes, until it exits.
    pub follow: bool,
    /// Begin each line with its time (RFC 3339, nanoseconds).
    pub timestamps: bool,
    /// With each line, what the log's options say of the container.
    pub details: bool,
    /// Only so many of the last lines.
    pub tail: Option<u64>,
    /// Only from then on: seconds since the epoch, with fraction.
    pub since: Option<String>,
    /// Only until then: seconds since the epoch, with fraction.
    pub until: Option<String>,
}

/// What a wait waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitCondition {
    /// That it does not run, which may be so already.
    NotRunning,
    /// That it is removed.
    Removed,
}

fn path_of(name: &str, verb: &str) -> Path {
    Path::new(format!("/containers/{}/{verb}", encode(name)))
}

/// What an image that is made of a container shall be.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// Its name, with or without a tag.
    pub name: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// What its maker wants to say.
    pub comment: Option<String>,
    /// Instructions of the Dockerfile language.
    pub changes: Vec<String>,
    /// Whether the container stands still meanwhile.
    pub pause: bool,
}

impl Client {
    /// Write an archive of a container's root file system to `out`.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses; the archive is cut off, or cannot be written.
    pub async fn export(&self, name: &str, out: &mut impl std::io::Write) -> Result<(), ClientError> {
        self.download(&format!("/containers/{}/export", encode(name)), out).await
    }

    /// Make an image of what a container changed; gives the image's id.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses: a change that is not understood, a name that is none.
    pub async fn commit(&self, container: &str, options: &CommitOptions) -> Result<String, ClientError> {
        let mut path = Path::new("/commit").with("container", container).with_some("repo", options.name.as_ref());
        path = path.with_some("author", options.author.as_ref()).with_some("comment", options.comment.as_ref());
        for change in &options.changes {
            path = path.with("changes", change);
        }
        let path = path.with("pause", if options.pause { "1" } else { "0" }).into_string();
        let made: IdResponse = self.json(Method::POST, &path, RequestBody::Empty).await?;
        Ok(made.id)
    }

    /// Create and start a container, and stream or not, as the request says.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses; `NotFound` when the image is not there.
    pub async fn run(&self, request: &RunRequest) -> Result<RunAnswer, ClientError> {
        let body = RequestBody::json(request).map_err(ClientError::Encode)?;
        if request.detach {
            return self.json(Method::POST, RUN_ROUTE, body).await.map(RunAnswer::Detached);
        }
        self.stream(RUN_ROUTE, body).await.map(RunAnswer::Attached)
    }

    /// Create a container without starting it.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses; `NotFound` when the image is not there.
    pub async fn create_container(
        &self,
        name: Option<&str>,
        platform: Option<&str>,
        config: &Wish<ContainerCreateBody>,
    ) -> Result<ContainerCreateResponse, ClientError> {
        let path = Path::new("/containers/create").with_some("name", name).with_some("platform", platform);
        let body = RequestBody::json(config).map_err(ClientError::Encode)?;
        self.json(Method::POST, &path.into_string(), body).await
    }

    async fn tell(&self, method: Method, path: Path) -> Result<StatusCode, ClientError> {
        Ok(self.send(method, &path.into_string(), RequestBody::Empty).await?.status())
    }

    /// Start a container that does not run. One that does stays as it is.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn start_container(&self, name: &str) -> Result<(), ClientError> {
        self.tell(Method::POST, path_of(name, "start")).await.map(drop)
    }

    /// Stop a container: its stop signal, and `SIGKILL` after `timeout` seconds (its own, else ten; -1: never).
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn stop_container(
        &self,
        name: &str,
        timeout: Option<i64>,
        signal: Option<&str>,
    ) -> Result<(), ClientError> {
        let path = path_of(name, "stop").with_some("t", timeout.map(|t| t.to_string())).with_some("signal", signal);
        self.tell(Method::POST, path).await.map(drop)
    }

    /// Stop a container as [`Client::stop_container`] does, and start it.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn restart_container(
        &self,
        name: &str,
        timeout: Option<i64>,
        signal: Option<&str>,
    ) -> Result<(), ClientError> {
        let path = path_of(name, "restart").with_some("t", timeout.map(|t| t.to_string())).with_some("signal", signal);
        self.tell(Method::POST, path).await.map(drop)
    }

    /// Have a container's processes stand still.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses: `Conflict` when it does not run, or stands still already.
    pub async fn pause_container(&self, name: &str) -> Result<(), ClientError> {
        self.tell(Method::POST, path_of(name, "pause")).await.map(drop)
    }

    /// Let a container's processes go on.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses: `Conflict` when it is not paused.
    pub async fn unpause_container(&self, name: &str) -> Result<(), ClientError> {
        self.tell(Method::POST, path_of(name, "unpause")).await.map(drop)
    }

    /// Give a container another name.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses: `Conflict` when a container has that name.
    pub async fn rename_container(&self, name: &str, new: &str) -> Result<(), ClientError> {
        self.tell(Method::POST, path_of(name, "rename").with("name", new)).await.map(drop)
    }

    /// Change a container's limits and its restart policy: what `changes` has. The answer is what the user should know.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses; then nothing has changed.
    pub async fn update_container(
        &self,
        name: &str,
        changes: &Wish<ContainerUpdateBody>,
    ) -> Result<ContainerUpdateResponse, ClientError> {
        let body = RequestBody::json(changes).map_err(ClientError::Encode)?;
        self.json(Method::POST, &path_of(name, "update").into_string(), body).await
    }

    /// Change which ports of a container are published.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses; then nothing has changed.
    pub async fn change_ports(&self, name: &str, changes: &PortChangeRequest) -> Result<(), ClientError> {
        let body = RequestBody::json(changes).map_err(ClientError::Encode)?;
        self.send(Method::POST, &format!("/corten/v1/containers/{}/ports", encode(name)), body).await.map(drop)
    }

    /// Send a signal (a name or a number) to a container's first process.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses: `Conflict` when the container does not run.
    pub async fn kill_container(&self, name: &str, signal: &str) -> Result<(), ClientError> {
        self.tell(Method::POST, path_of(name, "kill").with("signal", signal)).await.map(drop)
    }

    /// The exit code of a container, once it is as `condition` says.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn wait_container(
        &self,
        name: &str,
        condition: WaitCondition,
    ) -> Result<ContainerWaitResponse, ClientError> {
        let condition = match condition {
            WaitCondition::NotRunning => "not-running",
            WaitCondition::Removed => "removed",
        };
        let path = path_of(name, "wait").with("condition", condition).into_string();
        self.json(Method::POST, &path, RequestBody::Empty).await
    }

    /// Remove a container; a running one only with `force`, which kills it.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses: `Conflict` when the container runs.
    pub async fn remove_container(&self, name: &str, force: bool, volumes: bool) -> Result<(), ClientError> {
        let path = Path::new(format!("/containers/{}", encode(name))).with_flag("force", force);
        self.tell(Method::DELETE, path.with_flag("v", volumes)).await.map(drop)
    }

    /// Remove the containers that do not run and `filters` let through.
    ///
    /// # Errors
    /// The daemon cannot be reached, or there is no such filter.
    pub async fn prune_containers(&self, filters: &[Filter]) -> Result<ContainerPruneResponse, ClientError> {
        let path = Path::new("/containers/prune").with_some("filters", filters_json(filters)).into_string();
        self.json(Method::POST, &path, RequestBody::Empty).await
    }

    /// The containers there are, newest first.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn list_containers(&self, options: ListOptions) -> Result<Vec<ContainerSummary>, ClientError> {
        let path = Path::new("/containers/json").with_flag("all", options.all).with_flag("size", options.size);
        let path = path.with_some("limit", options.limit.map(|limit| limit.to_string()));
        let path = path.with_some("filters", filters_json(&options.filters));
        self.json(Method::GET, &path.into_string(), RequestBody::Empty).await
    }

    /// What containers use now. Those of `named`, in their order, and with `skip_missing` without those that are gone.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn usage_of(&self, named: &[String], skip_missing: bool) -> Result<Vec<ContainerUsage>, ClientError> {
        let mut usage = Vec::with_capacity(named.len());
        for part in named.chunks(NAMES_AT_ONCE) {
            let path = part.iter().fold(Path::new(USAGE_ROUTE), |path, name| path.with("container", name));
            let path = path.with_flag("skip-missing", skip_missing).into_string();
            usage.append(&mut self.json(Method::GET, &path, RequestBody::Empty).await?);
        }
        Ok(usage)
    }

    /// The same of all containers that run, or of all there are; the newest first.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn usage(&self, all: bool) -> Result<Vec<ContainerUsage>, ClientError> {
        let path = Path::new(USAGE_ROUTE).with_flag("all", all).into_string();
        self.json(Method::GET, &path, RequestBody::Empty).await
    }

    /// Which files a container has added, changed and deleted.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn changes(&self, name: &str) -> Result<Vec<FilesystemChange>, ClientError> {
        self.json(Method::GET, &path_of(name, "changes").into_string(), RequestBody::Empty).await
    }

    /// The processes of a container. `options` are those of ps(1), separated by blanks; none mean `-ef`.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses: `Conflict` when the container does not run, `InvalidArgument` for an
    /// option that is not understood.
    pub async fn top(&self, name: &str, options: &str) -> Result<ContainerTopResponse, ClientError> {
        let path = path_of(name, "top").with_some("ps_args", Some(options).filter(|options| !options.is_empty()));
        self.json(Method::GET, &path.into_string(), RequestBody::Empty).await
    }

    /// All about one container, as the daemon's JSON; with its size, if that is wanted.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn inspect_container_json(&self, name: &str, size: bool) -> Result<Bytes, ClientError> {
        self.bytes(Method::GET, &path_of(name, "json").with_flag("size", size).into_string()).await
    }

    /// All about one container.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn inspect_container(&self, name: &str) -> Result<ContainerInspectResponse, ClientError> {
        let found: Wish<_> = self.json(Method::GET, &path_of(name, "json").into_string(), RequestBody::Empty).await?;
        Ok(found.docker)
    }

    /// The kernel objects behind a running container, and what could still reach the host.
    ///
    /// # Errors
    /// No such container, or it does not run.
    pub async fn explain(&self, name: &str) -> Result<Explanation, ClientError> {
        let path = format!("/corten/v1/containers/{}/explain", encode(name));
        self.json(Method::GET, &path, RequestBody::Empty).await
    }

    /// What a container wrote.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses.
    pub async fn logs(&self, name: &str, options: &LogOptions) -> Result<LogStream, ClientError> {
        let path = path_of(name, "logs")
            .with("stdout", "1")
            .with("stderr", "1")
            .with_flag("follow", options.follow)
            .with_flag("timestamps", options.timestamps)
            .with_flag("details", options.details)
            .with_some("tail", options.tail.map(|tail| tail.to_string()))
            .with_some("since", options.since.as_ref())
            .with_some("until", options.until.as_ref());
        Ok(LogStream::new(self.send(Method::GET, &path.into_string(), RequestBody::Empty).await?))
    }

    /// Run a further command in a running container, with its streams.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses: `Conflict` when the container does not run.
    pub async fn exec(&self, name: &str, request: &ExecRequest) -> Result<Session, ClientError> {
        let body = RequestBody::json(request).map_err(ClientError::Encode)?;
        self.stream(&format!("/corten/v1/containers/{}/exec", encode(name)), body).await
    }

    /// Run a further command in a running container and leave it alone.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses: `Conflict` when the container does not run.
    pub async fn exec_detached(&self, name: &str, request: &ExecRequest) -> Result<ExecResponse, ClientError> {
        let body = RequestBody::json(request).map_err(ClientError::Encode)?;
        let path = format!("/corten/v1/containers/{}/exec", encode(name));
        let response = self.send(Method::POST, &path, body).await?;
        decode(&Method::POST, &path, response).await
    }

    /// The streams of a container's first process.
    ///
    /// # Errors
    /// The daemon cannot be reached, or refuses: `Conflict` when the container does not run and is not to be started.
    pub async fn attach(&self, name: &str, request: &AttachRequest) -> Result<Session, ClientError> {
        let body = RequestBody::json(request).map_err(ClientError::Encode)?;
        self.stream(&format!("/corten/v1/containers/{}/attach", encode(name)), body).await
    }
}
