//! `invoke`: runs the function in this process with one payload, against AWS or the endpoint in
//! `AWS_ENDPOINT_URL`, and prints its reply.

use std::{fs, io::Read, path::PathBuf, process::ExitCode};

use clap::Args;
use cloudhsm_alerts::{
    context::Context, function::Function, logging, reply::Failed, settings::Settings,
};
use cloudhsm_alerts_core::text::one_line;
use serde_json::{Value, json};

use crate::{sdk, terminal::print};

pub const LONG_ABOUT: &str = "\
Run the function in this process with one invocation payload, and publish its alerts

Reads the log files that the payload names and publishes to the configured topics. Requires AWS credentials,
and ALERT_TOPIC_ARN and AWS_REGION in the environment. PAGING_TOPIC_ARN, PAGING_MIN_SEVERITY, LEDGER_TABLE,
MIN_SEVERITY, ACCOUNT_NAMES, MAX_ALERTS, RULES_URI and WATCHED have the same meaning as for the deployed
function. AWS_ENDPOINT_URL selects an endpoint other than AWS.";

#[derive(Args)]
pub struct Arguments {
    /// The payload: a JSON file, as in events/; `-` reads standard input
    #[arg(value_name = "EVENT.json")]
    event: PathBuf,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let path = arguments.event.display().to_string();
    let content = if path == "-" {
        let mut content = String::new();
        std::io::stdin().read_to_string(&mut content)?;
        content
    } else {
        fs::read_to_string(&arguments.event)
            .map_err(|error| format!("{}: {error}", one_line(&path, 500)))?
    };
    let payload: Value = serde_json::from_str(&content)
        .map_err(|error| format!("{}: expected JSON: {error}", one_line(&path, 500)))?;
    logging::text();
    let settings = Settings::from_env()?;

    let runtime = sdk::runtime()?;
    let function = runtime.block_on(async { Function::new(settings, &sdk::config().await).await });
    let reply = runtime.block_on(function.handle(&payload, &Context::default()));
    match reply {
        Ok(reply) => {
            print(&format!("{reply:#}\n"))?;
            Ok(if has_failures(&reply) {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            })
        }
        Err(Failed(error)) => {
            let reply =
                json!({ "errorType": error.error_type, "errorMessage": error.error_message });
            print(&format!("{reply:#}\n"))?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Whether a reply to SQS or S3 Batch Operations names a message or task that failed.
fn has_failures(reply: &Value) -> bool {
    let succeeded = |result: &Value| result["resultCode"] == "Succeeded";
    reply["batchItemFailures"]
        .as_array()
        .is_some_and(|failures| !failures.is_empty())
        || reply["results"]
            .as_array()
            .is_some_and(|results| !results.iter().all(succeeded))
}
