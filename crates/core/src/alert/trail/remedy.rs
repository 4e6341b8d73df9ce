//! What a finding about the trail means, and what to do about it: complete commands, with the names of the first finding.
//!
//! Names come from keys, which anyone who can write to the bucket chooses. One that a shell would interpret is quoted, and
//! one that cannot be copied from a text is left out of the command.

use jiff::{SignedDuration, Timestamp};

use super::{Kind, TrailFinding};
use crate::{digest::key::Chain, partition, text::shell_word};

/// What it means, in whole sentences.
pub(super) fn meaning(kind: Kind) -> &'static str {
    match kind {
        Kind::LogFileAltered => {
            "Somebody wrote the object after CloudTrail had delivered it. Calls may have been removed from it, and alerts about them may be missing."
        }
        Kind::LogFileMissing => {
            "CloudTrail delivered the log file, and somebody deleted it before this function had read it. There were no alerts about the calls in it."
        }
        Kind::LogFileReplaced => {
            "CloudTrail writes a log file once. Somebody wrote another content to the same key. If you have just copied an original back, this is your own write; otherwise the evidence is being changed now."
        }
        Kind::FileRemoved => {
            "CloudTrail deletes nothing, and a lifecycle rule is not reported here. Deleted log files hide calls from an investigation. Alerts about calls in a log file that this function had read were published; the next digest file shows whether it was."
        }
        Kind::DigestAltered => {
            "The signed list of log files is not the one that CloudTrail delivered. A changed list can hide that log files were deleted or altered."
        }
        Kind::DigestMissing => {
            "Nothing proves which log files CloudTrail delivered in this time. Either digest files were deleted, or logging was stopped."
        }
        Kind::DigestSilent => {
            "One digest file an hour is due. The trail or its log file validation was switched off, the digest files are deleted, or their notifications do not arrive."
        }
        Kind::NotVerified => {
            "Nothing is known to be wrong: the public keys of the region cannot be listed. Its log files are read all the same, and nobody would notice if they were altered. This message comes once."
        }
        Kind::Copied => {
            "The bucket is a replica or a copy. The copy is checked like the original; log files that are changed in the original alone are not noticed here. This message comes once."
        }
    }
}

/// What to do, as lines of an e-mail.
pub(super) fn of(finding: &TrailFinding) -> Vec<String> {
    let mut lines = Lines::default();
    match finding.kind {
        Kind::LogFileAltered
        | Kind::LogFileMissing
        | Kind::LogFileReplaced
        | Kind::DigestAltered => {
            if let Some((bucket, key)) = &finding.object {
                restore(&mut lines, bucket, key);
            }
            lines.validate(finding);
            lines.bucket_calls(finding);
        }
        Kind::FileRemoved => {
            if let Some((bucket, key)) = &finding.object {
                lines.bring_back(bucket, key);
            }
            lines.caller(finding);
            lines.bucket_calls(finding);
            lines.validate(finding);
        }
        Kind::DigestMissing => {
            lines.validate(finding);
            lines.trail_calls(finding);
            lines.versions_of_digests(finding);
        }
        Kind::DigestSilent => {
            lines.trail_calls(finding);
            lines.restart(finding);
            lines.validate(finding);
        }
        Kind::NotVerified => {
            lines.step(
                "Allow the function's role cloudtrail:ListPublicKeys. A region that is not enabled in the function's account refuses it: enable it there, or check its digest files yourself. Whether it is allowed:",
                format!(
                    "aws cloudtrail list-public-keys --region {}",
                    word(&finding.region, "REGION")
                ),
            );
            lines.validate(finding);
        }
        Kind::Copied => lines.validate(finding),
    }
    lines.0
}

/// Finding the original among the versions, and copying it back.
fn restore(lines: &mut Lines, bucket: &str, key: &str) {
    let (bucket_word, key_word) = (word(bucket, "BUCKET"), word(key, "KEY"));
    lines.step(
        "List the versions of the object: the oldest is what CloudTrail delivered.",
        format!("aws s3api list-object-versions --bucket {bucket_word} --prefix {key_word}"),
    );
    let source = word(
        &format!("{bucket}/{key}?versionId=VERSION_ID"),
        "'BUCKET/KEY?versionId=VERSION_ID'",
    );
    lines.step(
        "Copy the original back, with its VERSION_ID. The function reads it then.",
        format!(
            "aws s3api copy-object --bucket {bucket_word} --key {key_word} --copy-source {source}"
        ),
    );
}

/// A value as one word of a command, or a name in capitals for what people must fill in.
fn word(value: &str, otherwise: &str) -> String {
    shell_word(value).unwrap_or_else(|| otherwise.to_owned())
}

#[derive(Default)]
struct Lines(Vec<String>);

impl Lines {
    fn step(&mut self, text: &str, command: String) {
        let number = self.0.len() / 2 + 1;
        self.0.push(format!("  {number}. {text}"));
        self.0.push(format!("       {command}"));
    }

    /// Deleting the delete marker.
    fn bring_back(&mut self, bucket: &str, key: &str) {
        let (bucket, key) = (word(bucket, "BUCKET"), word(key, "KEY"));
        self.step(
            "List what is left of it: versions, and the delete marker that hides them.",
            format!("aws s3api list-object-versions --bucket {bucket} --prefix {key}"),
        );
        self.step(
            "Delete the delete marker, with its VERSION_ID, to bring the file back. If no version is left, only a replica or a backup has it.",
            format!(
                "aws s3api delete-object --bucket {bucket} --key {key} --version-id VERSION_ID"
            ),
        );
    }

    /// Finding the role or the user whose ID S3 writes: `AWS:AROA…:session` or `AWS:AIDA…`.
    fn caller(&mut self, finding: &TrailFinding) {
        let caller = finding.caller.as_deref().unwrap_or_default();
        let id = caller.split(':').nth(1).unwrap_or_default();
        if !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return;
        }
        let (list, path) = match id.get(..4) {
            Some("AROA") => ("list-roles", "Roles[?RoleId"),
            Some("AIDA") => ("list-users", "Users[?UserId"),
            _ => return,
        };
        self.step(
            "Find out who that is, in the account of the caller, and take the permission away:",
            format!("aws iam {list} --query \"{path}=='{id}'].Arn\" --output text"),
        );
    }

    fn validate(&mut self, finding: &TrailFinding) {
        let interval = finding.interval;
        let from = interval.map_or_else(|| "START_TIME".to_owned(), |it| hour_before(it.from));
        let to = interval.map_or_else(|| "END_TIME".to_owned(), |it| in_seconds(it.to));
        let (arn, region, more) = match &finding.chain {
            Some(chain) => (trail_arn(chain), chain.region.as_str(), of_member(chain)),
            None => (
                "TRAIL_ARN".to_owned(),
                finding.region.as_str(),
                String::new(),
            ),
        };
        self.step(
            "Check everything that CloudTrail has signed around that time:",
            format!(
                "aws cloudtrail validate-logs --trail-arn {arn}{more} --region {} --start-time {from} --end-time {to} --verbose",
                word(region, "REGION")
            ),
        );
    }

    fn bucket_calls(&mut self, finding: &TrailFinding) {
        let bucket = finding
            .object
            .as_ref()
            .map_or("BUCKET", |(bucket, _)| bucket);
        self.lookup(
            "Find out who changed the bucket's policy, versioning or lifecycle; who wrote the object is only in its data events, if they are logged:",
            bucket,
            finding,
        );
    }

    fn trail_calls(&mut self, finding: &TrailFinding) {
        let trail = finding.chain.as_ref().map_or("TRAIL", |chain| &chain.trail);
        self.lookup(
            "Find out who stopped, changed or deleted the trail:",
            trail,
            finding,
        );
    }

    fn lookup(&mut self, text: &str, name: &str, finding: &TrailFinding) {
        let region = finding
            .chain
            .as_ref()
            .map_or(finding.region.as_str(), |chain| &chain.home_region);
        let from = finding
            .interval
            .map_or_else(|| "START_TIME".to_owned(), |it| hour_before(it.from));
        // The AWS CLI would read a comma as the next member.
        let name = match name.contains([',', '=']) {
            true => "NAME".to_owned(),
            false => word(name, "NAME"),
        };
        self.step(
            text,
            format!(
                "aws cloudtrail lookup-events --lookup-attributes AttributeKey=ResourceName,AttributeValue={name} --region {} --start-time {from}",
                word(region, "REGION")
            ),
        );
    }

    fn versions_of_digests(&mut self, finding: &TrailFinding) {
        let Some(chain) = &finding.chain else { return };
        self.step(
            "Look for delete markers among the digest files, and delete the markers to bring the files back:",
            format!(
                "aws s3api list-object-versions --bucket {} --prefix {}",
                word(&chain.bucket, "BUCKET"),
                word(&chain.digest_folder(), "PREFIX")
            ),
        );
    }

    fn restart(&mut self, finding: &TrailFinding) {
        let Some(chain) = &finding.chain else { return };
        let (arn, region) = (trail_arn(chain), word(&chain.home_region, "REGION"));
        self.step(
            "Unless it was planned, start logging and validation again:",
            format!(
                "aws cloudtrail start-logging --name {arn} --region {region}; aws cloudtrail update-trail --name {arn} --region {region} --enable-log-file-validation"
            ),
        );
    }
}

fn hour_before(time: Timestamp) -> String {
    in_seconds(
        time.checked_sub(SignedDuration::from_hours(1))
            .unwrap_or(time),
    )
}

fn in_seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The ARN of the trail. One of an organization belongs to the management account, which a digest file does not name.
fn trail_arn(chain: &Chain) -> String {
    let partition = partition::of_region(&chain.home_region);
    let account = match chain.organization {
        Some(_) => "MANAGEMENT_ACCOUNT",
        None => &chain.account,
    };
    let arn = format!(
        "arn:{partition}:cloudtrail:{}:{account}:trail/{}",
        chain.home_region, chain.trail
    );
    word(&arn, "TRAIL_ARN")
}

fn of_member(chain: &Chain) -> String {
    match chain.organization {
        Some(_) => format!(" --account-id {}", word(&chain.account, "ACCOUNT")),
        None => String::new(),
    }
}
