//! What Lambda says about an invocation beside its payload.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;

/// The invocation's own data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// Lambda's request id; the same when it repeats a failed asynchronous invocation.
    pub request_id: String,
    /// The X-Ray trace id, where there is one.
    pub trace_id: Option<String>,
    /// When Lambda ends the invocation; `None`: never.
    pub deadline: Option<Timestamp>,
}

impl Context {
    /// What is left of the invocation.
    pub(super) fn left(&self, clock: &Clock) -> Option<Duration> {
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
            // Emulators that know no deadline send 0.
            deadline: i64::try_from(context.deadline)
                .ok()
                .filter(|millis| *millis > 0)
                .and_then(|millis| Timestamp::from_millisecond(millis).ok()),
        }
    }
}
