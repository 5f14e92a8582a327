//! Rounds in one figure: the median, the spread around it, and when a difference is one.
//!
//! Nothing here assumes how noise is distributed. Of two servers one is called better if *every*
//! round of it was better than every round of the other, and the medians differ by 5 % or more.
//! With four rounds each, two equal servers are told apart by chance in 3 of 100 runs, with five
//! in fewer than 1; with less than four nothing is called better.

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

/// Compares a figure of which less is better.
pub(crate) fn less_is_better(first: &Spread, second: &Spread) -> Verdict {
    if first.count.min(second.count) < ROUNDS_MIN {
        return Verdict::TooFewRounds;
    }
    let (better, worse, verdict) = if first.median <= second.median {
        (first, second, Verdict::First)
    } else {
        (second, first, Verdict::Second)
    };
    let is_apart = better.most < worse.least;
    let is_finding = worse.median - better.median >= FINDING * better.median;
    if is_apart && is_finding { verdict } else { Verdict::Noise }
}

#[cfg(test)]
mod tests {
    use super::{Spread, Verdict, less_is_better};

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
        let slow = spread(&[10.0, 10.1, 10.2, 10.3]);
        let quick = spread(&[9.0, 9.1, 9.0, 9.2]);
        assert_eq!(less_is_better(&slow, &quick), Verdict::Second);
        assert_eq!(less_is_better(&quick, &slow), Verdict::First);
        // One round of the quick one was as bad as the other's best.
        let mixed = spread(&[9.0, 9.1, 9.0, 10.0]);
        assert_eq!(less_is_better(&slow, &mixed), Verdict::Noise);
        // Apart, but by 3 % only.
        let near = spread(&[9.7, 9.8, 9.8, 9.9]);
        assert_eq!(less_is_better(&slow, &near), Verdict::Noise);
        assert_eq!(less_is_better(&slow, &slow), Verdict::Noise);
        assert_eq!(less_is_better(&slow, &spread(&[1.0, 1.0])), Verdict::TooFewRounds);
    }
}
