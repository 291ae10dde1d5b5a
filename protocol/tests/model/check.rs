//! Running a model.

use stateright::{Checker, HasDiscoveries, Model};

use super::{
    actions::Cluster,
    bounds::{Bounds, Depth},
    promises::missing_at_rest,
};

/// What a run found.
#[derive(Debug)]
pub struct Report {
    pub name: &'static str,
    /// States that were generated, those that were known included.
    pub states: usize,
    pub unique: usize,
    /// Steps from the first state to the farthest.
    pub depth: usize,
    /// The promises that aren't kept, each with its reason and the actions that lead there.
    pub broken: Vec<String>,
    /// What should have been reached and wasn't.
    pub unreached: Vec<&'static str>,
}

/// Checks a model: all of its states, or until a promise is broken if it has a broken rule. Small models breadth first, which gives the shortest way to what is
/// wrong; deep ones depth first, which holds one path in memory instead of a whole front.
pub fn check(bounds: Bounds, depth: Depth) -> Report {
    let name = bounds.name;
    let mutant = bounds.broken.is_some() || bounds.broken_restore.is_some();
    let builder = Cluster { bounds, seen: Default::default() }.checker();
    let builder = if mutant { builder.finish_when(HasDiscoveries::AnyFailures) } else { builder };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match depth {
        Depth::Small => report(name, &builder.spawn_bfs().join()),
        Depth::Deep => report(name, &builder.threads(threads).spawn_dfs().join()),
    }
}

fn report(name: &'static str, checker: &impl Checker<Cluster>) -> Report {
    let (mut broken, mut reached) = (Vec::new(), Vec::new());
    for (property, path) in checker.discoveries() {
        let state = path.last_state();
        let why = state.wrong.as_ref().map(|wrong| wrong.why.clone()).or_else(|| missing_at_rest(checker.model(), state));
        let is_promise = checker
            .model()
            .properties()
            .iter()
            .any(|one| one.name == property && one.expectation == stateright::Expectation::Always);
        if is_promise {
            broken.push(format!("not kept: {property}: {}\n{:#?}", why.unwrap_or_default(), path.into_actions()));
        } else {
            reached.push(property);
        }
    }
    let sights = checker.model().bounds.reaches.iter().map(|sight| sight.property().name);
    let unreached = sights.filter(|name| !reached.contains(name)).collect();
    Report {
        name,
        states: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        broken,
        unreached,
    }
}
