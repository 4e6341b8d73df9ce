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

use clap::Args;
use cloudhsm_alerts::{s3, shell, text::one_line};
use jiff::civil::Date;

use job::{Arn, Job, Mode};
use manifest::{Choice, Manifest};

/// What `--help` says of it.
pub const LONG_ABOUT: &str = "\
Put log files of the past through the deployed function, by a job of S3 Batch Operations

Without --yes nothing is created: it lists the log files and says what it would do. Try --dry-run first:
the function then reads and counts, and tells nobody. The ARNs and the bucket are outputs of the stack,
deployed with Backfill=on. Needs AWS credentials that may list the bucket, write to the backfill's bucket,
create the job (s3:CreateJob) and pass its role (iam:PassRole).";

#[derive(Args)]
pub struct Arguments {
    /// Log files to put through, such as s3://bucket/AWSLogs/111122223333/CloudTrail/us-west-2/
    #[arg(
        value_name = "s3://BUCKET/PREFIX",
        required_unless_present = "inventory"
    )]
    address: Option<String>,
    /// Instead: the manifest.json of an S3 Inventory in CSV, for more log files than can be listed
    #[arg(
        long,
        value_name = "s3://BUCKET/KEY",
        conflicts_with_all = ["address", "from", "to"]
    )]
    inventory: Option<String>,
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
    #[arg(long, value_name = "ARN")]
    role: String,
    /// Output BackfillBucketName of the stack: for the list of log files and the report
    #[arg(long, value_name = "BUCKET")]
    bucket: String,
    /// The function only counts what it would tell; nobody is told
    #[arg(long)]
    dry_run: bool,
    /// Create the job
    #[arg(long)]
    yes: bool,
    /// Wait for the job's end and sum its report up
    #[arg(long, requires = "yes")]
    wait: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let function = Arn::of_function(&arguments.function)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(backfill(arguments, &function))
}

async fn backfill(
    arguments: &Arguments,
    function: &Arn,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let sdk = shell::sdk_config().await;
    let client = s3::client(&sdk);
    let mode = if arguments.dry_run {
        Mode::DryRun
    } else {
        Mode::Backfill
    };

    let (bucket, list) = match &arguments.inventory {
        Some(address) => {
            let (bucket, key) = object_address(address)?;
            (
                bucket,
                List::Inventory {
                    key: key.to_owned(),
                },
            )
        }
        None => {
            let address = arguments.address.as_deref().unwrap_or_default();
            let (bucket, prefix) = bucket_address(address)?;
            let choice = Choice {
                from: arguments.from,
                to: arguments.to,
            };
            let manifest = Manifest::list(&client, bucket, prefix, &choice).await?;
            eprintln!("{}", manifest.summary());
            if manifest.is_empty() {
                return Err(format!(
                    "s3://{}/{} holds no log file to put through",
                    one_line(bucket, 256),
                    one_line(prefix, 1024)
                )
                .into());
            }
            (bucket, List::Written(manifest))
        }
    };
    eprintln!("{}", mode.plan(&arguments.function));
    if !arguments.yes {
        eprintln!("Nothing was created. To create the job, add --yes.");
        return Ok(ExitCode::SUCCESS);
    }

    let (object_arn, etag, format) = match list {
        List::Written(manifest) => {
            let (key, etag) = manifest.put(&client, &arguments.bucket).await?;
            let arn = format!("arn:{}:s3:::{}/{key}", function.partition, arguments.bucket);
            (arn, etag, job::Format::List)
        }
        List::Inventory { key } => {
            let etag = manifest::etag(&client, bucket, &key).await?;
            let arn = format!("arn:{}:s3:::{bucket}/{key}", function.partition);
            (arn, etag, job::Format::Inventory)
        }
    };
    let job = Job::create(
        &sdk,
        function,
        &job::Request {
            role: &arguments.role,
            bucket: &arguments.bucket,
            manifest: &object_arn,
            etag: &etag,
            format,
            mode,
        },
    )
    .await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", job.id)?;
    if !arguments.wait {
        eprintln!(
            "Job {} is created. Its report will be in s3://{}/reports/job-{}/; to follow it:\n  \
             aws s3control describe-job --region {} --account-id {} --job-id {}",
            job.id, arguments.bucket, job.id, function.region, function.account, job.id
        );
        return Ok(ExitCode::SUCCESS);
    }
    let ended = job.wait().await?;
    let report = report::read(&client, &arguments.bucket, &job.id).await?;
    writeln!(out, "{}", report.text(mode, ended.failed))?;
    Ok(if ended.succeeded && report.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        eprintln!("{}", ended.text());
        ExitCode::FAILURE
    })
}

enum List {
    Written(Manifest),
    Inventory { key: String },
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
        (bucket, key) if key.ends_with("manifest.json") => Ok((bucket, key)),
        _ => Err(format!(
            "expected the manifest.json of an S3 Inventory, found {:?}",
            one_line(address, 500)
        )),
    }
}
