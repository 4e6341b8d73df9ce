//! The clock: the one place that looks at the time.
//!
//! The core has none: a record brings its own time. The shell needs one for claims that expire, for the
//! budget that instances share, and to know how long an invocation still has. What reads it gets a
//! [`Clock`], which can be moved ahead, so that whoever tries what happens after a claim has expired need
//! not wait for it.

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

/// The system's clock, and how far it is moved ahead. Clones share that.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    ahead_millis: Arc<AtomicI64>,
}

impl Clock {
    /// What time it is.
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        let ahead = SignedDuration::from_millis(self.ahead_millis.load(Ordering::Relaxed));
        now.checked_add(ahead).unwrap_or(now)
    }

    /// The day now, in UTC.
    pub fn today(&self) -> Date {
        self.now().to_zoned(TimeZone::UTC).date()
    }

    /// Moves the clock ahead.
    pub fn advance(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.ahead_millis.fetch_add(millis, Ordering::Relaxed);
    }
}

/// A point on the runtime's own clock, which only goes forward: for waiting.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn instant() -> Instant {
    Instant::now()
}

/// A number that no other call gives, in this process or another: the operating system seeds it.
pub fn unique() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A time so much later, or the last one there is.
pub fn later(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| time.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}
