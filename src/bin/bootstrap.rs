//! The Lambda function's program: settings, rules and clients once, then one invocation after another.

use std::{process::ExitCode, sync::Arc};

use cloudhsm_alerts::{
    chat::Chat,
    context::Context,
    function::Function,
    metrics::Metrics,
    sdk,
    settings::{Settings, Topic},
    shell,
};
use lambda_runtime::{LambdaEvent, run, service_fn};
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shell::log_json();
    match start().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Lambda shows what a program that ends during its start wrote last.
            eprintln!("cloudhsm-alerts: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn start() -> Result<(), lambda_runtime::Error> {
    let work = match Settings::chat_topic()? {
        Some(topic) => Work::Chat(topic),
        None => Work::LogFiles(Settings::from_env()?),
    };
    if !Settings::is_in_lambda() {
        return Err("bootstrap is started by Lambda, which sets AWS_LAMBDA_RUNTIME_API and AWS_LAMBDA_FUNCTION_NAME; \
            to handle one event here, use `cloudhsm-alerts invoke`".into());
    }
    match work {
        Work::LogFiles(settings) => log_files(settings).await,
        Work::Chat(topic) => chat(topic).await,
    }
}

/// What this instance of the program is for.
enum Work {
    LogFiles(Settings),
    Chat(Topic),
}

async fn log_files(settings: Settings) -> Result<(), lambda_runtime::Error> {
    let metrics = Metrics::new(Settings::function_name());
    let function = Function::new(settings, &sdk::config_in_lambda().await)
        .await
        .measured(metrics);
    let function = Arc::new(function);
    // The raw text, so that a payload is read here, as tolerantly as a log file.
    run(service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let function = Arc::clone(&function);
        async move {
            let context = Context::from(&event.context);
            function.handle_text(event.payload.get(), &context).await
        }
    }))
    .await
}

async fn chat(topic: Topic) -> Result<(), lambda_runtime::Error> {
    let chat = Arc::new(Chat::new(topic, &sdk::config_in_lambda().await));
    run(service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let chat = Arc::clone(&chat);
        async move { chat.handle_text(event.payload.get()).await }
    }))
    .await
}
