// SPDX-License-Identifier: Apache-2.0
//! Where programs leave what an image has no use for. Pure.

/// A place, whose it is, and what keeps it out of an image.
struct Place {
    /// Directories from the root, with a slash at the end; with one at the beginning, too, anywhere in the tree.
    directory: &'static str,
    what: &'static str,
    remedy: &'static str,
}

const APT: &str =
    "end the same RUN with rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb, or mount a cache there";
const DNF: &str = "end the same RUN with dnf clean all";
const TEMPORARY: &str = "remove what is temporary in the same RUN";

const PLACES: &[Place] = &[
    Place { directory: "var/lib/apt/lists/", what: "apt's package lists", remedy: APT },
    Place { directory: "var/cache/apt/", what: "apt's cache", remedy: APT },
    Place { directory: "var/cache/apk/", what: "apk's cache", remedy: "use apk add --no-cache" },
    Place { directory: "etc/apk/cache/", what: "apk's cache", remedy: "use apk add --no-cache" },
    Place { directory: "var/cache/dnf/", what: "dnf's cache", remedy: DNF },
    Place { directory: "var/cache/libdnf5/", what: "dnf's cache", remedy: DNF },
    Place { directory: "var/cache/yum/", what: "yum's cache", remedy: "end the same RUN with yum clean all" },
    Place { directory: "var/cache/zypp/", what: "zypper's cache", remedy: "end the same RUN with zypper clean -a" },
    Place { directory: "var/cache/pacman/pkg/", what: "pacman's cache", remedy: "end the same RUN with pacman -Scc" },
    Place { directory: "/.cache/pip/", what: "pip's cache", remedy: "use pip install --no-cache-dir" },
    Place { directory: "/.cache/uv/", what: "uv's cache", remedy: "use uv --no-cache" },
    Place {
        directory: "/.npm/_cacache/",
        what: "npm's cache",
        remedy: "end the same RUN with npm cache clean --force",
    },
    Place { directory: "/.cache/yarn/", what: "yarn's cache", remedy: "end the same RUN with yarn cache clean" },
    Place { directory: "/.cache/go-build/", what: "Go's build cache", remedy: "end the same RUN with go clean -cache" },
    Place { directory: "/go/pkg/mod/cache/", what: "Go's module cache", remedy: "build in another stage" },
    Place { directory: "/.cargo/registry/", what: "cargo's registry", remedy: "build in another stage" },
    Place { directory: "/.composer/cache/", what: "composer's cache", remedy: "use composer install --no-cache" },
    Place { directory: "tmp/", what: "temporary files", remedy: TEMPORARY },
    Place { directory: "var/tmp/", what: "temporary files", remedy: TEMPORARY },
];

/// Whose cache the file `path` (relative to the root) is in, and what keeps it out.
pub(super) fn of(path: &[u8]) -> Option<(&'static str, &'static str)> {
    let is_in = |place: &&Place| {
        let directory = place.directory.as_bytes();
        match directory.strip_prefix(b"/") {
            None => path.starts_with(directory),
            Some(own) => path.starts_with(own) || path.windows(directory.len()).any(|window| window == directory),
        }
    };
    PLACES.iter().find(is_in).map(|place| (place.what, place.remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_known_by_their_place() {
        let whose = |path: &str| of(path.as_bytes()).map(|(what, _)| what);
        assert_eq!(whose("var/lib/apt/lists/deb.example_main"), Some("apt's package lists"));
        assert_eq!(whose("root/.cache/pip/http/a"), Some("pip's cache"));
        assert_eq!(whose(".cache/pip/x"), Some("pip's cache"));
        assert_eq!(whose("home/me/.npm/_cacache/x"), Some("npm's cache"));
        assert_eq!(whose("tmp/x"), Some("temporary files"));
        for other in ["var/lib/apt/extended_states", "srv/var/cache/apt/x", "opt/tmp/x", "tmp", "root/.cache/other"] {
            assert_eq!(whose(other), None, "{other}");
        }
    }
}
