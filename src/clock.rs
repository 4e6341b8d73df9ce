//! The clock: the only place where the time is read.
//!
//! Records have their own time, so the core needs no clock. The function needs one for claims that expire, for the
//! rate limit that all instances share, and for the time that is left of an invocation. Tests can advance a
//! [`Clock`], so that a claim expires without waiting.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use tokio::time::Instant;

/// The system's clock, plus the time by which it was advanced. Clones share that time.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    ahead_millis: Arc<AtomicI64>,
}

impl Clock {
    /// The current time.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        let ahead = SignedDuration::from_millis(self.ahead_millis.load(Ordering::Relaxed));
        now.checked_add(ahead).unwrap_or(now)
    }

    /// The current date in UTC.
    pub fn today(&self) -> Date {
        self.now().to_zoned(TimeZone::UTC).date()
    }

    /// Advances the clock.
    pub fn advance(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.ahead_millis.fetch_add(millis, Ordering::Relaxed);
    }
}

/// The current time. Filters expire by it.
pub fn now() -> Timestamp {
    Clock::default().now()
}

/// The current instant of the runtime's monotonic clock: for waiting.
pub fn instant() -> Instant {
    Instant::now()
}

/// A random number that no other process has either: the operating system seeds it.
pub fn unique() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// `time` plus `by`, or the latest time that there is.
pub fn later(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| time.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}
