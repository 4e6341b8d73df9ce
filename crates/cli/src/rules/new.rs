//! `rules new`: writes a rule with its tests, to start from. What it writes passes `rules check` and `rules test`.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use cloudhsm_alerts::clock::Clock;
use uuid::Uuid;

use crate::terminal::shown;

#[derive(Args)]
pub struct Arguments {
    /// The name of the rule, in lower case with hyphens, such as backup-copied-abroad
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// Folder to write NAME.yml to
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
}

/// Letters, digits and single hyphens, beginning with a letter.
fn name(text: &str) -> Result<String, String> {
    let is_part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let starts_with_letter = text.starts_with(|first: char| first.is_ascii_lowercase());
    if starts_with_letter && text.len() <= 80 && text.split('-').all(is_part) {
        Ok(text.to_owned())
    } else {
        Err(
            "expected lower-case letters, digits and single hyphens, such as backup-copied-abroad"
                .into(),
        )
    }
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let path = arguments.folder.join(format!("{}.yml", arguments.name));
    let place = shown(&path.to_string_lossy());
    fs::create_dir_all(&arguments.folder)
        .and_then(|()| File::create_new(&path))
        .and_then(|mut file| file.write_all(rule(&arguments.name).as_bytes()))
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("{place}: the file exists; choose another name or folder")
            }
            _ => format!("{place}: {error}"),
        })?;
    let folder = shown(&arguments.folder.to_string_lossy());
    eprintln!(
        "{place} written. Change it, then:\n  cloudhsm-alerts rules check {folder}\n  cloudhsm-alerts rules test {folder}"
    );
    Ok(ExitCode::SUCCESS)
}

/// A rule for copies of backups to other regions, by anyone but one role.
fn rule(name: &str) -> String {
    let title = name.replace('-', " ");
    let (first, rest) = title.split_at(1);
    format!(
        r#"title: {}{rest}
id: {}
name: {name}
status: experimental
description: |
  What happened, and why it matters to somebody who knows CloudHSM but not this rule.
references:
  - https://docs.aws.amazon.com/cloudhsm/latest/APIReference/API_CopyBackupToRegion.html
author: your team
date: {}
tags:
  - attack.exfiltration
  - attack.t1537
logsource:
  product: aws
  service: cloudtrail
detection:
  call:
    eventSource: cloudhsm.amazonaws.com
    eventName: CopyBackupToRegion
  known:
    userIdentity.sessionContext.sessionIssuer.userName: backup-copier
  condition: call and not known
falsepositives:
  - The cases in which this is planned
level: medium
response:
  success: |
    What to do now, first what is urgent.
    1. See which copies there are:
        aws cloudhsmv2 describe-backups --region {{destinationRegion|REGION}}
  denied: |
    The call was refused. Find out who uses {{actor}}.
  failed: |
    The call failed. Find out who uses {{actor}}.
tests:
  - matches: a copy by someone else
    record:
      eventSource: cloudhsm.amazonaws.com
      eventName: CopyBackupToRegion
      userIdentity: {{type: IAMUser, userName: alice}}
      requestParameters: {{backupId: backup-zxc7vbn2mas, destinationRegion: eu-west-1}}
  - misses: a copy by the role that makes them
    record:
      eventSource: cloudhsm.amazonaws.com
      eventName: CopyBackupToRegion
      userIdentity: {{type: AssumedRole, sessionContext: {{sessionIssuer: {{userName: backup-copier}}}}}}
  - misses: a deleted backup
    record:
      eventSource: cloudhsm.amazonaws.com
      eventName: DeleteBackup
      userIdentity: {{type: IAMUser, userName: alice}}
"#,
        first.to_uppercase(),
        Uuid::new_v4(),
        Clock::default().today(),
    )
}
