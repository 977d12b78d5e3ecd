// SPDX-License-Identifier: Apache-2.0
//! Who may know whom: the picture of `ARCHITECTURE.md` as a table, checked against cargo's metadata.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::Finding;

/// A row of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Hats,
    Faces,
    Middle,
    Storage,
    Network,
    Runtime,
    Pure,
    Base,
    /// Tests and tasks: they may know anything, and no product crate may know them.
    Beside,
}

use Row::{Base, Beside, Faces, Hats, Middle, Network, Pure, Runtime, Storage};

/// Every room and the row it stands in.
const ROOMS: &[(&str, Row)] = &[
    ("corten", Hats),
    ("engine-api", Faces),
    ("client", Faces),
    ("compose", Faces),
    ("engine", Middle),
    ("logging", Middle),
    ("build", Middle),
    ("image", Storage),
    ("transfer", Storage),
    ("registry-client", Storage),
    ("registry-server", Storage),
    ("snapshot", Storage),
    ("layer", Storage),
    ("erofs", Storage),
    ("content", Storage),
    ("metadata", Storage),
    ("network", Network),
    ("dns", Network),
    ("firewall", Network),
    ("netlink", Network),
    ("shim", Runtime),
    ("runtime", Runtime),
    ("cgroup", Runtime),
    ("seccomp", Runtime),
    ("dockerfile", Pure),
    ("compose-spec", Pure),
    ("oci", Pure),
    ("cdi", Pure),
    ("trust", Pure),
    ("spki", Pure),
    ("metrics", Pure),
    ("api-types", Pure),
    ("sys", Base),
    ("errors", Base),
    ("xtask", Beside),
    ("testkit", Beside),
    ("end-to-end", Beside),
];

/// The rows a row may know, beside itself.
fn below(row: Row) -> &'static [Row] {
    match row {
        Hats => &[Faces, Middle, Storage, Network, Runtime, Pure, Base],
        Faces => &[Middle, Storage, Network, Runtime, Pure, Base],
        Middle => &[Storage, Network, Runtime, Pure, Base],
        Storage | Network | Runtime => &[Pure, Base],
        Pure => &[Base],
        Base => &[],
        Beside => &[Hats, Faces, Middle, Storage, Network, Runtime, Pure, Base],
    }
}

/// How far a prohibition reaches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Only what the crate names itself.
    Direct,
    /// Whatever ends up in a program that links it.
    Linked,
}

/// What a room may not know, and why.
struct Prohibition {
    rooms: &'static [&'static str],
    reach: Reach,
    crates: &'static [&'static str],
    why: &'static str,
}

const PROHIBITIONS: &[Prohibition] = &[
    Prohibition {
        rooms: &["runtime", "cgroup", "seccomp", "layer", "shim"],
        reach: Reach::Linked,
        crates: &["tokio", "hyper", "axum", "async-std", "smol", "futures-executor"],
        why: "it knows no async runtime",
    },
    Prohibition {
        rooms: &["shim"],
        reach: Reach::Linked,
        crates: &["http", "hyper", "rustls", "ring", "redb", "metadata", "registry-client"],
        why: "it links no HTTP, no TLS and no database: one lives beside every container",
    },
    Prohibition {
        rooms: &["engine", "logging"],
        reach: Reach::Direct,
        crates: &["http", "hyper", "hyper-util", "axum", "tower", "engine-api", "client"],
        why: "it knows no HTTP",
    },
    Prohibition {
        rooms: &["transfer"],
        reach: Reach::Linked,
        crates: &["image", "metadata", "snapshot", "redb"],
        why: "it copies images and keeps none",
    },
    Prohibition {
        rooms: &["client", "compose"],
        reach: Reach::Direct,
        crates: &["engine"],
        why: "it speaks to the daemon over its socket, as any API caller",
    },
    Prohibition {
        rooms: &["oci", "api-types", "cdi", "metrics", "erofs", "dockerfile", "compose-spec", "seccomp", "errors"],
        reach: Reach::Linked,
        crates: &["tokio", "rustix", "nix", "libc", "mio", "sys"],
        why: "it does no input or output",
    },
];

/// The part of `cargo metadata` that is looked at.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// `None` is an ordinary dependency; the others are `dev` and `build`.
    kind: Option<String>,
}

/// Who knows whom, by package id, ordinary dependencies only: what ends up in the binary.
struct Graph<'a> {
    names: BTreeMap<&'a str, &'a str>,
    knows: BTreeMap<&'a str, Vec<&'a str>>,
}

/// Every arrow that goes up, and every crate in a room that may not have it.
pub(crate) fn check(metadata: &Metadata) -> Vec<Finding> {
    let graph = Graph::new(metadata);
    let mut findings = Vec::new();
    for member in &metadata.workspace_members {
        let name = graph.names[member.as_str()];
        match row(name) {
            None => findings.push(Finding::new(name, "stands in no row of the picture: give it one in tidy/arrows.rs")),
            Some(row) => findings.extend(graph.arrows_up(member, name, row)),
        }
    }
    for prohibition in PROHIBITIONS {
        for member in &metadata.workspace_members {
            if prohibition.rooms.contains(&graph.names[member.as_str()]) {
                findings.extend(graph.breaches(member, prohibition));
            }
        }
    }
    findings
}

fn row(name: &str) -> Option<Row> {
    ROOMS.iter().find(|(room, _)| *room == name).map(|(_, row)| *row)
}

impl<'a> Graph<'a> {
    fn new(metadata: &'a Metadata) -> Graph<'a> {
        let ordinary = |dependency: &&Dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
        Graph {
            names: metadata.packages.iter().map(|p| (p.id.as_str(), p.name.as_str())).collect(),
            knows: metadata
                .resolve
                .nodes
                .iter()
                .map(|node| (node.id.as_str(), node.deps.iter().filter(ordinary).map(|d| d.pkg.as_str()).collect()))
                .collect(),
        }
    }

    fn direct(&self, id: &str) -> &[&'a str] {
        self.knows.get(id).map_or(&[], Vec::as_slice)
    }

    fn arrows_up(&self, id: &str, name: &str, from: Row) -> Vec<Finding> {
        self.direct(id)
            .iter()
            .map(|known| self.names[known])
            .filter(|known| row(known).is_some_and(|to| to != from && !below(from).contains(&to)))
            .map(|known| Finding::new(name, format!("may not know {known}: arrows go down only")))
            .collect()
    }

    fn breaches(&self, id: &str, prohibition: &Prohibition) -> Vec<Finding> {
        let known: BTreeSet<&str> = match prohibition.reach {
            Reach::Direct => self.direct(id).iter().map(|known| self.names[known]).collect(),
            Reach::Linked => self.linked(id),
        };
        prohibition
            .crates
            .iter()
            .filter(|forbidden| known.contains(**forbidden))
            .map(|forbidden| Finding::new(self.names[id], format!("may not have {forbidden}: {}", prohibition.why)))
            .collect()
    }

    fn linked(&self, id: &str) -> BTreeSet<&'a str> {
        let mut seen = BTreeSet::new();
        let mut left = self.direct(id).to_vec();
        while let Some(next) = left.pop() {
            if seen.insert(next) {
                left.extend(self.direct(next));
            }
        }
        seen.into_iter().map(|id| self.names[id]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Metadata of a workspace with these members and these ordinary dependencies.
    fn workspace(members: &[&str], arrows: &[(&str, &str)]) -> Metadata {
        let mut names: BTreeSet<&str> = members.iter().copied().collect();
        names.extend(arrows.iter().flat_map(|(from, to)| [*from, *to]));
        Metadata {
            packages: names.iter().map(|n| Package { id: n.to_string(), name: n.to_string() }).collect(),
            workspace_members: members.iter().map(ToString::to_string).collect(),
            resolve: Resolve {
                nodes: names
                    .iter()
                    .map(|name| Node {
                        id: name.to_string(),
                        deps: arrows
                            .iter()
                            .filter(|(from, _)| from == name)
                            .map(|(_, to)| Dependency {
                                pkg: to.to_string(),
                                dep_kinds: vec![DependencyKind { kind: None }],
                            })
                            .collect(),
                    })
                    .collect(),
            },
        }
    }

    fn findings(members: &[&str], arrows: &[(&str, &str)]) -> Vec<String> {
        check(&workspace(members, arrows)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_arrow_down_is_fine_and_an_arrow_up_is_found() {
        assert!(findings(&["corten", "engine", "sys"], &[("corten", "engine"), ("engine", "sys")]).is_empty());
        let found = findings(&["corten", "engine"], &[("engine", "corten")]);
        assert_eq!(found, ["engine: may not know corten: arrows go down only"]);
        assert_eq!(findings(&["layer", "network"], &[("layer", "network")]).len(), 1);
    }

    #[test]
    fn a_product_crate_may_not_link_the_testkit() {
        assert_eq!(findings(&["engine", "testkit"], &[("engine", "testkit")]).len(), 1);
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        assert_eq!(findings(&["attic"], &[]).len(), 1);
    }

    #[test]
    fn an_async_runtime_is_found_through_another_crate() {
        let found = findings(&["shim"], &[("shim", "between"), ("between", "tokio")]);
        assert_eq!(found, ["shim: may not have tokio: it knows no async runtime"]);
    }

    #[test]
    fn a_database_or_tls_in_the_shim_is_found() {
        assert_eq!(findings(&["shim"], &[("shim", "redb"), ("shim", "rustls")]).len(), 2);
    }

    #[test]
    fn http_in_the_engine_is_found_when_direct_only() {
        assert_eq!(findings(&["engine"], &[("engine", "hyper")]).len(), 1);
        assert!(findings(&["engine", "image"], &[("engine", "image"), ("image", "hyper")]).is_empty());
    }

    #[test]
    fn the_client_may_not_know_the_engine() {
        assert_eq!(findings(&["client", "engine"], &[("client", "engine")]).len(), 1);
    }

    #[test]
    fn a_pure_crate_with_system_calls_is_found() {
        assert_eq!(findings(&["oci"], &[("oci", "rustix")]).len(), 1);
    }

    #[test]
    fn a_dependency_of_tests_is_no_arrow() {
        let mut metadata = workspace(&["shim"], &[("shim", "tokio")]);
        metadata.resolve.nodes[0].deps[0].dep_kinds[0].kind = Some("dev".to_owned());
        assert!(check(&metadata).is_empty());
    }
}
