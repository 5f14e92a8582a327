//! How the work of a server was spread over its cores.

use serde_json::Value;

use crate::report::{grouped, json_number, json_object};

/// What one core did while its server ran, the time before and after the measurement included.
#[derive(Clone, Copy, Default)]
pub(crate) struct CoreShare {
    pub(crate) connections: u64,
    pub(crate) requests_per_s: f64,
    /// The part of a CPU that it used.
    pub(crate) busy: f64,
}

impl CoreShare {
    /// As the server tells it at its end; empty for a server on one core.
    pub(crate) fn all(counters: &Value) -> Vec<CoreShare> {
        let share = |core: &Value| CoreShare {
            connections: core["connections"].as_u64().unwrap_or(0),
            requests_per_s: core["requests_per_s"].as_f64().unwrap_or(0.0),
            busy: core["busy"].as_f64().unwrap_or(0.0),
        };
        counters["cores"].as_array().map_or(Vec::new(), |cores| cores.iter().map(share).collect())
    }

    /// The last round's: cores of different rounds are not the same ones.
    pub(crate) fn json(shares: &[CoreShare]) -> String {
        let one = |it: &CoreShare| {
            json_object(&[
                ("connections", it.connections.to_string()),
                ("requests_per_s", json_number(Some(it.requests_per_s), 1)),
                ("busy", json_number(Some(it.busy), 3)),
            ])
        };
        let shares: Vec<_> = shares.iter().map(one).collect();
        format!("[{}]", shares.join(","))
    }
}

/// How uneven the work was: the busiest core's requests per second over the mean.
pub(crate) fn imbalance(shares: &[CoreShare]) -> Option<f64> {
    let sum: f64 = shares.iter().map(|it| it.requests_per_s).sum();
    let most = shares.iter().map(|it| it.requests_per_s).fold(0.0, f64::max);
    (sum > 0.0).then(|| most * shares.len() as f64 / sum)
}

/// A table, core by core.
pub(crate) fn table(shares: &[CoreShare]) -> Vec<String> {
    let Some(imbalance) = imbalance(shares) else { return Vec::new() };
    let mut lines = vec![
        String::new(),
        format!("{:>6}{:>14}{:>14}{:>8}", "core", "connections", "requests/s", "busy %"),
    ];
    for (index, it) in shares.iter().enumerate() {
        let requests = grouped(it.requests_per_s.round() as u64);
        let busy = it.busy * 100.0;
        lines.push(format!("{index:>6}{:>14}{requests:>14}{busy:>8.0}", it.connections));
    }
    lines.push(format!("imbalance (busiest over mean): {imbalance:.2}"));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imbalance_is_the_busiest_over_the_mean() {
        let share = |requests_per_s| CoreShare { requests_per_s, ..CoreShare::default() };
        assert_eq!(imbalance(&[share(5.0), share(5.0)]), Some(1.0));
        assert_eq!(imbalance(&[share(3.0), share(0.0), share(0.0)]), Some(3.0));
        assert_eq!(imbalance(&[share(0.0)]), None);
        assert_eq!(imbalance(&[]), None);
    }
}
