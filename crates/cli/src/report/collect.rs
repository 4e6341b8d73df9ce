//! The collector: all that a report needs of the log files, whatever order they are read in.
//!
//! The same call can be in several log files, and its records can differ: the called account sees less of the caller.
//! The one that counts is chosen by its content and place, never by which was read first. Listed are the most severe
//! calls, and among those of one severity the latest.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
};

use cloudhsm_alerts_core::severity::Severity;
use jiff::Timestamp;

use super::{
    call::Call,
    coverage::Deliveries,
    fact::Fact,
    spill::{Place, Spill, SpillReader},
};

/// Maximum number of calls that are listed, and of other calls that are counted by caller.
pub(super) const MAX_CALLS: usize = 50_000;
/// Maximum number of facts.
const MAX_FACTS: usize = 200_000;
/// Maximum number of errors that are shown.
const MAX_ERRORS: usize = 1000;

/// What becomes of a call. If its records differ, the first of these counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Listed,
    BelowMinSeverity,
    /// Filters of the rules suppress every match.
    Suppressed,
    /// The options of the command line leave it out.
    FilteredOut,
}

/// The order in which calls are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    severity: Reverse<Severity>,
    time: Reverse<Option<Timestamp>>,
    id: u128,
}

impl Rank {
    pub(super) fn new(severity: Severity, time: Option<Timestamp>, id: u128) -> Rank {
        Rank {
            severity: Reverse(severity),
            time: Reverse(time),
            id,
        }
    }
}

/// Where a record was read: the address of its file, and its position there.
pub(super) type Origin = (String, u64);

/// What is known of a call by its ID.
struct Seen {
    class: Class,
    rank: Rank,
    is_kept: bool,
}

/// A call that is kept.
struct Kept {
    origin: Origin,
    call: Call,
    place: Option<Place>,
}

#[derive(Default)]
struct Calls(BTreeMap<Rank, Kept>);

/// Counts of what was read.
#[derive(Default)]
pub(super) struct Counts {
    pub files: u64,
    pub compressed: u64,
    pub bytes: u64,
    pub records: u64,
    pub unreadable: u64,
    /// Records that match a rule.
    pub matched: u64,
    pub skipped: BTreeMap<&'static str, u64>,
    pub errors: u64,
}

impl Counts {
    fn add(&mut self, file: &Counts) {
        self.files += file.files;
        self.compressed += file.compressed;
        self.bytes += file.bytes;
        self.records += file.records;
        self.unreadable += file.unreadable;
        self.matched += file.matched;
        for (reason, count) in &file.skipped {
            *self.skipped.entry(reason).or_default() += count;
        }
    }
}

pub(super) struct Collector {
    seen: HashMap<u128, Seen>,
    listed: Calls,
    below: Calls,
    facts: BTreeSet<Fact>,
    are_facts_left_out: bool,
    counts: Counts,
    errors: BTreeSet<String>,
    pub(super) deliveries: Deliveries,
    spill: Spill,
    max_calls: usize,
}

/// All that was collected.
pub(super) struct Collected {
    /// The listed calls in order of time, each with its ID, and its e-mail and record.
    pub listed: Vec<(u128, Call, Place)>,
    /// Other calls that match a rule, in no order.
    pub below: Vec<Call>,
    pub facts: BTreeSet<Fact>,
    pub are_facts_left_out: bool,
    pub counts: Counts,
    /// Numbers of different calls.
    pub calls: BTreeMap<Class, u64>,
    pub errors: BTreeSet<String>,
    pub deliveries: Deliveries,
    pub spill: SpillReader,
}

impl Collector {
    pub(super) fn new(max_calls: usize) -> io::Result<Collector> {
        Ok(Collector {
            seen: HashMap::new(),
            listed: Calls::default(),
            below: Calls::default(),
            facts: BTreeSet::new(),
            are_facts_left_out: false,
            counts: Counts::default(),
            errors: BTreeSet::new(),
            deliveries: Deliveries::default(),
            spill: Spill::new()?,
            max_calls,
        })
    }

    pub(super) fn add_counts(&mut self, file: &Counts) {
        self.counts.add(file);
    }

    pub(super) fn skip(&mut self, reason: &'static str) {
        *self.counts.skipped.entry(reason).or_default() += 1;
    }

    pub(super) fn error(&mut self, message: String) {
        self.counts.errors += 1;
        self.errors.insert(message);
        if self.errors.len() > MAX_ERRORS {
            self.errors.pop_last();
        }
    }

    /// Of too many facts, the latest are kept.
    pub(super) fn add_fact(&mut self, fact: Fact) {
        self.facts.insert(fact);
        if self.facts.len() > MAX_FACTS {
            self.facts.pop_first();
            self.are_facts_left_out = true;
        }
    }

    /// Whether this record would be kept. If not, it is counted now.
    pub(super) fn wants(&mut self, class: Class, rank: Rank, origin: &Origin) -> bool {
        let is_storable = matches!(class, Class::Listed | Class::BelowMinSeverity);
        if self.is_known(class, rank, origin) {
            return false;
        }
        let max = self.max_calls;
        if is_storable && self.calls(class).has_room(rank, max) {
            return true;
        }
        self.note(class, rank, false);
        false
    }

    /// Keeps a call that [`Collector::wants`] asked for.
    ///
    /// # Errors
    /// The temporary file cannot be written.
    pub(super) fn keep(
        &mut self,
        class: Class,
        rank: Rank,
        origin: Origin,
        call: Call,
        text: Option<&[u8]>,
    ) -> io::Result<()> {
        // Another thread may have read the same call meanwhile.
        if !self.wants(class, rank, &origin) {
            return Ok(());
        }
        self.note(class, rank, true);
        let place = text.map(|text| self.spill.add(text)).transpose()?;
        let max = self.max_calls;
        let calls = self.calls(class);
        calls.0.insert(
            rank,
            Kept {
                origin,
                call,
                place,
            },
        );
        if calls.0.len() > max
            && let Some((dropped, _)) = calls.0.pop_last()
            && let Some(seen) = self.seen.get_mut(&dropped.id)
        {
            seen.is_kept = false;
        }
        Ok(())
    }

    fn calls(&mut self, class: Class) -> &mut Calls {
        match class {
            Class::Listed => &mut self.listed,
            _ => &mut self.below,
        }
    }

    /// Whether a record of the same call was read that counts before this one.
    fn is_known(&mut self, class: Class, rank: Rank, origin: &Origin) -> bool {
        let Some(seen) = self.seen.get(&rank.id) else {
            return false;
        };
        let (known_class, known_rank, is_kept) = (seen.class, seen.rank, seen.is_kept);
        match class.cmp(&known_class) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => {
                let known = self.calls(class).0.get(&known_rank).filter(|_| is_kept);
                known.is_none_or(|known| known.origin <= *origin)
            }
        }
    }

    /// Records what becomes of a call, in place of what another record of it said.
    fn note(&mut self, class: Class, rank: Rank, is_kept: bool) {
        let seen = Seen {
            class,
            rank,
            is_kept,
        };
        if let Some(before) = self.seen.insert(rank.id, seen)
            && before.is_kept
        {
            self.calls(before.class).0.remove(&before.rank);
        }
    }

    /// Ends collecting.
    ///
    /// # Errors
    /// The temporary file cannot be written.
    pub(super) fn finish(self) -> io::Result<Collected> {
        let mut calls = BTreeMap::new();
        for seen in self.seen.values() {
            *calls.entry(seen.class).or_default() += 1;
        }
        let mut listed: Vec<(Rank, Call, Place)> = self
            .listed
            .0
            .into_iter()
            .filter_map(|(rank, kept)| Some((rank, kept.call, kept.place?)))
            .collect();
        listed.sort_by(|(a, first, _), (b, second, _)| {
            // Calls without a time come last.
            let time = |rank: &Rank| (rank.time.0.is_none(), rank.time.0);
            (time(a), &first.event_id, a.id).cmp(&(time(b), &second.event_id, b.id))
        });
        Ok(Collected {
            listed: listed
                .into_iter()
                .map(|(rank, call, place)| (rank.id, call, place))
                .collect(),
            below: self.below.0.into_values().map(|kept| kept.call).collect(),
            facts: self.facts,
            are_facts_left_out: self.are_facts_left_out,
            counts: self.counts,
            calls,
            errors: self.errors,
            deliveries: self.deliveries,
            spill: self.spill.into_reader()?,
        })
    }
}

impl Calls {
    fn has_room(&self, rank: Rank, max: usize) -> bool {
        self.0.len() < max
            || self
                .0
                .last_key_value()
                .is_some_and(|(last, _)| rank <= *last)
    }
}
