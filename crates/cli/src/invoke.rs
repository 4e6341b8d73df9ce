//! `invoke`: one payload through the function's pipeline, in this process, against whatever endpoint the
//! environment names (`AWS_ENDPOINT_URL`, or AWS itself). The reply is printed as the function would give it.

use std::{fs, io::Read, path::PathBuf, process::ExitCode};

use clap::Args;
use cloudhsm_alerts::{
    context::Context, function::Function, reply::Failed, settings::Settings, shell,
};
use cloudhsm_alerts_core::text::one_line;
use serde_json::{Value, json};

/// What `--help` says of it.
pub const LONG_ABOUT: &str = "\
Handle one invocation payload as the function does: read the objects, and publish for real

Needs ALERT_TOPIC_ARN, AWS_REGION and credentials in the environment, and takes LEDGER_TABLE,
MIN_SEVERITY, ACCOUNT_NAMES, MAX_ALERTS, RULES_URI and WATCHED as the function does.
AWS_ENDPOINT_URL names an endpoint other than AWS.";

#[derive(Args)]
pub struct Arguments {
    /// The payload, a JSON file such as those in events/; `-` reads standard input
    #[arg(value_name = "EVENT.json")]
    event: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let at = arguments.event.display().to_string();
    let text = if at == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        text
    } else {
        fs::read_to_string(&arguments.event)
            .map_err(|error| format!("{}: {error}", one_line(&at, 500)))?
    };
    let payload: Value = serde_json::from_str(&text)
        .map_err(|error| format!("{}: expected JSON: {error}", one_line(&at, 500)))?;
    shell::log_text();
    let settings = Settings::from_env()?;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let function =
        runtime.block_on(async { Function::new(settings, &crate::sdk::config().await).await });
    let reply = runtime.block_on(function.handle(&payload, &Context::default()));
    match reply {
        Ok(reply) => {
            println!("{reply:#}");
            let is_done = |result: &Value| result["resultCode"] == "Succeeded";
            let failed = reply["batchItemFailures"]
                .as_array()
                .is_some_and(|failures| !failures.is_empty())
                || reply["results"]
                    .as_array()
                    .is_some_and(|results| !results.iter().all(is_done));
            Ok(if failed {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            })
        }
        Err(Failed(error)) => {
            let reply =
                json!({ "errorType": error.error_type, "errorMessage": error.error_message });
            println!("{reply:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}
