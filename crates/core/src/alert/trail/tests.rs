use cloudhsm_alerts_test_support::aws_cli;
use insta::assert_snapshot;

use super::*;
use crate::digest::key::DigestKey;

const KEY: &str = "AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/111122223333_CloudTrail_us-west-2_20261123T0355Z_Kd83hFq0aPzW61Lm.json.gz";

fn chain() -> Chain {
    let key = "AWSLogs/111122223333/CloudTrail-Digest/us-west-2/2026/11/23/111122223333_CloudTrail-Digest_us-west-2_audit_us-east-1_20261123T050000Z.json.gz";
    DigestKey::parse("trail", key).expect("a digest file").chain
}

fn finding(kind: Kind) -> TrailFinding {
    let is_object = matches!(
        kind,
        Kind::LogFileAltered | Kind::LogFileMissing | Kind::LogFileReplaced | Kind::FileRemoved
    );
    TrailFinding {
        kind,
        subject: format!("trail/{KEY}"),
        account: "111122223333".into(),
        region: "us-west-2".into(),
        chain: Some(chain()),
        object: is_object.then(|| ("trail".into(), KEY.into())),
        interval: Some(Interval {
            from: "2026-11-23T04:00:00Z".parse().unwrap(),
            to: "2026-11-23T05:00:00Z".parse().unwrap(),
        }),
        detail: "The content is not the one that CloudTrail delivered.".into(),
        caller: None,
    }
}

fn notice(findings: &[TrailFinding]) -> Notice {
    let findings: Vec<&TrailFinding> = findings.iter().collect();
    let accounts = Accounts::parse("111122223333=prod").unwrap();
    message(&findings, Timestamp::UNIX_EPOCH, &accounts).expect("a notice")
}

fn body(notice: &Notice) -> Value {
    serde_json::from_str(&notice.message.body).unwrap()
}

#[test]
fn an_altered_log_file() {
    let notice = notice(&[finding(Kind::LogFileAltered)]);
    assert_snapshot!(format!("{}\n\n{}---\n{}", notice.message.subject.clone().unwrap(), body(&notice)["email"].as_str().unwrap(), notice.page.body), @r#"
    CRITICAL: A CloudTrail log file was altered, prod (111122223333) us-west-2

    A CloudTrail log file was altered

    WHAT HAPPENED
      s3://trail/AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/111122223333_CloudTrail_us-west-2_20261123T0355Z_Kd83hFq0aPzW61Lm.json.gz
        The content is not the one that CloudTrail delivered.
        prod (111122223333), us-west-2. Trail audit. From 2026-11-23 04:00 UTC to 2026-11-23 05:00 UTC.

    WHAT IT MEANS
      Somebody wrote the object after CloudTrail had delivered it. Calls may have been removed from it, and alerts about them may be missing.

    WHAT TO DO NOW
      1. List the versions of the object: the oldest is what CloudTrail delivered.
           aws s3api list-object-versions --bucket trail --prefix AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/111122223333_CloudTrail_us-west-2_20261123T0355Z_Kd83hFq0aPzW61Lm.json.gz
      2. Copy the original back, with its VERSION_ID. The function reads it then.
           aws s3api copy-object --bucket trail --key AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/111122223333_CloudTrail_us-west-2_20261123T0355Z_Kd83hFq0aPzW61Lm.json.gz --copy-source 'trail/AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/111122223333_CloudTrail_us-west-2_20261123T0355Z_Kd83hFq0aPzW61Lm.json.gz?versionId=VERSION_ID'
      3. Check everything that CloudTrail has signed around that time:
           aws cloudtrail validate-logs --trail-arn arn:aws:cloudtrail:us-east-1:111122223333:trail/audit --region us-west-2 --start-time 2026-11-23T03:00:00Z --end-time 2026-11-23T05:00:00Z --verbose
      4. Find out who changed the bucket's policy, versioning or lifecycle; who wrote the object is only in its data events, if they are logged:
           aws cloudtrail lookup-events --lookup-attributes AttributeKey=ResourceName,AttributeValue=trail --region us-east-1 --start-time 2026-11-23T03:00:00Z

    CloudTrail signs an hourly list of the log files that it delivers. cloudhsm-alerts compares each list with what is in the bucket.
    ---
    CRITICAL A CloudTrail log file was altered, prod us-west-2: 111122223333_CloudTrail_us-west-2_20261123T0355Z_Kd83hFq0aPzW61Lm
    "#);
}

#[test]
fn a_silent_chain() {
    let notice = notice(&[finding(Kind::DigestSilent)]);
    assert_snapshot!(format!("{}\n\n{}---\n{}", notice.message.subject.clone().unwrap(), body(&notice)["email"].as_str().unwrap(), notice.page.body), @r#"
    HIGH: CloudTrail delivers no digest files any more, prod (111122223333) us-west-2

    CloudTrail delivers no digest files any more

    WHAT HAPPENED
      account 111122223333, us-west-2, trail audit of us-east-1
        The content is not the one that CloudTrail delivered.
        prod (111122223333), us-west-2. Trail audit. From 2026-11-23 04:00 UTC to 2026-11-23 05:00 UTC.

    WHAT IT MEANS
      One digest file an hour is due. The trail or its log file validation was switched off, the digest files are deleted, or their notifications do not arrive.

    WHAT TO DO NOW
      1. Find out who stopped, changed or deleted the trail:
           aws cloudtrail lookup-events --lookup-attributes AttributeKey=ResourceName,AttributeValue=audit --region us-east-1 --start-time 2026-11-23T03:00:00Z
      2. Unless it was planned, start logging and validation again:
           aws cloudtrail start-logging --name arn:aws:cloudtrail:us-east-1:111122223333:trail/audit --region us-east-1; aws cloudtrail update-trail --name arn:aws:cloudtrail:us-east-1:111122223333:trail/audit --region us-east-1 --enable-log-file-validation
      3. Check everything that CloudTrail has signed around that time:
           aws cloudtrail validate-logs --trail-arn arn:aws:cloudtrail:us-east-1:111122223333:trail/audit --region us-west-2 --start-time 2026-11-23T03:00:00Z --end-time 2026-11-23T05:00:00Z --verbose

    CloudTrail signs an hourly list of the log files that it delivers. cloudhsm-alerts compares each list with what is in the bucket.
    ---
    HIGH CloudTrail delivers no digest files any more, prod us-west-2: audit
    "#);
}

#[test]
fn a_removed_file() {
    let time = "2026-11-23T04:10:44Z".parse().unwrap();
    let notice = notice(&[TrailFinding {
        chain: None,
        interval: Some(Interval {
            from: time,
            to: time,
        }),
        detail: "A delete marker hides it since 2026-11-23T04:10:44Z.".into(),
        caller: Some("AWS:AROAI6ZMWVXR3EXAMPLE:mallory".into()),
        ..finding(Kind::FileRemoved)
    }]);
    assert_snapshot!(format!("{}\n\n{}---\n{}", notice.message.subject.clone().unwrap(), body(&notice)["email"].as_str().unwrap(), notice.page.body), @r#"
    CRITICAL: Somebody removed a CloudTrail file, prod (111122223333) us-west-2

    Somebody removed a CloudTrail file

    WHAT HAPPENED
      s3://trail/AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/111122223333_CloudTrail_us-west-2_20261123T0355Z_Kd83hFq0aPzW61Lm.json.gz
        A delete marker hides it since 2026-11-23T04:10:44Z.
        prod (111122223333), us-west-2. At 2026-11-23 04:10 UTC.

    WHAT IT MEANS
      CloudTrail deletes nothing, and a lifecycle rule is not reported here. Deleted log files hide calls from an investigation. Alerts about calls in a log file that this function had read were published; the next digest file shows whether it was.

    WHAT TO DO NOW
      1. List what is left of it: versions, and the delete marker that hides them.
           aws s3api list-object-versions --bucket trail --prefix AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/111122223333_CloudTrail_us-west-2_20261123T0355Z_Kd83hFq0aPzW61Lm.json.gz
      2. Delete the delete marker, with its VERSION_ID, to bring the file back. If no version is left, only a replica or a backup has it.
           aws s3api delete-object --bucket trail --key AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/111122223333_CloudTrail_us-west-2_20261123T0355Z_Kd83hFq0aPzW61Lm.json.gz --version-id VERSION_ID
      3. Find out who that is, in the account of the caller, and take the permission away:
           aws iam list-roles --query "Roles[?RoleId=='AROAI6ZMWVXR3EXAMPLE'].Arn" --output text
      4. Find out who changed the bucket's policy, versioning or lifecycle; who wrote the object is only in its data events, if they are logged:
           aws cloudtrail lookup-events --lookup-attributes AttributeKey=ResourceName,AttributeValue=trail --region us-west-2 --start-time 2026-11-23T03:10:44Z
      5. Check everything that CloudTrail has signed around that time:
           aws cloudtrail validate-logs --trail-arn TRAIL_ARN --region us-west-2 --start-time 2026-11-23T03:10:44Z --end-time 2026-11-23T04:10:44Z --verbose

    CloudTrail signs an hourly list of the log files that it delivers. cloudhsm-alerts compares each list with what is in the bucket.
    ---
    CRITICAL Somebody removed a CloudTrail file, prod us-west-2: 111122223333_CloudTrail_us-west-2_20261123T0355Z_Kd83hFq0aPzW61Lm
    "#);
}

#[test]
fn the_id_of_a_caller_is_looked_up_and_reaches_no_shell() {
    for (caller, expected) in [
        (
            "AWS:AROAEXAMPLE:session",
            Some("aws iam list-roles --query \"Roles[?RoleId=='AROAEXAMPLE'].Arn\" --output text"),
        ),
        (
            "AWS:AIDAEXAMPLE",
            Some("aws iam list-users --query \"Users[?UserId=='AIDAEXAMPLE'].Arn\" --output text"),
        ),
        ("AWS:111122223333", None),
        ("111122223333", None),
        ("AWS:AIDA`id`", None),
        ("AWS:AIDA'].Arn\"; id", None),
        ("", None),
    ] {
        let notice = notice(&[TrailFinding {
            caller: Some(caller.into()),
            ..finding(Kind::FileRemoved)
        }]);
        let body = body(&notice);
        let mail = body["email"].as_str().unwrap();
        let found = mail
            .lines()
            .map(str::trim)
            .find(|line| line.starts_with("aws iam"));
        assert_eq!(found, expected, "{caller}");
    }
}

#[test]
fn every_kind_is_a_valid_message_with_commands() {
    for kind in Kind::ALL {
        let one = notice(&[finding(kind)]);
        let subject = one.message.subject.clone().unwrap();
        assert!(subject.len() < 100 && subject.is_ascii(), "{subject}");
        assert!(one.page.body.len() <= MAX_SMS, "{}", one.page.body);
        let finding: Value = serde_json::from_str(body(&one)["default"].as_str().unwrap()).unwrap();
        assert_eq!(finding["unmapped"]["code"], kind.code());
        let remedy = finding["remediation"]["desc"].as_str().unwrap();
        assert!(remedy.contains("aws cloudtrail validate-logs --trail-arn arn:aws:cloudtrail:us-east-1:111122223333:trail/audit --region us-west-2 --start-time 2026-11-23T03:00:00Z --end-time 2026-11-23T05:00:00Z"), "{remedy}");
        let lines = remedy.lines().map(str::trim);
        for line in lines.filter(|line| line.starts_with("aws ")) {
            for command in line.split("; ") {
                assert_eq!(aws_cli::check(command), Ok(()), "{command}");
            }
        }
    }
}

#[test]
fn a_thousand_findings_with_the_longest_names_are_one_message() {
    let many: Vec<TrailFinding> = (0..1000)
        .map(|n| TrailFinding {
            subject: n.to_string(),
            object: Some(("b".repeat(63), format!("{n}{}", "\u{1b}é".repeat(400)))),
            detail: "x\"".repeat(2000),
            ..finding(Kind::LogFileMissing)
        })
        .collect();
    let notice = notice(&many);
    assert!(notice.message.bytes() <= super::super::message::MAX_BYTES);
    let body = body(&notice);
    assert!(
        body["email"]
            .as_str()
            .unwrap()
            .contains("\n  and 980 more\n")
    );
    let finding: Value = serde_json::from_str(body["default"].as_str().unwrap()).unwrap();
    assert_eq!(finding["unmapped"]["count"], 1000);
}

#[test]
fn names_do_not_reach_a_shell() {
    let hostile = TrailFinding {
        object: Some(("trail".into(), "x'; rm -rf ~ #.json.gz".into())),
        ..finding(Kind::LogFileReplaced)
    };
    let notice = notice(&[hostile]);
    let body = body(&notice);
    let mail = body["email"].as_str().unwrap();
    assert!(
        mail.contains(r"--prefix 'x'\''; rm -rf ~ #.json.gz'"),
        "{mail}"
    );
    assert!(
        mail.contains(r"--copy-source 'trail/x'\''; rm -rf ~ #.json.gz?versionId=VERSION_ID'"),
        "{mail}"
    );
}
