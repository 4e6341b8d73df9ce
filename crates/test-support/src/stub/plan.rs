//! What goes wrong when: nothing, what a table says, or what a seed makes of each request.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::{Call, Operation};

/// An error that a service answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// 500.
    Internal,
    /// 503: SlowDown and its like.
    Unavailable,
    /// Throttled.
    Throttled,
    Denied,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    None,
    /// An error; nothing was done.
    Before(Kind),
    /// It was done, and an error is answered.
    After(Kind),
    /// The connection is cut; nothing was done.
    CutBefore,
    /// It was done, and the connection is cut without an answer.
    CutAfter,
    /// The connection is cut in the middle of the answer.
    CutBody,
    /// The same, and another object takes the place of the one that was read.
    CutBodyAndReplace,
    /// No answer ever; nothing was done.
    HangBefore,
    /// It was done, and there is no answer ever.
    HangAfter,
    /// As the hangs, and whoever waits for it is told, to kill the sender.
    HoldBefore,
    HoldAfter,
}

impl Fault {
    /// Whether the request was carried out and its sender may not know.
    pub fn is_done_unheard(self) -> bool {
        matches!(
            self,
            Fault::After(_)
                | Fault::CutAfter
                | Fault::CutBody
                | Fault::HangAfter
                | Fault::HoldAfter
        )
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// These requests, whatever the seed says.
    pub fixed: HashMap<Call, Fault>,
    /// The first request of a kind.
    pub first: Option<(Operation, Fault)>,
    pub random: Option<Random>,
}

/// Faults by a seed.
#[derive(Debug, Clone, Copy)]
pub struct Random {
    pub seed: u64,
    /// Of a thousand requests so many fail.
    pub per_mille: u64,
    /// Whether some of them hang, which takes time.
    pub hangs: bool,
    /// Whether some requests get their sender killed.
    pub kills: bool,
    /// Whether the table, or SNS, or S3 denies for good.
    pub denies: Option<Operation>,
}

impl Plan {
    pub fn quiet() -> Plan {
        Plan::default()
    }

    pub fn first(operation: Operation, fault: Fault) -> Plan {
        Plan {
            first: Some((operation, fault)),
            ..Plan::default()
        }
    }

    pub fn fault(&self, call: &Call) -> Fault {
        if let Some(fault) = self.fixed.get(call) {
            return *fault;
        }
        if let Some((operation, fault)) = self.first
            && operation == call.operation
            && call.time == 0
        {
            return fault;
        }
        self.random.map_or(Fault::None, |random| random.fault(call))
    }
}

impl Random {
    fn fault(self, call: &Call) -> Fault {
        if self.denies == Some(call.operation) {
            return Fault::Before(Kind::Denied);
        }
        let mut hasher = DefaultHasher::new();
        (self.seed, call).hash(&mut hasher);
        let dice = hasher.finish();
        if dice % 1000 >= self.per_mille {
            return Fault::None;
        }
        let kinds = [Kind::Internal, Kind::Unavailable, Kind::Throttled];
        let kind = kinds[(dice >> 20) as usize % kinds.len()];
        match (dice >> 32) % 16 {
            0..=4 => Fault::Before(kind),
            5..=6 => Fault::After(kind),
            7..=8 => Fault::CutBefore,
            9..=10 => Fault::CutAfter,
            11..=12 => Fault::CutBody,
            13 if self.hangs => Fault::HangBefore,
            14 if self.hangs => Fault::HangAfter,
            15 if self.kills && (dice >> 40).is_multiple_of(2) => Fault::HoldBefore,
            15 if self.kills => Fault::HoldAfter,
            _ => Fault::Before(kind),
        }
    }
}
