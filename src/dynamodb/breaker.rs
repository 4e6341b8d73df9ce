//! Circuit breaker for one kind of request to a table: after some failures in a row, such requests are no longer made.
//! Not every alert must wait for a table that is down.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A circuit breaker opens when the weights of the failures in a row add up to this.
const MAX_WEIGHT: u32 = 8;

/// A circuit breaker. Once open, it stays open until the next invocation.
#[derive(Debug, Default)]
pub(crate) struct CircuitBreaker {
    /// The sum of the weights of the failures since the last success.
    weight: AtomicU32,
    is_open: AtomicBool,
    /// Whether a person must correct the table or a permission before such a request can succeed.
    is_unusable: AtomicBool,
}

/// How a table fails a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failing {
    /// It responds quickly that it is busy.
    Busy,
    /// It responds quickly that the request does not fit the table or an item.
    Unfit,
    /// It does not respond. Each such request can take seconds.
    Silent,
    /// It refuses every request of this kind.
    Refusing,
}

impl CircuitBreaker {
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    pub(crate) fn is_unusable(&self) -> bool {
        self.is_unusable.load(Ordering::Relaxed)
    }

    pub(crate) fn succeeded(&self) {
        self.weight.store(0, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, failing: Failing) {
        let (weight, is_unusable) = match failing {
            Failing::Busy => (1, false),
            Failing::Unfit => (1, true),
            Failing::Silent => (3, false),
            Failing::Refusing => (MAX_WEIGHT, true),
        };
        if is_unusable {
            self.is_unusable.store(true, Ordering::Relaxed);
        }
        if self.weight.fetch_add(weight, Ordering::Relaxed) + weight >= MAX_WEIGHT {
            self.is_open.store(true, Ordering::Relaxed);
        }
    }
}
