//! Rounds in one figure: the median, the spread around it, and when a difference is one.
//!
//! Nothing here assumes how noise is distributed. Two servers are compared round by round, since
//! both meet the same machine in a round: one is called better if it was better in *every* round,
//! and by 5 % or more in the median of the rounds' ratios. With four rounds, two equal servers are
//! told apart by chance in 1 of 8 runs by the first rule alone, with five in 1 of 16, and the
//! second one is to be met as well; with less than four nothing is called better.

/// The least difference between medians that is a finding.
const FINDING: f64 = 0.05;

/// The least number of rounds of each side.
const ROUNDS_MIN: usize = 4;

/// A figure over several rounds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) count: usize,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (&least, &most) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Some(Spread { median, least, most, count: values.len() })
    }

    /// The part of the median by which rounds lie around it, at most.
    pub(crate) fn relative(&self) -> f64 {
        let away = (self.most - self.median).max(self.median - self.least);
        if self.median > 0.0 { away / self.median } else { 0.0 }
    }
}

/// How two servers compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    First,
    Second,
    /// The difference is inside the noise.
    Noise,
    /// There are too few rounds to tell.
    TooFewRounds,
}

/// Compares a figure of which less is better: the second server's as a part of the first's, of each
/// round.
pub(crate) fn verdict(ratios: &Spread) -> Verdict {
    if ratios.count < ROUNDS_MIN {
        return Verdict::TooFewRounds;
    }
    match () {
        () if ratios.least > 1.0 && ratios.median >= 1.0 + FINDING => Verdict::First,
        () if ratios.most < 1.0 && ratios.median <= 1.0 / (1.0 + FINDING) => Verdict::Second,
        () => Verdict::Noise,
    }
}

#[cfg(test)]
mod tests {
    use super::{Spread, Verdict, verdict};

    fn spread(values: &[f64]) -> Spread {
        Spread::of(values.iter().copied()).expect("values")
    }

    #[test]
    fn a_median_is_the_middle_and_a_spread_the_farthest_round() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]).median, 2.0);
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(spread(&[90.0, 100.0, 130.0]).relative(), 0.3);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_winner_is_named_only_outside_the_noise() {
        assert_eq!(verdict(&spread(&[1.1, 1.05, 1.2, 1.01])), Verdict::First);
        assert_eq!(verdict(&spread(&[0.9, 0.95, 0.8, 0.99])), Verdict::Second);
        // The other one was better in one round.
        assert_eq!(verdict(&spread(&[1.1, 1.2, 1.3, 0.99])), Verdict::Noise);
        // In every round, but by 3 % only.
        assert_eq!(verdict(&spread(&[1.03, 1.02, 1.03, 1.04])), Verdict::Noise);
        assert_eq!(verdict(&spread(&[2.0, 2.0, 2.0])), Verdict::TooFewRounds);
    }
}
