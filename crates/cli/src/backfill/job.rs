//! A job of S3 Batch Operations that invokes the function for every object of a list, and its end.

use std::{fmt, time::Duration};

use aws_config::SdkConfig;
use aws_sdk_s3control::{
    Client,
    config::{
        Region,
        endpoint::{Endpoint, EndpointFuture, Params, ResolveEndpoint},
    },
    types::{
        JobManifest, JobManifestFieldName, JobManifestFormat, JobManifestLocation, JobManifestSpec,
        JobOperation, JobReport, JobReportFormat, JobReportScope, JobStatus, LambdaInvokeOperation,
    },
};
use cloudhsm_alerts::{
    clock,
    payload::{BATCH_MODE, BatchMode, MAX_MESSAGES},
};
use cloudhsm_alerts_core::text::{chain, one_line};

/// Between two questions about a job.
const PAUSE: Duration = Duration::from_secs(10);
/// Questions in a row that may stay without an answer: some ten minutes of no network.
const PATIENCE: u32 = 60;

/// The parts of a function's ARN that a job needs.
#[derive(Debug, PartialEq, Eq)]
pub struct Arn {
    pub text: String,
    pub partition: String,
    pub region: String,
    pub account: String,
}

impl Arn {
    /// From `arn:<partition>:lambda:<region>:<account>:function:<name>`.
    pub fn of_function(text: &str) -> Result<Arn, String> {
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            // No version and no alias: the job's role may invoke the function itself.
            [
                "arn",
                partition,
                "lambda",
                region,
                account,
                "function",
                name,
            ] if partition.starts_with("aws")
                && !region.is_empty()
                && account.len() == 12
                && account.bytes().all(|b| b.is_ascii_digit())
                && !name.is_empty() =>
            {
                Ok(Arn {
                    text: text.to_owned(),
                    partition: (*partition).to_owned(),
                    region: (*region).to_owned(),
                    account: (*account).to_owned(),
                })
            }
            _ => Err(format!(
                "--function: expected arn:aws:lambda:region:account:function:name, found {:?}",
                one_line(text, 500)
            )),
        }
    }
}

/// A job to be created.
#[derive(Debug)]
pub struct Request<'a> {
    pub role: &'a str,
    pub bucket: &'a str,
    /// ARN of the list.
    pub manifest: &'a str,
    pub etag: &'a str,
    /// Whether the list is an S3 Inventory's manifest, and not one of ours.
    pub is_inventory: bool,
    pub mode: BatchMode,
    pub max_messages: u64,
}

/// A job that exists.
#[derive(Debug)]
pub struct Job {
    pub id: String,
    account: String,
    client: Client,
}

/// How a job ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    pub succeeded: bool,
    pub failed: i64,
    /// Log files in its list.
    pub tasks: i64,
    status: String,
    reasons: Vec<String>,
}

impl Ended {
    pub fn text(&self) -> String {
        let mut text = format!("the job ended as {}", self.status);
        for reason in &self.reasons {
            text.push_str(": ");
            text.push_str(reason);
        }
        text
    }
}

impl Job {
    /// A job that was created before.
    pub fn named(sdk: &SdkConfig, function: &Arn, id: &str) -> Job {
        Job {
            id: id.to_owned(),
            account: function.account.clone(),
            client: client(sdk, &function.region),
        }
    }

    /// Creates the job. Every call creates one: that a list was put through before is no reason not to do it
    /// again, when the cause of what failed is mended.
    pub async fn create(
        sdk: &SdkConfig,
        function: &Arn,
        request: &Request<'_>,
    ) -> Result<Job, Box<dyn std::error::Error>> {
        let client = client(sdk, &function.region);
        let mode = request.mode.as_str();
        let (format, fields) = if request.is_inventory {
            (JobManifestFormat::S3InventoryReportCsv20161130, None)
        } else {
            (
                JobManifestFormat::S3BatchOperationsCsv20180820,
                Some(vec![
                    JobManifestFieldName::Bucket,
                    JobManifestFieldName::Key,
                ]),
            )
        };
        let output = client
            .create_job()
            .account_id(&function.account)
            // The same for every attempt of the SDK's at this one request.
            .client_request_token(format!("{:016x}", clock::unique()))
            .confirmation_required(false)
            .description(format!("cloudhsm-alerts {mode}"))
            .priority(10)
            .role_arn(request.role)
            .operation(
                JobOperation::builder()
                    .lambda_invoke(
                        LambdaInvokeOperation::builder()
                            .function_arn(&function.text)
                            .invocation_schema_version("2.0")
                            .user_arguments(BATCH_MODE, mode)
                            .user_arguments(MAX_MESSAGES, request.max_messages.to_string())
                            .build(),
                    )
                    .build(),
            )
            .manifest(
                JobManifest::builder()
                    .spec(
                        JobManifestSpec::builder()
                            .format(format)
                            .set_fields(fields)
                            .build()?,
                    )
                    .location(
                        JobManifestLocation::builder()
                            .object_arn(request.manifest)
                            .e_tag(request.etag)
                            .build()?,
                    )
                    .build(),
            )
            .report(
                JobReport::builder()
                    .enabled(true)
                    .bucket(format!(
                        "arn:{}:s3:::{}",
                        function.partition, request.bucket
                    ))
                    .prefix("reports")
                    .format(JobReportFormat::ReportCsv20180820)
                    .report_scope(JobReportScope::AllTasks)
                    .build(),
            )
            .send()
            .await
            .map_err(|error| format!("creating the job: {}", chain(&error)))?;
        Ok(Job {
            id: output
                .job_id
                .ok_or("S3 created a job and did not name it")?,
            account: function.account.clone(),
            client,
        })
    }

    /// Waits for the job's end, saying how far it is. A question that S3 does not answer is asked again: a job
    /// takes hours, and its end is not lost with one connection.
    pub async fn wait(&self) -> Result<Ended, Box<dyn std::error::Error>> {
        let mut unanswered = 0;
        let mut said = String::new();
        loop {
            let output = self
                .client
                .describe_job()
                .account_id(&self.account)
                .job_id(&self.id)
                .send()
                .await;
            let output = match output {
                Ok(output) => output,
                Err(error) if error.as_service_error().is_none() && unanswered < PATIENCE => {
                    unanswered += 1;
                    eprintln!(
                        "asking for job {}: {}; asking again",
                        self.id,
                        chain(&error)
                    );
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(error) => {
                    return Err(format!(
                        "asking for job {}: {}; the job goes on: --job {} follows it again",
                        self.id,
                        chain(&error),
                        self.id
                    )
                    .into());
                }
            };
            unanswered = 0;
            let job = output.job.ok_or("S3 does not know the job any more")?;
            let progress = job
                .progress_summary
                .unwrap_or_else(|| aws_sdk_s3control::types::JobProgressSummary::builder().build());
            let failed = progress.number_of_tasks_failed.unwrap_or(0);
            let status = job.status.unwrap_or(JobStatus::Failed);
            let line = format!(
                "{}: {} of {} log files done, {failed} failed",
                status.as_str(),
                progress.number_of_tasks_succeeded.unwrap_or(0),
                progress.total_number_of_tasks.unwrap_or(0),
            );
            if line != said {
                eprintln!("{line}");
                said = line;
            }
            match status {
                JobStatus::Complete | JobStatus::Failed | JobStatus::Cancelled => {
                    return Ok(Ended {
                        succeeded: status == JobStatus::Complete && failed == 0,
                        failed,
                        tasks: progress.total_number_of_tasks.unwrap_or(0),
                        status: status.as_str().to_owned(),
                        reasons: job
                            .failure_reasons
                            .unwrap_or_default()
                            .iter()
                            .filter_map(|failure| failure.failure_reason())
                            .map(|reason| one_line(reason, 500))
                            .collect(),
                    });
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

fn client(sdk: &SdkConfig, region: &str) -> Client {
    let mut config =
        aws_sdk_s3control::config::Builder::from(sdk).region(Region::new(region.to_owned()));
    if let Some(url) = sdk.endpoint_url() {
        config = config.endpoint_resolver(AsGiven(url.to_owned()));
    }
    Client::from_conf(config.build())
}

/// An endpoint of one's own (`AWS_ENDPOINT_URL`), as it is: S3 Control would put the account's number
/// before the host, where it seldom resolves.
#[derive(Clone)]
struct AsGiven(String);

impl fmt::Debug for AsGiven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ResolveEndpoint for AsGiven {
    fn resolve_endpoint<'a>(&'a self, _: &'a Params) -> EndpointFuture<'a> {
        EndpointFuture::ready(Ok(Endpoint::builder().url(self.0.clone()).build()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_functions_arn_is_taken_apart_or_refused() {
        let text = "arn:aws-cn:lambda:cn-north-1:111122223333:function:cloudhsm-alerts";
        assert_eq!(
            Arn::of_function(text),
            Ok(Arn {
                text: text.into(),
                partition: "aws-cn".into(),
                region: "cn-north-1".into(),
                account: "111122223333".into(),
            })
        );
        for text in [
            "",
            "cloudhsm-alerts",
            "arn:aws:lambda:us-west-2:111122223333:layer:x",
            "arn:aws:iam::111122223333:role/x",
            "arn:aws:lambda:us-west-2:1:function:x",
            "arn:aws:lambda:us-west-2:11112222333x:function:x",
            "arn:aws:lambda:us-west-2:111122223333:function:x:live",
        ] {
            assert!(Arn::of_function(text).is_err(), "{text}");
        }
    }
}
