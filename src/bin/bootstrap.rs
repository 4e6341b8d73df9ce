//! The Lambda function's program: settings, rules and clients once, then one invocation after another.

use std::{process::ExitCode, sync::Arc};

use cloudhsm_alerts::{function::Function, rules::RuleSet, settings::Settings, shell};
use lambda_runtime::{LambdaEvent, run, service_fn};
use serde_json::Value;

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
    let settings = Settings::from_env()?;
    let rules = RuleSet::builtin()?;
    let function = Arc::new(Function::new(settings, rules, &shell::sdk_config().await));
    run(service_fn(move |event: LambdaEvent<Value>| {
        let function = Arc::clone(&function);
        async move { function.handle(&event.payload).await }
    }))
    .await
}
