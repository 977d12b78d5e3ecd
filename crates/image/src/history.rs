// SPDX-License-Identifier: Apache-2.0
//! How an image was made: its configuration's history (image-spec, `config.md`, "history"), each entry with the layer
//! that it left. Pure.

use oci::Digest;

use crate::Image;

/// One step of an image's making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// When it was done (RFC 3339), if that is known.
    pub created: Option<String>,
    /// The instruction, as its builder wrote it; empty when that is not known.
    pub created_by: String,
    /// What its maker wanted to say.
    pub comment: String,
    /// The diff ID of the layer that it left, if it left one.
    pub layer: Option<Digest>,
    /// Bytes of that layer's files.
    pub size: u64,
}

impl Image {
    /// How the image was made, the first step first. A layer that no entry tells of stands at the end, without words: a
    /// history is the maker's word, and need not be complete.
    pub fn history(&self) -> Vec<Instruction> {
        let mut layers = self.layers.iter().copied().zip(self.layer_sizes.iter().copied());
        let mut steps: Vec<Instruction> = Vec::new();
        for entry in self.config.history().iter().flatten() {
            let layer = if entry.empty_layer() == Some(true) { None } else { layers.next() };
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            steps.push(Instruction {
                created: entry.created().clone(),
                created_by: text(entry.created_by()),
                comment: text(entry.comment()),
                layer: layer.map(|(diff_id, _)| diff_id),
                size: layer.map_or(0, |(_, size)| size),
            });
        }
        steps.extend(layers.map(|(diff_id, size)| Instruction {
            created: None,
            created_by: String::new(),
            comment: String::new(),
            layer: Some(diff_id),
            size,
        }));
        steps
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_layer_belongs_to_one_instruction() {
        let ids = ["a", "b", "c"].map(Digest::of);
        let config = json!({
            "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids},
            "history": [
                {"created": "2024-01-01T00:00:00Z", "created_by": "ADD root /"},
                {"created_by": "ENV A=b", "empty_layer": true},
                {"created_by": "RUN make", "comment": "buildkit"},
            ],
        });
        let image = Image {
            id: ids[0],
            manifest: ids[0],
            manifest_type: String::new(),
            manifest_size: 0,
            names: Vec::new(),
            repo_digests: Vec::new(),
            config: serde_json::from_value(config).unwrap(),
            layers: ids.to_vec(),
            layer_sizes: vec![1, 2, 3],
            size: 6,
            created: None,
        };
        let steps: Vec<_> = image.history().into_iter().map(|step| (step.created_by, step.layer, step.size)).collect();
        let expected = [
            ("ADD root /", Some(ids[0]), 1),
            ("ENV A=b", None, 0),
            ("RUN make", Some(ids[1]), 2),
            ("", Some(ids[2]), 3),
        ];
        assert_eq!(steps, expected.map(|(by, layer, size)| (by.to_owned(), layer, size)));
    }
}
