// SPDX-License-Identifier: Apache-2.0
//! What of each layer is still to be seen when all are stacked. Pure: members of archives in, findings out.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use oci::Digest;

use super::{Finding, Reason, caches};

/// So many files are named for each finding.
const EXAMPLES: usize = 5;

/// What a member is, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Directory,
    File {
        size: u64,
        hash: Digest,
    },
    /// A further name of this file of the same layer.
    HardLink(Vec<u8>),
    Other,
}

/// A file that is to be seen so far.
struct Visible {
    layer: usize,
    size: u64,
    /// `None` for what has no content of its own.
    hash: Option<Digest>,
}

/// A file and its bytes.
type Bytes = (Vec<u8>, u64);

/// Layers being stacked.
#[derive(Default)]
pub(super) struct Analysis {
    visible: BTreeMap<Vec<u8>, Visible>,
    /// Files that have further names, by layer: hiding one name may free nothing.
    linked: BTreeSet<(usize, Vec<u8>)>,
    /// Wasted files by layer and reason.
    wasted: BTreeMap<(usize, Reason), Vec<Bytes>>,
    layers: usize,
    /// The members of the layer that is being read. Whiteouts hide what is below the layer, wherever they stand in it.
    members: Vec<(Vec<u8>, Content)>,
}

impl Analysis {
    pub(super) fn begin_layer(&mut self) {
        self.members.clear();
    }

    /// One member of the layer: its path, relative to the root.
    pub(super) fn add(&mut self, path: Vec<u8>, content: Content) {
        self.members.push((path, content));
    }

    pub(super) fn end_layer(&mut self) {
        let members = std::mem::take(&mut self.members);
        for (path, _) in &members {
            let (directory, name) = split(path);
            let Some(hidden) = name.strip_prefix(b".wh.") else { continue };
            if hidden == b".wh..opq" {
                self.hide_below(directory);
            } else {
                let path = join(directory, hidden);
                self.hide(&path);
                self.hide_below(&path);
            }
        }
        for (path, content) in members {
            if !split(&path).1.starts_with(b".wh.") {
                self.place(path, content);
            }
        }
        self.layers += 1;
    }

    fn place(&mut self, path: Vec<u8>, content: Content) {
        if path.is_empty() {
            return;
        }
        self.hide(&path);
        if content != Content::Directory {
            self.hide_below(&path);
        }
        let layer = self.layers;
        let (size, hash) = match content {
            Content::Directory => return,
            Content::File { size, hash } => (size, Some(hash)),
            Content::HardLink(target) => {
                self.linked.insert((layer, target));
                (0, None)
            }
            Content::Other => (0, None),
        };
        self.visible.insert(path, Visible { layer, size, hash });
    }

    fn hide(&mut self, path: &[u8]) {
        if let Some(file) = self.visible.remove(path) {
            self.waste_hidden(path.to_vec(), &file);
        }
    }

    fn hide_below(&mut self, directory: &[u8]) {
        let start = if directory.is_empty() { Vec::new() } else { join(directory, b"") };
        let below = self.visible.range::<[u8], _>((Bound::Included(&*start), Bound::Unbounded));
        let below: Vec<Vec<u8>> =
            below.map(|(path, _)| path.clone()).take_while(|path| path.starts_with(&start)).collect();
        for path in below {
            self.hide(&path);
        }
    }

    fn waste_hidden(&mut self, path: Vec<u8>, file: &Visible) {
        // Of two members with one name the last counts; what has further names may still be to be seen.
        if file.layer < self.layers && file.size > 0 && !self.linked.contains(&(file.layer, path.clone())) {
            self.waste(file.layer, Reason::Hidden { by: self.layers }, path, file.size);
        }
    }

    fn waste(&mut self, layer: usize, reason: Reason, path: Vec<u8>, bytes: u64) {
        self.wasted.entry((layer, reason)).or_default().push((path, bytes));
    }

    /// The findings of each layer, bottom first.
    pub(super) fn finish(mut self) -> Vec<Vec<Finding>> {
        let mut files: Vec<(usize, Vec<u8>, u64, Digest)> = std::mem::take(&mut self.visible)
            .into_iter()
            .filter_map(|(path, file)| Some((file.layer, path, file.size, file.hash?)))
            .filter(|(_, _, size, _)| *size > 0)
            .collect();
        // The lowest copy is the one that earns its place.
        files.sort();
        let mut seen = BTreeSet::new();
        for (layer, path, size, hash) in files {
            if let Some((what, remedy)) = caches::of(&path) {
                self.waste(layer, Reason::Cache { what, remedy }, path, size);
            } else if !seen.insert(hash) {
                self.waste(layer, Reason::Repeated, path, size);
            }
        }
        let mut findings: Vec<Vec<Finding>> = vec![Vec::new(); self.layers];
        for ((layer, reason), mut files) in self.wasted {
            files.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            let shown = files.iter().take(EXAMPLES);
            findings[layer].push(Finding {
                reason,
                bytes: files.iter().map(|(_, bytes)| bytes).sum(),
                files: files.len() as u64,
                examples: shown.map(|(path, bytes)| (String::from_utf8_lossy(path).into_owned(), *bytes)).collect(),
            });
        }
        findings.iter_mut().for_each(|findings| findings.sort_by_key(|finding| std::cmp::Reverse(finding.bytes)));
        findings
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Content {
        Content::File { size: text.len() as u64, hash: Digest::of(text) }
    }

    fn findings(layers: &[&[(&str, Content)]]) -> Vec<Vec<(Reason, u64, u64)>> {
        let mut analysis = Analysis::default();
        for layer in layers {
            analysis.begin_layer();
            for (path, content) in *layer {
                analysis.add(path.as_bytes().to_vec(), content.clone());
            }
            analysis.end_layer();
        }
        let told = |finding: Finding| (finding.reason, finding.bytes, finding.files);
        analysis.finish().into_iter().map(|findings| findings.into_iter().map(told).collect()).collect()
    }

    #[test]
    fn later_layers_hide_earlier_ones() {
        let found = findings(&[
            &[("a", file("12345")), ("d/x", file("123")), ("d/y", file("45")), ("e/z", file("6")), ("dx", file("7"))],
            &[(".wh.d", file("")), ("e/.wh..wh..opq", file("")), ("d/x", file("new"))],
            &[("a", file("other")), ("e", Content::Directory)],
        ]);
        assert_eq!(found[0], [(Reason::Hidden { by: 1 }, 6, 3), (Reason::Hidden { by: 2 }, 5, 1)]);
        assert_eq!(found[1..], [vec![], vec![]]);
    }

    #[test]
    fn a_file_over_a_directory_hides_all_of_it() {
        let found = findings(&[&[("d/x", file("123")), ("d", Content::Directory)], &[("d", Content::Other)]]);
        assert_eq!(found[0], [(Reason::Hidden { by: 1 }, 3, 1)]);
        let found = findings(&[&[("d", file("123"))], &[("d", Content::Directory)]]);
        assert_eq!(found[0], [(Reason::Hidden { by: 1 }, 3, 1)]);
    }

    #[test]
    fn copies_count_once_and_caches_are_no_copies() {
        let found = findings(&[
            &[("b", file("same")), ("a", file("same")), ("l", Content::HardLink(b"a".to_vec())), ("e", file(""))],
            &[("c", file("same")), ("var/cache/apt/x", file("same")), ("f", file(""))],
        ]);
        assert_eq!(found[0], [(Reason::Repeated, 4, 1)]);
        let (what, remedy) = caches::of(b"var/cache/apt/x").unwrap();
        assert_eq!(found[1], [(Reason::Repeated, 4, 1), (Reason::Cache { what, remedy }, 4, 1)]);
    }

    #[test]
    fn what_has_another_name_is_not_lost_with_one() {
        let found = findings(&[&[("a", file("123")), ("b", Content::HardLink(b"a".to_vec()))], &[(".wh.a", file(""))]]);
        assert_eq!(found, [vec![], vec![]]);
    }

    #[test]
    fn order_within_a_layer_does_not_matter_to_whiteouts() {
        let found = findings(&[&[("d/x", file("1"))], &[("d/y", file("22")), (".wh.d", file(""))]]);
        assert_eq!(found, [vec![(Reason::Hidden { by: 1 }, 1, 1)], vec![]]);
    }
}
