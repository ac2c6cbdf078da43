//! Medians, their spread, and the report.

use super::{
    load::{Done, LOADS},
    watcher::{Told, WATCHERS},
};

/// What one load achieved under one watcher, round by round.
#[derive(Clone, Debug, Default)]
pub struct Series {
    rates: Vec<f64>,
    /// CPU of the agent per exchange, in microseconds.
    costs: Vec<f64>,
    memory: u64,
    dropped: u64,
}

impl Series {
    /// Adds a round.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn push(&mut self, done: Done, told: Told) {
        self.rates.push(done.requests as f64 / done.seconds);
        if told.exchanges > 0 {
            self.costs.push(told.cpu * 1e6 / told.exchanges as f64);
        }
        self.memory = self.memory.max(told.memory);
        self.dropped += told.dropped;
    }
}

/// Value at a quantile between 0 and 1, by the nearest rank.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a handful of rounds"
)]
fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (at * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(rank).copied().unwrap_or(f64::NAN)
}

/// Ratios of two watchers round by round: a drift of the machine's speed cancels out.
fn ratios(over: &Series, under: &Series) -> Vec<f64> {
    over.rates.iter().zip(&under.rates).map(|(over, under)| over / under).collect()
}

/// Prints the report.
pub fn print(series: &[Vec<Series>], rounds: usize, seconds: u64) {
    println!("cargo xtask bench overhead --rounds {rounds} --seconds {seconds}");
    println!("requests per second: median (quartiles); ratios: median of rounds (quartiles)\n");
    for (load, row) in LOADS.iter().zip(series) {
        println!("{}", load.name);
        for (watcher, each) in WATCHERS.iter().zip(row) {
            print!("  {:20} {:>28}", watcher.name(), spread(&each.rates, 0));
            if let Some(first) = row.first().filter(|first| !std::ptr::eq(*first, each)) {
                print!("   of (a) {:>18}", spread(&ratios(each, first), 2));
            }
            if let Some(last) = row.last().filter(|last| !std::ptr::eq(*last, each)) {
                print!("   of (d) {:>18}", spread(&ratios(each, last), 2));
            }
            if !each.costs.is_empty() {
                print!("   agent {:.1} us/exchange", quantile(&each.costs, 0.5));
            }
            if each.memory > 0 {
                print!(", {} MiB, {} dropped", each.memory / 1024 / 1024, each.dropped);
            }
            println!();
        }
    }
}

fn spread(values: &[f64], digits: usize) -> String {
    let [low, middle, high] = [0.25, 0.5, 0.75].map(|at| quantile(values, at));
    format!("{middle:.digits$} ({low:.digits$}-{high:.digits$})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let values = [3.0, 1.0, 2.0, 5.0, 4.0];
        assert_eq!(
            [0.0, 0.25, 0.5, 0.75, 1.0].map(|at| quantile(&values, at)),
            [1.0, 2.0, 3.0, 4.0, 5.0]
        );
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn ratios_pair_rounds() {
        let of = |rates: &[f64]| Series { rates: rates.to_vec(), ..Series::default() };
        assert_eq!(ratios(&of(&[10.0, 30.0]), &of(&[20.0, 30.0])), [0.5, 1.0]);
    }
}
