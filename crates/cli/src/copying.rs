// SPDX-License-Identifier: Apache-2.0
//! The rules of `cp`, which are Docker's: what a source is called at its destination. Text in, text out.

use errors::Kind;

use crate::failure::Failure;

/// One side of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Side {
    /// A path here; `-` for a standard stream.
    Local(String),
    /// A path in a container.
    Container {
        /// The container.
        name: String,
        /// The path.
        path: String,
    },
}

impl Side {
    /// `CONTAINER:PATH`, or a path here: one that has a colon in its name begins with `/` or `.`.
    pub(crate) fn parse(text: &str) -> Side {
        match text.split_once(':') {
            Some((name, path)) if !text.starts_with(['/', '.']) => {
                Side::Container { name: name.to_owned(), path: path.to_owned() }
            }
            _ => Side::Local(text.to_owned()),
        }
    }
}

/// What is copied.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    /// Its path; a slash or `/.` at its end means something.
    pub(crate) path: String,
    /// Whether it is a directory.
    pub(crate) is_directory: bool,
    /// What it shall be called instead of its path's last part: the link's name that was followed.
    pub(crate) called: Option<String>,
}

/// Where it goes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Target {
    /// Its path; a slash or `/.` at its end means that it is a directory.
    pub(crate) path: String,
    /// What is there: nothing, or whether it is a directory.
    pub(crate) is_directory: Option<bool>,
}

/// Into which directory it goes, and what it is called there; `.` for what is in it alone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Placing {
    pub(crate) directory: String,
    pub(crate) name: String,
}

impl Source {
    /// What it is called in its archive.
    pub(crate) fn base(&self) -> String {
        split(&self.path).1
    }

    /// Where it goes in `target`.
    pub(crate) fn placed(&self, target: &Target) -> Result<Placing, Failure> {
        let refuse = |text: &str| Err(Failure::new(Kind::InvalidArgument, format!("{text}: {}", target.path)));
        let own = || self.called.clone().unwrap_or_else(|| self.base());
        match target.is_directory {
            Some(true) => Ok(Placing { directory: target.path.clone(), name: own() }),
            Some(false) if self.is_directory => refuse("a directory cannot be copied onto a file"),
            None if !self.is_directory && asserts_directory(&target.path) => refuse("no such directory"),
            _ => {
                let (directory, name) = split(&target.path);
                Ok(Placing { directory, name })
            }
        }
    }
}

/// A path's directory, and its last part: `.` where the path says so.
pub(crate) fn split(path: &str) -> (String, String) {
    let is_here = path == "." || path.ends_with("/.");
    let clean = engine::clean_path(path);
    if is_here {
        return (clean, ".".to_owned());
    }
    match clean.rsplit_once('/') {
        Some(("", "")) | None => ("/".to_owned(), "/".to_owned()),
        Some(("", name)) => ("/".to_owned(), name.to_owned()),
        Some((directory, name)) => (directory.to_owned(), name.to_owned()),
    }
}

fn asserts_directory(path: &str) -> bool {
    path.ends_with('/') || path.ends_with("/.")
}

/// `path` made absolute by `directory`, with the slash or `/.` that stood at its end.
pub(crate) fn absolute(path: &str, directory: &str) -> String {
    let clean =
        engine::clean_path(&if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") });
    keep_end(path, &clean)
}

fn keep_end(path: &str, clean: &str) -> String {
    let slash = if clean == "/" { "" } else { "/" };
    match path {
        path if path == "." || path.ends_with("/.") => format!("{clean}{slash}."),
        path if path.ends_with('/') => format!("{clean}{slash}"),
        _ => clean.to_owned(),
    }
}

/// A link that was followed: where it leads, with the end that its own path had, and what the copy is called.
pub(crate) fn followed(link: &str, target: &str) -> (String, Option<String>) {
    let path = keep_end(link, &engine::clean_path(target));
    let last = |path: &str| engine::clean_path(path).rsplit_once('/').map(|(_, last)| last.to_owned());
    let called = last(link).filter(|name| !link.ends_with("/.") && last(&path).as_ref() != Some(name));
    (path, called)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_makes_a_container() {
        let container = |name: &str, path: &str| Side::Container { name: name.into(), path: path.into() };
        assert_eq!(Side::parse("web:/etc"), container("web", "/etc"));
        assert_eq!(Side::parse("web:"), container("web", ""));
        for local in ["/a:b", "./a:b", "../a:b", "a", "-", ".:x"] {
            assert_eq!(Side::parse(local), Side::Local(local.into()));
        }
    }

    #[test]
    fn copies_are_called_what_dockers_are() {
        let place = |source: (&str, bool), target: (&str, Option<bool>)| {
            let source = Source { path: source.0.into(), is_directory: source.1, called: None };
            let placed = source.placed(&Target { path: target.0.into(), is_directory: target.1 });
            placed.ok().map(|placing| (placing.directory, placing.name))
        };
        let at = |directory: &str, name: &str| Some((directory.to_owned(), name.to_owned()));
        // SRC_PATH is a file.
        assert_eq!(place(("/s/f", false), ("/d/new", None)), at("/d", "new"));
        assert_eq!(place(("/s/f", false), ("/d/new/", None)), None, "the directory must be there");
        assert_eq!(place(("/s/f", false), ("/d/old", Some(false))), at("/d", "old"));
        assert_eq!(place(("/s/f", false), ("/d", Some(true))), at("/d", "f"));
        // SRC_PATH is a directory.
        assert_eq!(place(("/s/dir", true), ("/d/new", None)), at("/d", "new"));
        assert_eq!(place(("/s/dir", true), ("/d/new/", None)), at("/d", "new"));
        assert_eq!(place(("/s/dir", true), ("/d/old", Some(false))), None);
        assert_eq!(place(("/s/dir", true), ("/d", Some(true))), at("/d", "dir"));
        assert_eq!(place(("/s/dir/.", true), ("/d", Some(true))), at("/d", "."), "its content alone");
        assert_eq!(place(("/s/dir/.", true), ("/d/new", None)), at("/d", "new"));
    }

    #[test]
    fn ends_of_paths_are_kept() {
        for (path, expected) in
            [("a", "/here/a"), ("./a/../b/", "/here/b/"), (".", "/here/."), ("/x/.", "/x/."), ("/", "/"), ("..", "/")]
        {
            assert_eq!(absolute(path, "/here"), expected, "{path}");
        }
        assert_eq!(followed("/l", "/t/x"), ("/t/x".into(), Some("l".into())));
        assert_eq!(followed("/l/.", "/t/x"), ("/t/x/.".into(), None));
        assert_eq!(followed("/a/x", "/t/x"), ("/t/x".into(), None));
    }
}
