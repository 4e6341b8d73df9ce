//! Folding: calls that are the same become one alert with a count, and alerts get their order.
//!
//! Anyone can make calls that are denied, in any number and without a permission. A thousand alerts about one
//! attempt would bury the call that worked, and spend what SMS may cost. So the same call made again (same
//! caller, event name, outcome and resource) is counted in the alert of the first. Each stays a call of its own
//! otherwise: it has its own claim, and its event ID is in the message.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use jiff::Timestamp;

use super::{packed::Likeness, run::Waiting};
use cloudhsm_alerts_core::{alert::Repeats, record::Outcome};

/// Calls in one alert: so many event IDs fit into a message several times over.
const MOST_CALLS: usize = 1000;
/// A caller whose calls are refused on more resources than this is trying names: these calls are folded whatever
/// the resource.
const MOST_RESOURCES: usize = 20;

/// Calls that make one alert: at least one. The alert is about the first.
pub(super) struct Fold(pub(super) Vec<Waiting>);

impl Fold {
    /// The call that the alert is about.
    pub(super) fn first(&self) -> &Waiting {
        // A fold is made of one call, and only gets more of them.
        &self.0[0]
    }
}

/// Folds, in the order in which they are published: the most severe first, of equals the calls that succeeded.
/// Beyond that they go round by rule, so that calls of one kind do not take all the single messages; and the
/// first in the payload comes first. What is past is not folded with what is not.
pub(super) fn folds(
    mut waiting: Vec<Waiting>,
    is_past: impl Fn(Option<Timestamp>) -> bool,
) -> Vec<Fold> {
    waiting.sort_by_key(|waiting| waiting.place);
    let mut tried: HashMap<Likeness, HashSet<Likeness>> = HashMap::new();
    for call in waiting.iter().map(|waiting| &waiting.call) {
        if call.outcome != Outcome::Success {
            tried.entry(call.alike).or_default().insert(call.same);
        }
    }
    tried.retain(|_, resources| resources.len() > MOST_RESOURCES);
    let mut folds: Vec<Fold> = Vec::new();
    let mut open: HashMap<(Likeness, bool), usize> = HashMap::new();
    for waiting in waiting {
        let call = &waiting.call;
        let likeness = if tried.contains_key(&call.alike) {
            call.alike
        } else {
            call.same
        };
        let key = (likeness, is_past(call.time));
        match open.get(&key) {
            Some(&at) if folds[at].0.len() < MOST_CALLS => folds[at].0.push(waiting),
            _ => {
                open.insert(key, folds.len());
                folds.push(Fold(vec![waiting]));
            }
        }
    }
    let mut rounds: HashMap<_, usize> = HashMap::new();
    let mut ordered: Vec<_> = folds
        .into_iter()
        .map(|fold| {
            let call = &fold.first().call;
            let rule = call.rule_id().to_owned();
            let round = rounds
                .entry((call.severity, call.outcome, rule))
                .or_default();
            *round += 1;
            let order = (Reverse(call.severity), call.outcome, *round);
            (order, fold)
        })
        .collect();
    ordered.sort_by_key(|(order, fold)| (*order, fold.first().place));
    ordered.into_iter().map(|(_, fold)| fold).collect()
}

/// What an alert about the first of these calls says of the others.
pub(super) fn repeats(calls: &[Waiting]) -> Repeats {
    let Some((first, others)) = calls.split_first() else {
        return Repeats::default();
    };
    Repeats {
        calls: others
            .iter()
            .map(|waiting| waiting.call.call_id.clone())
            .collect(),
        first: calls.iter().filter_map(|waiting| waiting.call.time).min(),
        last: calls.iter().filter_map(|waiting| waiting.call.time).max(),
        on_other_resources: others
            .iter()
            .any(|waiting| waiting.call.same != first.call.same),
    }
}
