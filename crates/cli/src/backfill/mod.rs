//! `backfill`: log files of the past through the deployed function, by a job of S3 Batch Operations.
//!
//! The function does the reading and the telling; what is here chooses the log files, writes the list of
//! them ([`manifest`]), creates the job ([`job`]) and sums up what it reported ([`report`]). The job tells the
//! function that it is a backfill, so that its alerts are marked as such, or, with `--dry-run`, that it shall
//! only count.

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

use job::{Arn, Job};
use manifest::{Choice, Manifest, count};

/// What `--help` says of it.
pub const LONG_ABOUT: &str = "\
Put log files of the past through the deployed function, by a job of S3 Batch Operations

Without --yes nothing is created: it lists the log files and says what it would do. Try --dry-run first:
the function then reads and counts, and tells nobody. Without it, calls that were not told within the last
40 days are told: older than a day, in digests that are marked, by e-mail and to machines but not by SMS, and
no more than --max-messages; younger ones like those of a log file that has just come.

The ARNs and the bucket are outputs of the stack, deployed with Backfill=on. Needs AWS credentials that may
list the log files' bucket (s3:ListBucket), write, read and list in the backfill's (s3:PutObject, s3:GetObject,
s3:ListBucket), create and follow the job (s3:CreateJob, s3:DescribeJob) and pass its role (iam:PassRole).

Exits with 1 if the job failed, a log file of it did, or calls were not told for want of messages.";

#[derive(Args)]
pub struct Arguments {
    /// Log files to put through, such as s3://bucket/AWSLogs/111122223333/CloudTrail/us-west-2/
    #[arg(
        value_name = "s3://BUCKET/PREFIX",
        required_unless_present_any = ["inventory", "job"]
    )]
    address: Option<String>,
    /// Instead: the manifest.json of an S3 Inventory in CSV, for more log files than can be listed
    #[arg(
        long,
        value_name = "s3://BUCKET/KEY",
        conflicts_with_all = ["address", "from", "to"]
    )]
    inventory: Option<String>,
    /// Instead: follow a job that was created before, and sum its report up
    #[arg(
        long,
        value_name = "ID",
        conflicts_with_all = ["address", "from", "to", "inventory", "yes"]
    )]
    job: Option<String>,
    /// First day of log files, as in their keys (UTC)
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<Date>,
    /// Last day of log files
    #[arg(long, value_name = "YYYY-MM-DD")]
    to: Option<Date>,
    /// Output FunctionArn of the stack
    #[arg(long, value_name = "ARN")]
    function: String,
    /// Output BackfillRoleArn of the stack
    #[arg(long, value_name = "ARN", required_unless_present = "job")]
    role: Option<String>,
    /// Output BackfillBucketName of the stack: for the list of log files and the report
    #[arg(long, value_name = "BUCKET")]
    bucket: String,
    /// The function only counts what it would tell; nobody is told
    #[arg(long)]
    dry_run: bool,
    /// Messages about the past that the job may send in all; what is beyond stays not_alerted, and is counted
    #[arg(long, value_name = "COUNT", default_value_t = DEFAULT_MAX_MESSAGES)]
    max_messages: u64,
    /// Create the job
    #[arg(long)]
    yes: bool,
    /// Wait for the job's end and sum its report up
    #[arg(long, requires = "yes")]
    wait: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let function = Arn::of_function(&arguments.function)?;
    if let (Some(from), Some(to)) = (arguments.from, arguments.to)
        && from > to
    {
        return Err(format!("--from {from} is after --to {to}").into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(backfill(arguments, &function))
}

async fn backfill(
    arguments: &Arguments,
    function: &Arn,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    // Bucket, function and job are all in the function's region.
    let sdk = crate::sdk::config()
        .await
        .to_builder()
        .region(Region::new(function.region.clone()))
        .build();
    let client = s3::client(&sdk);
    let mode = if arguments.dry_run {
        BatchMode::DryRun
    } else {
        BatchMode::Backfill
    };
    if let Some(id) = &arguments.job {
        let job = Job::named(&sdk, function, id);
        return follow(&job, &client, &arguments.bucket, mode).await;
    }

    let list = List::of(arguments, &client).await?;
    eprintln!("{}", plan(arguments, mode));
    if !arguments.yes {
        eprintln!("Nothing was created. To create the job, add --yes.");
        return Ok(ExitCode::SUCCESS);
    }

    let partition = &function.partition;
    let (manifest, etag, is_inventory) = match list {
        List::Written(manifest) => {
            let (key, etag) = manifest.put(&client, &arguments.bucket).await?;
            let arn = format!("arn:{partition}:s3:::{}/{key}", arguments.bucket);
            (arn, etag, false)
        }
        List::Inventory { bucket, key, etag } => {
            (format!("arn:{partition}:s3:::{bucket}/{key}"), etag, true)
        }
    };
    let request = job::Request {
        role: arguments.role.as_deref().unwrap_or_default(),
        bucket: &arguments.bucket,
        manifest: &manifest,
        etag: &etag,
        is_inventory,
        mode,
        max_messages: arguments.max_messages,
    };
    let job = Job::create(&sdk, function, &request).await?;
    writeln!(std::io::stdout(), "{}", job.id)?;
    if arguments.wait {
        return follow(&job, &client, &arguments.bucket, mode).await;
    }
    eprintln!(
        "Job {id} is created. To follow it and sum its report up:\n  \
         cloudhsm-alerts backfill --job {id} --function {} --bucket {}{}",
        arguments.function,
        arguments.bucket,
        if arguments.dry_run { " --dry-run" } else { "" },
        id = job.id,
    );
    Ok(ExitCode::SUCCESS)
}

/// What a job will do, before there is one.
fn plan(arguments: &Arguments, mode: BatchMode) -> String {
    let function = &arguments.function;
    match mode {
        BatchMode::DryRun => {
            format!("A job invokes {function} for each log file. It counts; nobody is told.")
        }
        _ => format!(
            "A job invokes {function} for each log file. Calls that were not told before are told, those older \
             than a day marked as a backfill, in {} at the most.",
            count(arguments.max_messages, "message")
        ),
    }
}

/// Waits for a job's end and says what it came to.
async fn follow(
    job: &Job,
    client: &aws_sdk_s3::Client,
    bucket: &str,
    mode: BatchMode,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let ended = job.wait().await?;
    if !ended.succeeded {
        eprintln!("{}", ended.text());
    }
    let report = report::read(client, bucket, &job.id).await?;
    writeln!(std::io::stdout(), "{}", report.text(mode, ended.failed))?;
    let missing = u64::try_from(ended.tasks)
        .unwrap_or(0)
        .saturating_sub(report.files);
    if missing > 0 {
        eprintln!(
            "the report in s3://{bucket}/reports/job-{}/ lacks {} of the job's list",
            job.id,
            count(missing, "log file")
        );
    }
    let is_good =
        ended.succeeded && report.failures == 0 && report.done.not_alerted == 0 && missing == 0;
    Ok(if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What a job works through.
enum List {
    Written(Manifest),
    Inventory {
        bucket: String,
        key: String,
        etag: String,
    },
}

impl List {
    async fn of(
        arguments: &Arguments,
        client: &aws_sdk_s3::Client,
    ) -> Result<List, Box<dyn std::error::Error>> {
        if let Some(address) = &arguments.inventory {
            let (bucket, key) = object_address(address)?;
            let etag = manifest::etag(client, bucket, key).await?;
            eprintln!("the log files of the inventory {}", one_line(address, 1024));
            return Ok(List::Inventory {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                etag,
            });
        }
        let (bucket, prefix) = bucket_address(arguments.address.as_deref().unwrap_or_default())?;
        let choice = Choice {
            from: arguments.from,
            to: arguments.to,
        };
        let manifest = Manifest::list(client, bucket, prefix, &choice).await?;
        eprintln!("{}", manifest.summary());
        if manifest.is_empty() {
            return Err(format!(
                "s3://{}/{} holds no log file{} to put through",
                one_line(bucket, 256),
                one_line(prefix, 1024),
                choice.words()
            )
            .into());
        }
        Ok(List::Written(manifest))
    }
}

/// Bucket and prefix; the prefix may be empty.
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
