// SPDX-License-Identifier: Apache-2.0
//! The flags that `run` and `create` share, and the Engine API's body that they amount to.

use std::path::{Path, PathBuf};

use api_types::docker::{ContainerCreateBody, HostConfig};
use api_types::{CheckRequest, Size, Streams};
use clap::{Args, ValueEnum};

use super::isolation::IsolationFlags;
use super::limits::LimitFlags;
use super::network::NetworkFlags;
use super::{FlagError, environment, health, logging, mount, mounts, restart};
use crate::cli::plain::{Place, Plain};

/// When to fetch the image.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pull {
    /// Before every start.
    Always,
    /// When it is not there.
    #[default]
    Missing,
    /// Not at all.
    Never,
}

/// When published ports lead to a container.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PublishWhen {
    /// As long as it runs.
    #[default]
    Always,
    /// While it is ready, as its checks say.
    Ready,
}

/// A standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stream {
    /// The standard input.
    Stdin,
    /// The standard output.
    Stdout,
    /// The standard error output.
    Stderr,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ContainerFlags {
    /// Note something for the runtime and its hooks
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// Attach to stdin, stdout or stderr (may be given several times)
    #[arg(short = 'a', long, value_name = "STREAM")]
    pub(crate) attach: Vec<Stream>,
    /// Write the container's id to this file, which must not be there yet
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,
    /// Keys that detach from the container [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<api_types::detach_keys::DetachKeys>,
    /// Replace the image's entrypoint
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Set an environment variable; KEY alone passes on the caller's
    #[arg(short, long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    #[command(flatten)]
    health: health::HealthFlags,
    /// The container's host name
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// Run an init as the first process: it passes signals on to the command, and reaps what others leave behind
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    init: Option<bool>,
    /// Keep stdin open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Attach a label
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Read labels from a file, one KEY=VALUE a line
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,
    /// Where the output goes: json-file, local, none, syslog, gelf, fluentd, journald
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// An option of the log driver, as in max-size=10m
    #[arg(long, value_name = "NAME=VALUE", value_parser = logging::option)]
    log_opt: Vec<(String, String)>,
    /// Mount a volume, a directory, a tmpfs or an image: type=volume,source=NAME,target=/PATH[,readonly]
    #[arg(long, value_name = "MOUNT", value_parser = mount::mount)]
    mount: Vec<api_types::docker::Mount>,
    /// The container's name
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    network: NetworkFlags,
    /// The image's platform, as in linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// When published ports lead to the container: always, or only while its checks say that it is ready
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    publish_when: PublishWhen,
    /// When to pull the image
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) pull: Pull,
    /// Say nothing of a pull
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// When to start it again: no, on-failure[:N], unhealthy[:N], always, unless-stopped
    #[arg(long, value_name = "POLICY", value_parser = restart::policy)]
    restart: Option<restart::Policy>,
    /// Remove the container when it exits
    #[arg(long)]
    pub(crate) rm: bool,
    /// The signal that stops the container
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds until a stopping container is killed
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    stop_timeout: Option<i64>,
    /// Mount a tmpfs: /PATH[:OPTIONS]
    #[arg(long, value_name = "MOUNT")]
    tmpfs: Vec<String>,
    /// Give the container a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// User (and group) of the command: NAME or UID[:GROUP or GID]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Mount a volume or a directory: NAME:/PATH[:ro], /HOST:/PATH[:ro], or /PATH for a new volume
    #[arg(short, long, value_name = "VOLUME")]
    volume: Vec<String>,
    /// The driver of new volumes; there is local
    #[arg(long, value_name = "DRIVER")]
    volume_driver: Option<String>,
    /// Mount what another container has mounted
    #[arg(long, value_name = "CONTAINER[:ro]")]
    volumes_from: Vec<String>,
    /// Working directory of the command
    #[arg(short, long, value_name = "PATH")]
    workdir: Option<String>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    isolation: IsolationFlags,
}

impl Plain for ContainerFlags {
    fn flag(&mut self, name: &str) -> Option<Place<'_>> {
        Some(match name {
            "e" | "env" => Place::Value(&mut self.env),
            "entrypoint" => Place::Value(&mut self.entrypoint),
            "h" | "hostname" => Place::Value(&mut self.hostname),
            "i" | "interactive" => Place::Switch(&mut self.interactive),
            "l" | "label" => Place::Value(&mut self.label),
            "name" => Place::Value(&mut self.name),
            "q" | "quiet" => Place::Switch(&mut self.quiet),
            "rm" => Place::Switch(&mut self.rm),
            "t" | "tty" => Place::Switch(&mut self.tty),
            "u" | "user" => Place::Value(&mut self.user),
            "v" | "volume" => Place::Value(&mut self.volume),
            "w" | "workdir" => Place::Value(&mut self.workdir),
            _ => return self.network.flag(name),
        })
    }
}

/// What of the caller's surroundings flags refer to.
pub(crate) struct Surroundings<'a> {
    /// The working directory.
    pub(crate) directory: &'a Path,
    /// The environment.
    pub(crate) environment: &'a dyn Fn(&str) -> Option<String>,
    /// The terminal, if there is one.
    pub(crate) terminal: Option<Size>,
    /// Variables that every container gets, unless a flag has another value for them.
    pub(crate) variables: Vec<String>,
}

impl ContainerFlags {
    /// The streams of a session in the foreground: those of `-a`, else the outputs, and stdin with `-i`.
    pub(crate) fn streams(&self) -> Streams {
        if self.attach.is_empty() {
            return Streams { stdin: self.interactive, stdout: true, stderr: true };
        }
        let has = |stream| self.attach.contains(&stream);
        Streams { stdin: has(Stream::Stdin), stdout: has(Stream::Stdout), stderr: has(Stream::Stderr) }
    }

    /// Whether published ports shall lead to the container only while it is ready, which the body cannot say.
    pub(crate) fn publish_when_ready(&self) -> bool {
        self.publish_when == PublishWhen::Ready
    }

    /// The checks that answer one question each, which the body cannot say.
    pub(crate) fn checks(&self) -> CheckRequest {
        self.health.questions()
    }

    /// Whether the restart policy is `unhealthy`, which the body cannot say.
    pub(crate) fn restart_unhealthy(&self) -> bool {
        self.restart.as_ref().is_some_and(|policy| policy.unhealthy)
    }

    /// The Engine API's body for `image` and `command`, to which `attach` is going to be attached.
    pub(crate) fn body(
        &self,
        image: &str,
        command: &[String],
        attach: Streams,
        around: &Surroundings<'_>,
    ) -> Result<ContainerCreateBody, FlagError> {
        let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
        let (binds, anonymous) = self.volumes(around.directory)?;
        let mut host = self.host_config(binds, around.terminal)?;
        let networking = self.network.write(&mut host)?;
        let own = environment::collect(&self.env_file, &self.env, around.environment)?;
        Ok(ContainerCreateBody {
            image: Some(image.to_owned()),
            cmd: some(command.to_vec()),
            entrypoint: self.entrypoint.clone().map(|command| vec![command]),
            env: some([around.variables.clone(), own].concat()),
            labels: Some(environment::labels_and_files(&self.label_file, &self.label)?)
                .filter(|labels| !labels.is_empty()),
            hostname: self.hostname.clone(),
            domainname: self.isolation.domainname(),
            user: self.user.clone(),
            working_dir: self.workdir.clone(),
            stop_signal: self.stop_signal.clone(),
            stop_timeout: self.stop_timeout,
            healthcheck: self.health.check()?,
            tty: Some(self.tty),
            open_stdin: Some(self.interactive),
            stdin_once: Some(self.interactive && attach.stdin),
            attach_stdin: Some(attach.stdin),
            attach_stdout: Some(attach.stdout),
            attach_stderr: Some(attach.stderr),
            volumes: some(anonymous),
            exposed_ports: networking.exposed,
            networking_config: networking.config,
            host_config: Some(host),
            ..ContainerCreateBody::default()
        })
    }

    fn host_config(&self, binds: Vec<String>, terminal: Option<Size>) -> Result<HostConfig, FlagError> {
        let mut tmpfs = std::collections::HashMap::new();
        for mount in &self.tmpfs {
            mounts::tmpfs(mount, &mut tmpfs)?;
        }
        let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        let annotations = environment::labels(&self.annotation)?;
        let host = HostConfig {
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            binds: some(&binds),
            mounts: (!self.mount.is_empty()).then(|| self.mount.clone()),
            tmpfs: (!tmpfs.is_empty()).then_some(tmpfs),
            volume_driver: self.volume_driver.clone(),
            volumes_from: some(&self.volumes_from),
            log_config: logging::config(self.log_driver.as_deref(), &self.log_opt),
            init: self.init,
            auto_remove: Some(self.rm),
            restart_policy: self.restart.as_ref().map(|policy| policy.docker.clone()),
            console_size: terminal.filter(|_| self.tty).map(|size| vec![size.rows.into(), size.cols.into()]),
            ..HostConfig::default()
        };
        self.isolation.apply(self.limits.apply(host))
    }

    /// The binds and the anonymous volumes of `-v`.
    fn volumes(&self, directory: &Path) -> Result<(Vec<String>, Vec<String>), FlagError> {
        let (mut binds, mut anonymous) = (Vec::new(), Vec::new());
        for text in &self.volume {
            match mounts::volume(text, directory)? {
                mounts::Volume::Bind(bind) => binds.push(bind),
                mounts::Volume::Anonymous(target) => anonymous.push(target),
            }
        }
        Ok((binds, anonymous))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    #[command(disable_help_flag = true)]
    struct Line {
        #[command(flatten)]
        flags: ContainerFlags,
        #[arg(required = true, trailing_var_arg = true)]
        rest: Vec<String>,
    }

    fn body(line: &str) -> serde_json::Value {
        let line = Line::try_parse_from(std::iter::once("run").chain(line.split_whitespace())).unwrap();
        let around = Surroundings {
            directory: Path::new("/here"),
            environment: &|_| None,
            terminal: None,
            variables: vec!["P=1".into()],
        };
        let body = line.flags.body(&line.rest[0], &line.rest[1..], line.flags.streams(), &around).unwrap();
        serde_json::to_value(body).unwrap()
    }

    #[test]
    fn flags_after_the_image_belong_to_the_command() {
        let body = body("-i --rm debian sh -c -t --rm");
        assert_eq!(body["Image"], "debian");
        assert_eq!(body["Cmd"], serde_json::json!(["sh", "-c", "-t", "--rm"]));
        assert_eq!(body["Tty"], false);
        assert_eq!(body["OpenStdin"], true);
        assert_eq!(body["StdinOnce"], true);
        assert_eq!(body["HostConfig"]["AutoRemove"], true);
    }

    #[test]
    fn every_flag_reaches_the_body_as_docker_writes_it() {
        let body = body(
            "-e A=1 --annotation a.b=c -w /w -u 1:2 -h box -l k=v --entrypoint /e --stop-signal INT --stop-timeout 3 -v ./d:/d:ro \
             -v /anon --tmpfs /t:size=1m -p 127.0.0.1:80:80 --network none -m 64m --memory-swap -1 --cpus .5 \
             --pids-limit 9 --read-only --cap-add NET_ADMIN,SYS_TIME --cap-drop ALL --security-opt \
             no-new-privileges --mount type=tmpfs,dst=/m --restart on-failure:3 --log-driver local --log-opt max-size=1m \
             --log-opt tag=a=b --volumes-from a:ro --volume-driver local image",
        );
        let host = &body["HostConfig"];
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(body["Env"], json(r#"["P=1","A=1"]"#));
        assert_eq!(host["Annotations"], json(r#"{"a.b":"c"}"#));
        assert_eq!(body["WorkingDir"], "/w");
        assert_eq!(body["User"], "1:2");
        assert_eq!(body["Hostname"], "box");
        assert_eq!(body["Labels"], json(r#"{"k":"v"}"#));
        assert_eq!(body["Entrypoint"], json(r#"["/e"]"#));
        assert_eq!(body["StopSignal"], "INT");
        assert_eq!(body["StopTimeout"], 3);
        assert_eq!(body["Volumes"], json(r#"{"/anon":{}}"#));
        assert_eq!(host["Binds"], json(r#"["/here/d:/d:ro"]"#));
        assert_eq!(host["Tmpfs"], json(r#"{"/t":"size=1m"}"#));
        assert_eq!(host["PortBindings"], json(r#"{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"80"}]}"#));
        assert_eq!(host["NetworkMode"], "none");
        assert_eq!(host["Memory"], 64 << 20);
        assert_eq!(host["MemorySwap"], -1);
        assert_eq!(host["NanoCpus"], 500_000_000);
        assert_eq!(host["PidsLimit"], 9);
        assert_eq!(host["ReadonlyRootfs"], true);
        assert_eq!(host["CapAdd"], json(r#"["NET_ADMIN","SYS_TIME"]"#));
        assert_eq!(host["CapDrop"], json(r#"["ALL"]"#));
        assert_eq!(host["SecurityOpt"], json(r#"["no-new-privileges"]"#));
        assert_eq!(host["LogConfig"], json(r#"{"Type":"local","Config":{"max-size":"1m","tag":"a=b"}}"#));
        assert_eq!(host["Mounts"][0]["Target"], "/m");
        assert_eq!((&host["VolumesFrom"], &host["VolumeDriver"]), (&json(r#"["a:ro"]"#), &json(r#""local""#)));
        assert_eq!(host["RestartPolicy"], json(r#"{"Name":"on-failure","MaximumRetryCount":3}"#));
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        for line in ["--restart sometimes x", "--ip other x", "--memory lots x", "--cgroupns mine x", "--pull often x"]
        {
            assert!(Line::try_parse_from(std::iter::once("run").chain(line.split_whitespace())).is_err(), "{line}");
        }
    }
}
