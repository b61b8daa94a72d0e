//! Medians, and the confidence in a ratio of two.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

const RESAMPLES: usize = 2000;

/// The middle one.
#[must_use]
pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// The sample below which a share `at` of all lies.
#[must_use]
pub fn quantile(samples: &[f64], at: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * at).round() as usize).copied().unwrap_or(f64::NAN)
}

/// A ratio and the interval in which it lies with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Median of the rounds' ratios.
    pub median: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Ratio {
    /// Ours divided by theirs, round by round: a disturbance of a round disturbs both. The interval is a percentile
    /// bootstrap of the median over the rounds.
    #[must_use]
    pub fn of(ours: &[f64], theirs: &[f64]) -> Self {
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        if ratios.is_empty() {
            return Self { median: f64::NAN, low: f64::NAN, high: f64::NAN };
        }
        let mut rng = StdRng::seed_from_u64(1);
        let mut resampled = vec![0.0; ratios.len()];
        let medians: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                resampled.fill_with(|| ratios[rng.random_range(0..ratios.len())]);
                median(&resampled)
            })
            .collect();
        Self { median: median(&ratios), low: quantile(&medians, 0.025), high: quantile(&medians, 0.975) }
    }

    /// The verdict that the interval supports.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self { high, .. } if *high < 1.0 => Verdict::Wins,
            Self { low, .. } if *low > 1.0 => Verdict::Loses,
            _ => Verdict::Inconclusive,
        }
    }
}

/// tenure beside another subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The whole interval is below 1.
    Wins,
    /// The whole interval is above 1.
    Loses,
    /// The interval spans 1.
    Inconclusive,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_in_every_round_is_conclusive_and_what_does_not_is_not() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut rounds =
            |about: f64| -> Vec<f64> { (0..51).map(|_| about * rng.random_range(0.8..1.25)).collect() };
        let (slow, fast) = (rounds(20.0), rounds(10.0));
        // As many ratios above 1 as below.
        let same: Vec<f64> = fast.iter().rev().copied().collect();
        assert_eq!(Ratio::of(&slow, &fast).verdict(), Verdict::Loses);
        assert_eq!(Ratio::of(&fast, &slow).verdict(), Verdict::Wins);
        let even = Ratio::of(&fast, &same);
        assert_eq!(even.verdict(), Verdict::Inconclusive, "{even:?}");
        assert!(even.low <= even.median && even.median <= even.high);
    }

    #[test]
    fn quantiles() {
        let samples = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!((median(&samples), quantile(&samples, 0.0), quantile(&samples, 1.0)), (3.0, 1.0, 5.0));
        assert!(median(&[]).is_nan());
    }
}
