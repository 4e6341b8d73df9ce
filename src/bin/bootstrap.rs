//! The program that Lambda runs: it reads settings and makes clients once, then handles one invocation after another.

use std::{process::ExitCode, sync::Arc};

use cloudhsm_alerts::{
    chat::Chat,
    context::Context,
    function::Function,
    logging,
    metrics::Metrics,
    sdk,
    settings::{ChatSettings, Settings},
};
use lambda_runtime::{LambdaEvent, run, service_fn};
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    logging::json();
    match start().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If a program exits during its start, Lambda shows the last line that it wrote.
            eprintln!("cloudhsm-alerts: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn start() -> Result<(), lambda_runtime::Error> {
    let role = match Settings::chat()? {
        Some(settings) => Role::Chat(settings),
        None => Role::LogFiles(Box::new(Settings::from_env()?)),
    };
    if !Settings::is_in_lambda() {
        return Err("bootstrap runs in Lambda only: AWS_LAMBDA_RUNTIME_API and AWS_LAMBDA_FUNCTION_NAME are not set; \
            to handle one event on this machine, use `cloudhsm-alerts invoke`".into());
    }
    match role {
        Role::LogFiles(settings) => log_files(*settings).await,
        Role::Chat(settings) => chat(settings).await,
    }
}

/// Which of the two functions this program is.
enum Role {
    /// It reads log files and publishes alerts.
    LogFiles(Box<Settings>),
    /// It publishes alerts for chat channels.
    Chat(ChatSettings),
}

async fn log_files(settings: Settings) -> Result<(), lambda_runtime::Error> {
    let metrics = Metrics::new(Settings::function_name());
    let function = Function::new(settings, &sdk::config_in_lambda().await)
        .await
        .measured(metrics);
    let function = Arc::new(function);
    // The raw text, because the project's JSON parser accepts more than the runtime's does.
    run(service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let function = Arc::clone(&function);
        async move {
            let context = Context::from(&event.context);
            function.handle_text(event.payload.get(), &context).await
        }
    }))
    .await
}

async fn chat(settings: ChatSettings) -> Result<(), lambda_runtime::Error> {
    let chat = Arc::new(Chat::new(settings, &sdk::config_in_lambda().await));
    run(service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let chat = Arc::clone(&chat);
        async move { chat.handle_text(event.payload.get()).await }
    }))
    .await
}
