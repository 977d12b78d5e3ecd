// SPDX-License-Identifier: Apache-2.0
//! What this program is called: `corten`, or `docker` where it stands in for that. What it says of itself goes by the name
//! that it was called by, so that what a user reads can be typed.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::OnceLock;

use api_types::DOCKER_RELEASE;

/// Its own version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What stands where Docker names the commit that it was built of: whose build this is.
pub(crate) const BUILD: &str = concat!("corten-", env!("CARGO_PKG_VERSION"));
/// How a command of this program begins in what is said to a user.
const COMMAND: &str = "corten ";

/// Whether it was called as `docker`.
static AS_DOCKER: OnceLock<bool> = OnceLock::new();

/// Notes by which path the program was called. Only the first call counts.
pub(crate) fn called(program: Option<&OsStr>) {
    AS_DOCKER.get_or_init(|| program.is_some_and(stands_in));
}

/// Whether the program was called as `docker`, for which it then stands in.
pub(crate) fn is_docker() -> bool {
    AS_DOCKER.get().copied().unwrap_or(false)
}

fn stands_in(program: &OsStr) -> bool {
    Path::new(program).file_name().is_some_and(|name| name == "docker")
}

/// The name that it was called by.
pub(crate) fn name() -> &'static str {
    if is_docker() { "docker" } else { "corten" }
}

/// What `--version` prints. Whoever looks for Docker reads it in the form of Docker's, with the release whose API is spoken.
pub(crate) fn version_line() -> String {
    if is_docker() { format!("Docker version {DOCKER_RELEASE}, build {BUILD}") } else { format!("corten {VERSION}") }
}

/// `text`, in which commands of this program are called by the name that it was called by.
pub(crate) fn spoken(text: &str) -> Cow<'_, str> {
    if is_docker() && text.contains(COMMAND) {
        Cow::Owned(as_docker(text, crate::cli::command_names()))
    } else {
        Cow::Borrowed(text)
    }
}

/// `corten ps` is `docker ps`, and `corten -H` is `docker -H`; Corten's name in a sentence stays.
fn as_docker(text: &str, commands: &[String]) -> String {
    let mut spoken = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once(COMMAND) {
        spoken.push_str(before);
        let begins = spoken.chars().next_back().is_none_or(|last| last.is_whitespace() || "`('\"|".contains(last));
        let end = behind.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-').unwrap_or(behind.len());
        let is_command = behind.starts_with(['-', '…']) || commands.iter().any(|name| *name == behind[..end]);
        spoken.push_str(if begins && is_command { "docker " } else { COMMAND });
        rest = behind;
    }
    spoken.push_str(rest);
    spoken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_part_of_the_path_is_the_name() {
        assert!(stands_in(OsStr::new("/usr/bin/docker")) && stands_in(OsStr::new("docker")));
        assert!(!stands_in(OsStr::new("/docker/corten")) && !stands_in(OsStr::new("docker-init")));
    }

    #[test]
    fn commands_are_called_by_dockers_name_and_corten_by_its_own() {
        let spoken = |text: &str| as_docker(text, crate::cli::command_names());
        for (text, expected) in [
            ("`corten ps -a` lists all", "`docker ps -a` lists all"),
            ("corten image sign, corten trust", "docker image sign, docker trust"),
            ("run it as root: sudo corten daemon", "run it as root: sudo docker daemon"),
            ("corten -H unix:///x ps", "docker -H unix:///x ps"),
            ("(sudo corten …)", "(sudo docker …)"),
            ("the ids of corten or dockremap", "the ids of corten or dockremap"),
            ("corten psalm", "corten psalm"),
            ("/run/corten ps", "/run/corten ps"),
            ("the group corten ", "the group corten "),
        ] {
            assert_eq!(spoken(text), expected);
        }
    }
}
