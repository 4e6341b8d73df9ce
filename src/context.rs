//! The Lambda context of one invocation: request ID, trace ID, deadline.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;

/// The context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// Lambda's request ID; the same when Lambda retries a failed asynchronous invocation.
    pub request_id: String,
    /// The X-Ray trace ID, where there is one.
    pub trace_id: Option<String>,
    /// When Lambda ends the invocation; `None`: there is no limit.
    pub deadline: Option<Timestamp>,
}

impl Context {
    /// The time left.
    pub(crate) fn left(&self, clock: &Clock) -> Option<Duration> {
        self.deadline.map(|deadline| {
            Duration::try_from(deadline.duration_since(clock.now())).unwrap_or_default()
        })
    }
}

impl From<&lambda_runtime::Context> for Context {
    fn from(context: &lambda_runtime::Context) -> Context {
        Context {
            request_id: context.request_id.clone(),
            trace_id: context.xray_trace_id.clone(),
            // Emulators without a deadline send 0.
            deadline: i64::try_from(context.deadline)
                .ok()
                .filter(|millis| *millis > 0)
                .and_then(|millis| Timestamp::from_millisecond(millis).ok()),
        }
    }
}
