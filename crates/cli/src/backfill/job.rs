//! An S3 Batch Operations job that invokes the function for every object of a manifest: creating it, and waiting
//! for its end.

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

/// Time between two status requests.
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// Status requests in a row that may get no response: about ten minutes without a network.
const MAX_FAILED_POLLS: u32 = 60;

/// The ARN of a function, and its parts that a job needs.
#[derive(Debug, PartialEq, Eq)]
pub struct FunctionArn {
    pub arn: String,
    pub partition: String,
    pub region: String,
    pub account: String,
}

impl FunctionArn {
    /// Parses `arn:<partition>:lambda:<region>:<account>:function:<name>`.
    pub fn parse(arn: &str) -> Result<FunctionArn, String> {
        let parts: Vec<&str> = arn.split(':').collect();
        match parts.as_slice() {
            // No version or alias: the job's role may only invoke the function itself.
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
                Ok(FunctionArn {
                    arn: arn.to_owned(),
                    partition: (*partition).to_owned(),
                    region: (*region).to_owned(),
                    account: (*account).to_owned(),
                })
            }
            _ => Err(format!(
                "--function: expected arn:aws:lambda:region:account:function:name, found {:?}",
                one_line(arn, 500)
            )),
        }
    }
}

/// The settings of a job.
#[derive(Debug)]
pub struct JobSettings<'a> {
    pub role: &'a str,
    /// The bucket of the report.
    pub bucket: &'a str,
    /// The ARN of the manifest.
    pub manifest: &'a str,
    pub etag: &'a str,
    /// Whether the manifest is that of an S3 Inventory.
    pub is_inventory: bool,
    pub mode: BatchMode,
    pub max_messages: u64,
}

/// An existing job.
#[derive(Debug)]
pub struct Job {
    pub id: String,
    account: String,
    client: Client,
}

/// How a job ended.
#[derive(Debug, PartialEq, Eq)]
pub struct JobResult {
    pub succeeded: bool,
    pub failed_tasks: i64,
    /// All tasks: one for each log file of the manifest.
    pub tasks: i64,
    status: String,
    reasons: Vec<String>,
}

impl fmt::Display for JobResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the job ended as {}", self.status)?;
        for reason in &self.reasons {
            write!(f, ": {reason}")?;
        }
        Ok(())
    }
}

impl Job {
    /// The job with this ID.
    pub fn existing(sdk: &SdkConfig, function: &FunctionArn, id: &str) -> Job {
        Job {
            id: id.to_owned(),
            account: function.account.clone(),
            client: client(sdk, &function.region),
        }
    }

    /// Creates a job. The same manifest can be used again, for example after the cause of a failure is fixed.
    pub async fn create(
        sdk: &SdkConfig,
        function: &FunctionArn,
        settings: &JobSettings<'_>,
    ) -> Result<Job, Box<dyn std::error::Error>> {
        let client = client(sdk, &function.region);
        let mode = settings.mode.as_str();
        let (format, fields) = if settings.is_inventory {
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
            // Makes the SDK's retries of this request idempotent.
            .client_request_token(format!("{:016x}", clock::unique()))
            .confirmation_required(false)
            .description(format!("cloudhsm-alerts {mode}"))
            .priority(10)
            .role_arn(settings.role)
            .operation(
                JobOperation::builder()
                    .lambda_invoke(
                        LambdaInvokeOperation::builder()
                            .function_arn(&function.arn)
                            .invocation_schema_version("2.0")
                            .user_arguments(BATCH_MODE, mode)
                            .user_arguments(MAX_MESSAGES, settings.max_messages.to_string())
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
                            .object_arn(settings.manifest)
                            .e_tag(settings.etag)
                            .build()?,
                    )
                    .build(),
            )
            .report(
                JobReport::builder()
                    .enabled(true)
                    .bucket(format!(
                        "arn:{}:s3:::{}",
                        function.partition, settings.bucket
                    ))
                    .prefix("reports")
                    .format(JobReportFormat::ReportCsv20180820)
                    .report_scope(JobReportScope::AllTasks)
                    .build(),
            )
            .send()
            .await
            .map_err(|error| format!("cannot create the job: {}", chain(&error)))?;
        Ok(Job {
            id: output.job_id.ok_or("S3 returned no ID for the job")?,
            account: function.account.clone(),
            client,
        })
    }

    /// Waits for the end of the job and prints its progress. A job takes hours, so a status request without a
    /// response is retried.
    pub async fn wait(&self) -> Result<JobResult, Box<dyn std::error::Error>> {
        let mut failed_polls = 0;
        let mut printed = String::new();
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
                Err(error)
                    if error.as_service_error().is_none() && failed_polls < MAX_FAILED_POLLS =>
                {
                    failed_polls += 1;
                    eprintln!(
                        "cannot get the status of job {}: {}; retrying",
                        self.id,
                        chain(&error)
                    );
                    tokio::time::sleep(POLL_INTERVAL).await;
                    continue;
                }
                Err(error) => {
                    return Err(format!(
                        "cannot get the status of job {}: {}; the job continues: follow it with --job {}",
                        self.id,
                        chain(&error),
                        self.id
                    )
                    .into());
                }
            };
            failed_polls = 0;
            let job = output.job.ok_or("S3 returned no status of the job")?;
            let progress = job
                .progress_summary
                .unwrap_or_else(|| aws_sdk_s3control::types::JobProgressSummary::builder().build());
            let failed = progress.number_of_tasks_failed.unwrap_or(0);
            let status = job.status.unwrap_or(JobStatus::Failed);
            let line = format!(
                "{}: {} of {} log files succeeded, {failed} failed",
                status.as_str(),
                progress.number_of_tasks_succeeded.unwrap_or(0),
                progress.total_number_of_tasks.unwrap_or(0),
            );
            if line != printed {
                eprintln!("{line}");
                printed = line;
            }
            match status {
                JobStatus::Complete | JobStatus::Failed | JobStatus::Cancelled => {
                    return Ok(JobResult {
                        succeeded: status == JobStatus::Complete && failed == 0,
                        failed_tasks: failed,
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
                _ => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }
}

fn client(sdk: &SdkConfig, region: &str) -> Client {
    let mut config =
        aws_sdk_s3control::config::Builder::from(sdk).region(Region::new(region.to_owned()));
    if let Some(url) = sdk.endpoint_url() {
        config = config.endpoint_resolver(FixedEndpoint(url.to_owned()));
    }
    Client::from_conf(config.build())
}

/// The endpoint of `AWS_ENDPOINT_URL`, unchanged. The SDK would prepend the account ID to the host, and emulators
/// rarely have a DNS entry for that.
#[derive(Clone)]
struct FixedEndpoint(String);

impl fmt::Debug for FixedEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ResolveEndpoint for FixedEndpoint {
    fn resolve_endpoint<'a>(&'a self, _: &'a Params) -> EndpointFuture<'a> {
        EndpointFuture::ready(Ok(Endpoint::builder().url(self.0.clone()).build()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_arn_is_parsed_or_rejected() {
        let arn = "arn:aws-cn:lambda:cn-north-1:111122223333:function:cloudhsm-alerts";
        assert_eq!(
            FunctionArn::parse(arn),
            Ok(FunctionArn {
                arn: arn.into(),
                partition: "aws-cn".into(),
                region: "cn-north-1".into(),
                account: "111122223333".into(),
            })
        );
        for invalid in [
            "",
            "cloudhsm-alerts",
            "arn:aws:lambda:us-west-2:111122223333:layer:x",
            "arn:aws:iam::111122223333:role/x",
            "arn:aws:lambda:us-west-2:1:function:x",
            "arn:aws:lambda:us-west-2:11112222333x:function:x",
            "arn:aws:lambda:us-west-2:111122223333:function:x:live",
        ] {
            assert!(FunctionArn::parse(invalid).is_err(), "{invalid}");
        }
    }
}
