//! Logging: this project's and the Lambda runtime's log lines from `info` up, those of other libraries from `warn` up.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// Logs JSON lines on standard output: the format of Lambda's advanced logging controls.
pub fn json() {
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

/// Logs text on standard error, for a terminal.
pub fn text() {
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
