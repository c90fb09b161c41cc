//! What a request takes from its quotas: the first entry of `costs` that matches, otherwise 1.

use std::num::NonZeroU32;

use http::Method;

use crate::config::{Cost, PathPattern};

use super::Facts;
use super::pattern::any_path;

/// The `costs` of a service.
#[derive(Debug)]
pub struct Costs(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    paths: Vec<PathPattern>,
    methods: Vec<Method>,
    cost: NonZeroU32,
}

impl Costs {
    /// A copy of what the configuration says.
    pub fn new(costs: &[Cost]) -> Self {
        let copy =
            |cost: &Cost| Entry { paths: cost.paths.clone(), methods: cost.methods.clone(), cost: cost.cost };
        Self(costs.iter().map(copy).collect())
    }

    /// What a request with these facts costs; at least 1.
    pub fn of(&self, facts: &Facts<'_>) -> NonZeroU32 {
        let fits = |entry: &&Entry| {
            (entry.methods.is_empty() || entry.methods.contains(facts.method))
                && any_path(&entry.paths, facts.path)
        };
        self.0.iter().find(fits).map_or(NonZeroU32::MIN, |entry| entry.cost)
    }
}

#[cfg(test)]
mod tests {
    use super::super::pattern::tests::pattern;
    use super::*;

    #[test]
    fn the_first_entry_that_matches_counts() {
        let cost = |paths: &[&str], methods: &[Method], cost| Cost {
            paths: paths.iter().map(|path| pattern(path)).collect(),
            methods: methods.to_vec(),
            cost: NonZeroU32::new(cost).unwrap(),
        };
        let costs = Costs::new(&[
            cost(&["/search/**"], &[Method::POST], 9),
            cost(&["/search/**", "/find"], &[], 5),
            cost(&[], &[Method::PUT], 2),
        ]);
        let of = |method: Method, path| costs.of(&Facts { method: &method, host: "", path }).get();
        assert_eq!(of(Method::POST, "/search/x"), 9);
        assert_eq!(of(Method::PUT, "/search"), 5);
        assert_eq!(of(Method::GET, "/find"), 5);
        assert_eq!(of(Method::PUT, "/other"), 2);
        assert_eq!(of(Method::GET, "/other"), 1);
    }
}
