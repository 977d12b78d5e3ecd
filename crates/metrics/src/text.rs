// SPDX-License-Identifier: Apache-2.0
//! The text: families of samples, each with its labels.

use std::fmt::Write as _;

use crate::Histogram;

/// What a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// The text.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Begins a family.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A sample of the family that was begun last.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (place, (label, text)) in labels.iter().enumerate() {
            self.0.push(if place == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            for character in text.chars() {
                match character {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, " {value}");
    }

    /// The samples of a histogram, of the family `name` that was begun last.
    pub fn durations<const N: usize>(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram<N>) {
        let bucket = format!("{name}_bucket");
        let mut most = 0;
        for (bound, below) in histogram.cumulative() {
            self.sample(&bucket, &[labels, &[("le", &bound.to_string())]].concat(), below as f64);
            most = below;
        }
        let (count, sum) = histogram.totals();
        // One that is counted at this moment is in its bucket first.
        let count = count.max(most) as f64;
        self.sample(&bucket, &[labels, &[("le", "+Inf")]].concat(), count);
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, count);
    }

    /// All of it.
    pub fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn buckets_add_up() {
        let histogram = Histogram::new(&[0.001, 0.5, 30.0]);
        assert!(histogram.is_empty());
        for millis in [0, 1, 4, 200, 60_000] {
            histogram.note(Duration::from_millis(millis));
        }
        let mut text = Text::default();
        text.durations("t", &[("route", "x")], &histogram);
        let expected = "t_bucket{route=\"x\",le=\"0.001\"} 2\nt_bucket{route=\"x\",le=\"0.5\"} 4\n\
                        t_bucket{route=\"x\",le=\"30\"} 4\nt_bucket{route=\"x\",le=\"+Inf\"} 5\n\
                        t_sum{route=\"x\"} 60.205\nt_count{route=\"x\"} 5\n";
        assert_eq!((text.finish().as_str(), histogram.is_empty()), (expected, false));
    }

    #[test]
    fn labels_are_escaped_and_no_labels_have_no_braces() {
        let mut text = Text::default();
        text.family("a_total", Kind::Counter, "What it is.");
        text.sample("a_total", &[("image", "x\"y\\z\n"), ("id", "1")], 2.0);
        text.sample("a_total", &[], 0.25);
        let expected = "# HELP a_total What it is.\n# TYPE a_total counter\na_total{image=\"x\\\"y\\\\z\\n\",id=\"1\"} 2\n\
                        a_total 0.25\n";
        assert_eq!(text.finish(), expected);
    }
}
