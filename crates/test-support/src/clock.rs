//! The time at which something took place in a server, for benches.

use std::time::Instant;

#[expect(
    clippy::disallowed_methods,
    reason = "a bench measures the time of another process"
)]
pub fn now() -> Instant {
    Instant::now()
}
