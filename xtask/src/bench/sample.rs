// SPDX-License-Identifier: Apache-2.0
//! Samples of one measurement.

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Seconds, shown as milliseconds.
    Time,
    /// Bytes, shown as megabytes of 10^6.
    Memory,
}

/// The samples of one side.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(Vec<f64>);

impl Samples {
    /// One sample only.
    pub(super) fn one(value: f64) -> Samples {
        Samples(vec![value])
    }

    pub(super) fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The middle one, or the mean of the two in the middle. NaN of none.
    pub(super) fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match self.0.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => self.0[middle],
            _ => f64::midpoint(self.0[middle - 1], self.0[middle]),
        }
    }

    /// `median (least–most)`.
    pub(super) fn show(&self, unit: Unit) -> String {
        let scaled = |value: f64| match unit {
            Unit::Time => format!("{:.1}", value * 1000.0),
            Unit::Memory => format!("{:.2}", value / 1e6),
        };
        let name = match unit {
            Unit::Time => "ms",
            Unit::Memory => "MB",
        };
        match (self.0.first(), self.0.last()) {
            (Some(least), Some(most)) if self.0.len() > 1 => {
                format!("{} {name} ({}–{})", scaled(self.median()), scaled(*least), scaled(*most))
            }
            _ => format!("{} {name}", scaled(self.median())),
        }
    }
}

/// One line of the table: the same job done by Corten and by a peer.
pub(super) struct Row {
    pub(super) job: String,
    pub(super) unit: Unit,
    pub(super) peer: &'static str,
    pub(super) ours: Samples,
    pub(super) theirs: Samples,
    /// The ratio that is to be reached, ours to theirs.
    pub(super) goal: Option<f64>,
}

impl Row {
    /// Ours to theirs: below one is better than the peer.
    pub(super) fn ratio(&self) -> f64 {
        self.ours.median() / self.theirs.median()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_the_spread_is_shown() {
        let mut samples = Samples::default();
        for value in [0.003, 0.001, 0.002] {
            samples.push(value);
        }
        assert_eq!(samples.show(Unit::Time), "2.0 ms (1.0–3.0)");
        samples.push(0.004);
        assert!((samples.median() - 0.0025).abs() < 1e-9);
        assert_eq!(Samples::one(2_500_000.0).show(Unit::Memory), "2.50 MB");
    }
}
