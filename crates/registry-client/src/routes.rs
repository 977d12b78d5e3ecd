// SPDX-License-Identifier: Apache-2.0
//! Where an image is really asked for: mirrors, other locations and prohibitions of containers-registries.conf(5),
//! version 2.
//!
//! Not taken over, on purpose: `unqualified-search-registries` and `[aliases]`, because a short name means Docker's
//! registry here as with Docker, and a search would let whoever takes the name in an earlier registry choose what runs.
//! `insecure` allows plain HTTP to the whole host; a certificate that is shown is verified all the same.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oci::ImageRef;
use serde::Deserialize;

/// Longer files are no configuration.
const MAX_FILE: u64 = 4 << 20;

/// Why the configuration could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoutesError {
    /// The file cannot be read.
    #[error("read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not what containers-registries.conf(5) describes.
    #[error("{path:?} is not valid: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why, on one line.
        message: String,
    },
    /// Version 1 of the format.
    #[error("{path:?} has the tables of version 1 ([registries.search], …), which is not supported")]
    Version1 {
        /// The file.
        path: PathBuf,
    },
    /// An entry that does not make a name of what it is for.
    #[error("{path:?}: the entry {entry:?} makes no image name of {image}")]
    Location {
        /// The file.
        path: PathBuf,
        /// The entry's prefix or mirror.
        entry: String,
        /// The image's name.
        image: String,
    },
    /// The configuration forbids the image.
    #[error("{path:?} blocks {image}: its entry {entry:?} says so")]
    Blocked {
        /// The file.
        path: PathBuf,
        /// The entry's prefix.
        entry: String,
        /// The image's name.
        image: String,
    },
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    registry: Vec<Entry>,
    registries: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Entry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirror>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: PullFromMirror,
}

/// For which names a mirror is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PullFromMirror {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

/// What a configuration says. The default is that of no configuration.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    path: PathBuf,
    entries: Vec<Entry>,
}

impl Routes {
    /// Reads the file and, in the order of their names, `*.conf` in the directory of its name with `.d`. An entry replaces
    /// an earlier one with the same prefix. What is missing says nothing.
    pub(crate) fn read(path: &Path) -> Result<Routes, RoutesError> {
        let mut routes = Routes { path: path.to_owned(), entries: Vec::new() };
        let directory = path.with_extension("conf.d");
        let mut more: Vec<PathBuf> = match fs::read_dir(&directory) {
            Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.path()).collect(),
            Err(_) => Vec::new(),
        };
        more.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
        more.sort();
        for path in std::iter::once(path.to_owned()).chain(more) {
            for entry in read_file(&path)? {
                routes.entries.retain(|known| known.prefix != entry.prefix);
                routes.entries.push(entry);
            }
        }
        Ok(routes)
    }

    /// The names by which `image` is to be asked for, the first one first; the last is no mirror.
    pub(crate) fn places(&self, image: &ImageRef) -> Result<Vec<ImageRef>, RoutesError> {
        let name = image.canonical();
        let matching = self.entries.iter().filter_map(|entry| Some((matched(&entry.prefix, &name)?, entry)));
        let Some((length, entry)) = matching.max_by_key(|(length, _)| *length) else { return Ok(vec![image.clone()]) };
        let image_name = || image.to_string();
        if entry.blocked {
            return Err(RoutesError::Blocked {
                path: self.path.clone(),
                entry: entry.prefix.clone(),
                image: image_name(),
            });
        }
        let at = |location: &str| {
            // A prefix with an asterisk says nothing of what could be replaced.
            let is_same = location.is_empty() || entry.prefix.starts_with('*');
            let renamed = if is_same { name.clone() } else { format!("{location}{}", &name[length..]) };
            renamed.parse::<ImageRef>().map_err(|_| RoutesError::Location {
                path: self.path.clone(),
                entry: location.to_owned(),
                image: image_name(),
            })
        };
        let by_digest = image.digest().is_some();
        let used = |mirror: &&Mirror| match mirror.pull_from_mirror {
            _ if entry.mirror_by_digest_only => by_digest,
            PullFromMirror::All => true,
            PullFromMirror::DigestOnly => by_digest,
            PullFromMirror::TagOnly => !by_digest,
        };
        let mirrors = entry.mirror.iter().filter(used).map(|mirror| at(&mirror.location));
        mirrors.chain(std::iter::once_with(|| at(&entry.location))).collect()
    }

    /// Whether `registry` (a host and perhaps a port) may be spoken to without TLS.
    pub(crate) fn is_insecure(&self, registry: &str) -> bool {
        let host = |location: &str| location.split('/').next() == Some(registry);
        self.entries.iter().any(|entry| {
            let location = if entry.location.is_empty() { &entry.prefix } else { &entry.location };
            entry.insecure && (host(location) || matched(&entry.prefix, registry).is_some())
                || entry.mirror.iter().any(|mirror| mirror.insecure && host(&mirror.location))
        })
    }
}

fn read_file(path: &Path) -> Result<Vec<Entry>, RoutesError> {
    let mut text = String::new();
    let read =
        fs::File::open(path).and_then(|file| io::Read::read_to_string(&mut io::Read::take(file, MAX_FILE), &mut text));
    match read {
        Ok(_) => parse(path, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(RoutesError::Read { path: path.to_owned(), source }),
    }
}

fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, RoutesError> {
    let invalid = |message: String| RoutesError::Parse { path: path.to_owned(), message };
    let document: Document = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        invalid(format!("line {line}: {}", error.message()))
    })?;
    if document.registries.is_some() {
        return Err(RoutesError::Version1 { path: path.to_owned() });
    }
    let mut entries = document.registry;
    for entry in &mut entries {
        if entry.prefix.is_empty() {
            entry.prefix.clone_from(&entry.location);
        }
        if entry.prefix.is_empty() {
            return Err(invalid("an entry has neither a prefix nor a location".to_owned()));
        }
        if entry.mirror.iter().any(|mirror| mirror.location.is_empty()) {
            return Err(invalid(format!("a mirror of {:?} has no location", entry.prefix)));
        }
    }
    Ok(entries)
}

/// How many bytes of `name` the prefix covers; `None` when it is another's.
fn matched(prefix: &str, name: &str) -> Option<usize> {
    if let Some(domain) = prefix.strip_prefix('*') {
        let host = name.split('/').next().unwrap_or(name);
        // Less than any prefix that is spelt out.
        return (domain.starts_with('.') && host.ends_with(domain)).then_some(0);
    }
    let rest = name.strip_prefix(prefix)?;
    // A colon behind a host is a port's: that is another registry.
    let ends = rest.is_empty() || rest.starts_with(['/', '@']) || rest.starts_with(':') && prefix.contains('/');
    ends.then_some(prefix.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(text: &str) -> Routes {
        Routes { path: "x".into(), entries: parse(Path::new("x"), text).unwrap() }
    }

    fn places(routes: &Routes, image: &str) -> Vec<String> {
        routes.places(&image.parse().unwrap()).unwrap().iter().map(ImageRef::canonical).collect()
    }

    const EXAMPLE: &str = r#"
        unqualified-search-registries = ["example.com"]
        short-name-mode = "enforcing"
        [[registry]]
        prefix = "example.com/foo"
        location = "internal.example.net/bar"
        [[registry.mirror]]
        location = "mirror-0.local/mirror-for-foo"
        [[registry.mirror]]
        location = "mirror-1.local:5000/mirrors/foo"
        insecure = true
        pull-from-mirror = "digest-only"
        [[registry]]
        location = "docker.io"
        mirror-by-digest-only = true
        mirror = [{ location = "hub.local" }]
        [[registry]]
        prefix = "*.evil.example"
        blocked = true
        [[registry]]
        prefix = "good.evil.example"
        insecure = true
        [aliases]
        "debian" = "evil.example/debian"
    "#;

    #[test]
    fn mirrors_come_first_and_the_longest_prefix_decides() {
        let routes = routes(EXAMPLE);
        assert_eq!(
            places(&routes, "example.com/foo/image:latest"),
            ["mirror-0.local/mirror-for-foo/image:latest", "internal.example.net/bar/image:latest"]
        );
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(
            places(&routes, &format!("example.com/foo@{digest}")),
            [
                format!("mirror-0.local/mirror-for-foo@{digest}"),
                format!("mirror-1.local:5000/mirrors/foo@{digest}"),
                format!("internal.example.net/bar@{digest}"),
            ]
        );
        assert_eq!(places(&routes, "debian:12"), ["docker.io/library/debian:12"], "no alias, no mirror for a tag");
        assert_eq!(
            places(&routes, &format!("debian@{digest}")),
            [format!("hub.local/library/debian@{digest}"), format!("docker.io/library/debian@{digest}")]
        );
        for other in ["example.com/foobar:1", "example.com:5000/foo:1", "other.example/foo:1"] {
            assert_eq!(places(&routes, other), [other]);
        }
    }

    #[test]
    fn what_is_blocked_is_refused_and_what_is_insecure_is_known() {
        let routes = routes(EXAMPLE);
        let blocked = routes.places(&"a.evil.example/x".parse().unwrap()).unwrap_err();
        assert!(blocked.to_string().contains("*.evil.example") && blocked.to_string().contains("a.evil.example/x"));
        assert_eq!(places(&routes, "good.evil.example/x:1"), ["good.evil.example/x:1"]);
        for (registry, insecure) in [
            ("mirror-1.local:5000", true),
            ("good.evil.example", true),
            ("mirror-0.local", false),
            ("mirror-1.local", false),
            ("docker.io", false),
        ] {
            assert_eq!(routes.is_insecure(registry), insecure, "{registry}");
        }
    }

    #[test]
    fn a_file_that_is_wrong_says_where() {
        let wrong = |text: &str| parse(Path::new("r.conf"), text).unwrap_err().to_string();
        assert!(
            wrong("\n[[registry]]\nlocation = 7\n").contains("line 3"),
            "{}",
            wrong("\n[[registry]]\nlocation = 7\n")
        );
        assert!(wrong("[[registry]]\n").contains("neither a prefix nor a location"));
        assert!(wrong("[[registry]]\nlocation='a'\n[[registry.mirror]]\n").contains("no location"));
        assert!(wrong("[registries.search]\nregistries = ['a']\n").contains("version 1"));
        let spaced = routes("[[registry]]\nprefix='a.example'\nlocation='B C'\n");
        assert!(matches!(spaced.places(&"a.example/x".parse().unwrap()), Err(RoutesError::Location { .. })));
    }

    #[test]
    fn further_files_replace_entries_and_missing_ones_say_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registries.conf");
        assert_eq!(places(&Routes::read(&path).unwrap(), "a.example/x:1"), ["a.example/x:1"]);
        fs::write(&path, "[[registry]]\nprefix='a.example'\nlocation='one.example'\n").unwrap();
        assert_eq!(places(&Routes::read(&path).unwrap(), "a.example/x:1"), ["one.example/x:1"]);
        let more = dir.path().join("registries.conf.d");
        fs::create_dir(&more).unwrap();
        fs::write(more.join("10.conf"), "[[registry]]\nprefix='a.example'\nlocation='two.example'\n").unwrap();
        fs::write(more.join("20.conf.bak"), "no toml").unwrap();
        assert_eq!(places(&Routes::read(&path).unwrap(), "a.example/x:1"), ["two.example/x:1"]);
    }
}
