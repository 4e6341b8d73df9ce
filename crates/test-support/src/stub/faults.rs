//! Fault plans: which request fails, and how. A plan is a table, or is derived from a seed.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::request::{Operation, RequestKey};

/// An error response of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// 500.
    Internal,
    /// 503, such as SlowDown.
    Unavailable,
    Throttled,
    Denied,
    /// DynamoDB only: a transaction of another client has the item.
    InTransaction,
}

/// What happens to a request. `Before` and `After` mean: before or after the request takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    None,
    /// An error response, and the request has no effect.
    Before(ErrorKind),
    /// An error response, although the request takes effect.
    After(ErrorKind),
    /// Only half of the items of a BatchWriteItem are written, rounded down; the others are returned as
    /// unprocessed. Other requests have no fault.
    Unprocessed,
    /// The connection is closed, and the request has no effect.
    CutBefore,
    /// The connection is closed without a response, although the request takes effect.
    CutAfter,
    /// The connection is closed in the middle of the response body.
    CutBody,
    /// As [`Fault::CutBody`], and the object is replaced by another one.
    CutBodyAndReplace,
    /// No response, and the request has no effect.
    HangBefore,
    /// No response, although the request takes effect.
    HangAfter,
    /// As [`Fault::HangBefore`]; the test is notified, so that it can kill the client.
    HoldBefore,
    /// As [`Fault::HangAfter`]; the test is notified, so that it can kill the client.
    HoldAfter,
}

impl Fault {
    /// Whether the request takes effect and the client may take it for failed.
    pub fn hides_success(self) -> bool {
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

/// Which requests fail. The first of the four that names a request decides.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan {
    /// Faults of single requests.
    pub fixed: HashMap<RequestKey, Fault>,
    /// A fault for the first attempt of every request of an operation.
    pub first: Option<(Operation, Fault)>,
    /// A fault for every request of an operation.
    pub always: Option<(Operation, Fault)>,
    pub random: Option<RandomFaults>,
}

/// Faults derived from a seed. The same seed and request give the same fault.
#[derive(Debug, Clone, Copy)]
pub struct RandomFaults {
    pub seed: u64,
    /// How many of a thousand requests fail.
    pub per_mille: u64,
    /// Whether requests may hang, which makes a run slow.
    pub hangs: bool,
    /// Whether requests may be held for the test to kill the client.
    pub kills: bool,
    /// An operation that is always denied.
    pub denies: Option<Operation>,
}

impl FaultPlan {
    /// No faults.
    pub fn none() -> FaultPlan {
        FaultPlan::default()
    }

    /// One fault for the first attempt of every request of an operation.
    pub fn first(operation: Operation, fault: Fault) -> FaultPlan {
        FaultPlan {
            first: Some((operation, fault)),
            ..FaultPlan::default()
        }
    }

    /// One fault for every request of an operation.
    pub fn always(operation: Operation, fault: Fault) -> FaultPlan {
        FaultPlan {
            always: Some((operation, fault)),
            ..FaultPlan::default()
        }
    }

    pub(super) fn fault(&self, request: &RequestKey) -> Fault {
        if let Some(fault) = self.fixed.get(request) {
            return *fault;
        }
        if let Some((operation, fault)) = self.first
            && operation == request.operation
            && request.attempt == 0
        {
            return fault;
        }
        if let Some((operation, fault)) = self.always
            && operation == request.operation
        {
            return fault;
        }
        self.random
            .map_or(Fault::None, |random| random.fault(request))
    }
}

impl RandomFaults {
    fn fault(self, request: &RequestKey) -> Fault {
        if self.denies == Some(request.operation) {
            return Fault::Before(ErrorKind::Denied);
        }
        let mut hasher = DefaultHasher::new();
        (self.seed, request).hash(&mut hasher);
        let dice = hasher.finish();
        if dice % 1000 >= self.per_mille {
            return Fault::None;
        }
        let kinds = [
            ErrorKind::Internal,
            ErrorKind::Unavailable,
            ErrorKind::Throttled,
        ];
        let kind = kinds[(dice >> 20) as usize % kinds.len()];
        match (dice >> 32) % 16 {
            0..=3 => Fault::Before(kind),
            4 if request.operation == Operation::Sent => Fault::Unprocessed,
            4 if request.operation == Operation::Claim => Fault::Before(ErrorKind::InTransaction),
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
