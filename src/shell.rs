//! What both programs need around the core: the day, the SDK's errors in words, and the log.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::clock::Clock;
use cloudhsm_alerts_core::text::{chain, one_line};

/// The day now, in UTC: by it, filters expire.
pub fn today() -> jiff::civil::Date {
    Clock::default().today()
}

/// What went wrong with a call, on one line: the service's own code and message, else the chain of causes.
pub(crate) fn sdk_message<E>(error: &SdkError<E>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => one_line(&format!("{code}: {message}"), 500),
        (Some(code), None) => one_line(code, 500),
        _ => chain(error),
    }
}

/// JSON lines on standard output, as Lambda's advanced logging has them: this crate's own and the
/// runtime's from `info` up, the libraries' from `warn` up.
pub fn log_json() {
    let format = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_target(false)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(std::io::stdout);
    tracing_subscriber::registry()
        .with(format)
        .with(targets())
        .init();
}

/// The same lines as text on standard error, for a person at a terminal.
pub fn log_text() {
    let format = tracing_subscriber::fmt::layer()
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(format)
        .with(targets())
        .init();
}

fn targets() -> Targets {
    Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("cloudhsm_alerts", LevelFilter::INFO)
        .with_target("lambda_runtime", LevelFilter::INFO)
}
