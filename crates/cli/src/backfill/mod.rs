//! `backfill`: puts past log files through the deployed function with an S3 Batch Operations job.
//!
//! The function reads the log files and publishes alerts. This command selects log files and writes them to a
//! manifest ([`manifest`]), creates the job ([`job`]) and adds up its report ([`report`]). A user argument
//! of the job selects the mode of the function: backfill, which marks its alerts, or dry run, which only counts.

mod job;
mod manifest;
mod report;

use std::{io::Write, process::ExitCode};

use aws_config::Region;
use clap::Args;
use cloudhsm_alerts::{
    payload::{BatchMode, DEFAULT_MAX_MESSAGES},
    s3,
};
use cloudhsm_alerts_core::text::one_line;
use jiff::civil::Date;

use crate::{sdk, terminal::counted};
use job::{FunctionArn, Job, JobSettings};
use manifest::{DateRange, Manifest};

pub const LONG_ABOUT: &str = "\
Put past log files through the deployed function with an S3 Batch Operations job

Without --yes, lists the log files, describes the job and creates nothing. Start with --dry-run: the function
then counts matches and publishes nothing. Otherwise it publishes alerts for calls that were not alerted in the
last 40 days. Calls older than one day go into summaries that are marked as backfill, at most --max-messages of
them, by e-mail and as JSON but not as SMS. Newer calls are alerted as usual.

The ARNs and the bucket are outputs of the stack of backfill.yaml. The AWS credentials need
s3:ListBucket on the bucket of the log files; s3:PutObject, s3:GetObject and s3:ListBucket on the backfill
bucket; s3:CreateJob and s3:DescribeJob; and iam:PassRole for the role of the job.

Exits with 1 if the job failed, a log file failed, or calls were not alerted because of --max-messages.";

#[derive(Args)]
pub struct Arguments {
    /// Prefix of the log files, such as s3://bucket/AWSLogs/111122223333/CloudTrail/us-west-2/
    #[arg(
        value_name = "s3://BUCKET/PREFIX",
        required_unless_present_any = ["inventory", "job"]
    )]
    address: Option<String>,
    /// Use the manifest.json of an S3 Inventory (CSV) instead of a prefix, for more than a million log files
    #[arg(
        long,
        value_name = "s3://BUCKET/KEY",
        conflicts_with_all = ["address", "from", "to"]
    )]
    inventory: Option<String>,
    /// Wait for an existing job and print the totals of its report
    #[arg(
        long,
        value_name = "ID",
        conflicts_with_all = ["address", "from", "to", "inventory", "yes"]
    )]
    job: Option<String>,
    /// First date of log files, as in their keys (UTC)
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<Date>,
    /// Last date of log files
    #[arg(long, value_name = "YYYY-MM-DD")]
    to: Option<Date>,
    /// The stack output FunctionArn
    #[arg(long, value_name = "ARN")]
    function: String,
    /// The stack output BackfillRoleArn
    #[arg(long, value_name = "ARN", required_unless_present = "job")]
    role: Option<String>,
    /// The stack output BackfillBucketName: the bucket for manifest and report
    #[arg(long, value_name = "BUCKET")]
    bucket: String,
    /// Count matches without publishing alerts
    #[arg(long)]
    dry_run: bool,
    /// Most messages about past calls that the job may publish; further calls are counted, not alerted
    #[arg(long, value_name = "COUNT", default_value_t = DEFAULT_MAX_MESSAGES)]
    max_messages: u64,
    /// Create the job
    #[arg(long)]
    yes: bool,
    /// Wait for the end of the job and print the totals of its report
    #[arg(long, requires = "yes")]
    wait: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let function = FunctionArn::parse(&arguments.function)?;
    if let (Some(from), Some(to)) = (arguments.from, arguments.to)
        && from > to
    {
        return Err(format!("--from {from} is after --to {to}").into());
    }
    sdk::runtime()?.block_on(backfill(arguments, &function))
}

async fn backfill(
    arguments: &Arguments,
    function: &FunctionArn,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    // The buckets and the job are in the region of the function.
    let config = sdk::config()
        .await
        .to_builder()
        .region(Region::new(function.region.clone()))
        .build();
    let client = s3::client(&config);
    let mode = if arguments.dry_run {
        BatchMode::DryRun
    } else {
        BatchMode::Backfill
    };
    if let Some(id) = &arguments.job {
        let job = Job::existing(&config, function, id);
        return follow(&job, &client, &arguments.bucket, mode).await;
    }

    let input = JobInput::select(arguments, &client).await?;
    eprintln!("{}", describe_job(arguments, mode));
    if !arguments.yes {
        eprintln!("Nothing was created. Add --yes to create the job.");
        return Ok(ExitCode::SUCCESS);
    }

    let partition = &function.partition;
    let (manifest, etag, is_inventory) = match input {
        JobInput::Listed(manifest) => {
            let (key, etag) = manifest.put(&client, &arguments.bucket).await?;
            let arn = format!("arn:{partition}:s3:::{}/{key}", arguments.bucket);
            (arn, etag, false)
        }
        JobInput::Inventory { bucket, key, etag } => {
            (format!("arn:{partition}:s3:::{bucket}/{key}"), etag, true)
        }
    };
    let settings = JobSettings {
        role: arguments.role.as_deref().unwrap_or_default(),
        bucket: &arguments.bucket,
        manifest: &manifest,
        etag: &etag,
        is_inventory,
        mode,
        max_messages: arguments.max_messages,
    };
    let job = Job::create(&config, function, &settings).await?;
    writeln!(std::io::stdout(), "{}", job.id)?;
    if arguments.wait {
        return follow(&job, &client, &arguments.bucket, mode).await;
    }
    eprintln!(
        "Created job {id}. To wait for it and print its totals:\n  \
         cloudhsm-alerts backfill --job {id} --function {} --bucket {}{}",
        arguments.function,
        arguments.bucket,
        if arguments.dry_run { " --dry-run" } else { "" },
        id = job.id,
    );
    Ok(ExitCode::SUCCESS)
}

/// What the job will do.
fn describe_job(arguments: &Arguments, mode: BatchMode) -> String {
    let function = &arguments.function;
    match mode {
        BatchMode::DryRun => {
            format!(
                "The job will invoke {function} for each log file. Dry run: it counts matches and publishes no alerts."
            )
        }
        _ => format!(
            "The job will invoke {function} for each log file and publish alerts for calls that were not alerted \
             before. Alerts for calls older than one day are marked as backfill, at most {}.",
            counted(arguments.max_messages, "message")
        ),
    }
}

/// Waits for the end of a job and prints the totals of its report.
async fn follow(
    job: &Job,
    client: &aws_sdk_s3::Client,
    bucket: &str,
    mode: BatchMode,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let result = job.wait().await?;
    if !result.succeeded {
        eprintln!("{result}");
    }
    let report = report::read(client, bucket, &job.id).await?;
    writeln!(
        std::io::stdout(),
        "{}",
        report.render(mode, result.failed_tasks)
    )?;
    let missing = u64::try_from(result.tasks)
        .unwrap_or(0)
        .saturating_sub(report.files);
    if missing > 0 {
        eprintln!(
            "the report in s3://{bucket}/reports/job-{}/ lacks {} of the manifest",
            job.id,
            counted(missing, "log file")
        );
    }
    let is_complete =
        result.succeeded && report.failures == 0 && report.done.not_alerted == 0 && missing == 0;
    Ok(if is_complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The log files of a job.
enum JobInput {
    Listed(Manifest),
    Inventory {
        bucket: String,
        key: String,
        etag: String,
    },
}

impl JobInput {
    async fn select(
        arguments: &Arguments,
        client: &aws_sdk_s3::Client,
    ) -> Result<JobInput, Box<dyn std::error::Error>> {
        if let Some(address) = &arguments.inventory {
            let (bucket, key) = object_address(address)?;
            let etag = manifest::etag(client, bucket, key).await?;
            eprintln!("log files of the inventory {}", one_line(address, 1024));
            return Ok(JobInput::Inventory {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                etag,
            });
        }
        let (bucket, prefix) = bucket_address(arguments.address.as_deref().unwrap_or_default())?;
        let range = DateRange {
            from: arguments.from,
            to: arguments.to,
        };
        let manifest = Manifest::list(client, bucket, prefix, &range).await?;
        eprintln!("{}", manifest.describe());
        if manifest.is_empty() {
            return Err(format!(
                "no log files{range} under s3://{}/{}",
                one_line(bucket, 256),
                one_line(prefix, 1024)
            )
            .into());
        }
        Ok(JobInput::Listed(manifest))
    }
}

/// Bucket and prefix of an address. The prefix can be empty.
fn bucket_address(address: &str) -> Result<(&str, &str), String> {
    let rest = address
        .strip_prefix("s3://")
        .filter(|rest| !rest.is_empty() && !rest.starts_with('/'))
        .ok_or_else(|| {
            format!(
                "expected s3://bucket/prefix, found {:?}",
                one_line(address, 500)
            )
        })?;
    Ok(rest.split_once('/').unwrap_or((rest, "")))
}

fn object_address(address: &str) -> Result<(&str, &str), String> {
    match bucket_address(address)? {
        (bucket, key) if key == "manifest.json" || key.ends_with("/manifest.json") => {
            Ok((bucket, key))
        }
        _ => Err(format!(
            "expected the manifest.json of an S3 Inventory, found {:?}",
            one_line(address, 500)
        )),
    }
}
