use std::sync::Arc;

use cloudhsm_alerts_core::{finding::Finding, rules::watched::Watched};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    options: FilterOptions,
}

fn filter(arguments: &str) -> Result<Filter, clap::Error> {
    use clap::Parser;
    let arguments = arguments.split_whitespace();
    let command = Command::try_parse_from(std::iter::once("scan").chain(arguments))?;
    Filter::new(&command.options, &Clock::default())
}

fn record() -> Record {
    let Value::Object(fields) = json!({
        "eventTime": "2026-11-23T03:50:00Z",
        "eventSource": "cloudhsm.amazonaws.com",
        "eventName": "DeleteBackup",
        "awsRegion": "us-west-2",
        "recipientAccountId": "111122223333",
        "userIdentity": {
            "type": "AssumedRole",
            "principalId": "AROAEXAMPLE:alice",
            "arn": "arn:aws:sts::444455556666:assumed-role/AdminRole/alice",
            "accountId": "444455556666",
            "accessKeyId": "ASIAEXAMPLE",
            "sessionContext": {"sessionIssuer": {
                "type": "Role",
                "userName": "AdminRole",
                "arn": "arn:aws:iam::444455556666:role/ops/AdminRole"
            }}
        },
        "errorMessage": "User: x is not authorized on resource: arn:aws:cloudhsm:us-west-2:111122223333:backup/backup-denied.",
        "requestParameters": {"backupId": "backup-zxc7vbn2mas", "list": [{"deep": "hsm-1"}]}
    }) else {
        unreachable!("an object above")
    };
    Record::new(0, fields)
}

#[test]
fn each_option_is_compared_with_what_it_names() {
    let record = record();
    for (arguments, expected) in [
        ("", None),
        ("--since 2026-11-23", None),
        ("--since 2026-11-24", Some("--since")),
        ("--until 2026-11-23", None),
        ("--until 2026-11-22", Some("--until")),
        ("--until 2026-11-23T03:49:59Z", Some("--until")),
        (
            "--since 2026-11-23T03:50:00Z --until 2026-11-23T03:50:00Z",
            None,
        ),
        ("--actor alice", None),
        ("--actor ALICE", None),
        ("--actor lice", Some("--actor")),
        ("--actor *lice", None),
        ("--actor AdminRole", None),
        ("--actor AdminRole/alice", None),
        ("--actor ASIAEXAMPLE", None),
        ("--actor AROAEXAMPLE", None),
        ("--actor 444455556666", None),
        ("--actor arn:aws:iam::444455556666:role/ops/AdminRole", None),
        ("--actor bob", Some("--actor")),
        ("--actor bob --actor alice", None),
        ("--account 111122223333", None),
        ("--account prod", None),
        ("--account 444455556666", Some("--account")),
        ("--region us-west-2", None),
        ("--region us-*", None),
        ("--region eu-west-1", Some("--region")),
        ("--resource backup-zxc7vbn2mas", None),
        ("--resource hsm-1", None),
        ("--resource backup-denied", None),
        (
            "--resource arn:aws:cloudhsm:us-west-2:111122223333:backup/backup-denied",
            None,
        ),
        ("--resource backup-zxc", Some("--resource")),
        ("--event-name deletebackup", None),
        ("--event-name DeleteHsm", Some("--event-name")),
        ("--event-name DeleteHsm --event-name DeleteBackup", None),
        (
            "--event-name DeleteBackup --region eu-west-1",
            Some("--region"),
        ),
    ] {
        let filter = filter(arguments).unwrap();
        let names = |id: &str| (id == "111122223333").then_some("prod");
        assert_eq!(
            filter.record_excluded_by(&record, names),
            expected,
            "{arguments}"
        );
    }
}

#[test]
fn a_call_without_a_time_is_in_every_period() {
    let Value::Object(fields) = json!({"eventName": "DeleteHsm", "eventTime": "soon"}) else {
        unreachable!("an object above")
    };
    let filter = filter("--since 2026-11-23 --until 2026-11-24").unwrap();
    assert_eq!(
        filter.record_excluded_by(&Record::new(0, fields), |_| None),
        None
    );
}

#[test]
fn a_finding_is_chosen_by_its_rules() {
    let set = RuleSet::builtin(&Watched::default()).unwrap();
    let rule = Arc::clone(
        set.rules()
            .iter()
            .find(|rule| rule.name == "hsm-deleted")
            .unwrap(),
    );
    let finding = Finding {
        record: record(),
        rules: vec![Arc::clone(&rule)],
        suppressed: Vec::new(),
        now: Timestamp::constant(1_795_392_000, 0),
    };
    for (arguments, expected) in [
        ("--rule hsm-deleted".to_owned(), None),
        (format!("--rule {}", rule.id), None),
        ("--rule hsm-*".to_owned(), None),
        ("--rule hsm-created".to_owned(), Some("--rule")),
        ("--rule hsm-created --rule hsm-deleted".to_owned(), None),
    ] {
        let filter = filter(&arguments).unwrap();
        assert_eq!(
            filter.excluded_by(&finding, |_| None),
            expected,
            "{arguments}"
        );
        filter.check_rules(&set).unwrap();
    }
    for (arguments, expected) in [
        (
            "--rule hsm-delet",
            "error: --rule \"hsm-delet\": there is no such rule; did you mean hsm-deleted?\n",
        ),
        (
            "--rule no-such",
            "error: --rule \"no-such\": there is no such rule; `cloudhsm-alerts rules list` shows all rules\n",
        ),
    ] {
        let error = filter(arguments).unwrap().check_rules(&set).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.exit_code()),
            (expected, 2)
        );
    }
}

#[test]
fn contradictions_are_errors_of_usage() {
    for (arguments, expected) in [
        (
            "--since 2026-11-02 --until 2026-11-01",
            "error: --since 2026-11-02 is later than --until 2026-11-01: no call can be in between\n",
        ),
        (
            "--since 1h --until 2h",
            "error: --since 1h is later than --until 2h: no call can be in between\n",
        ),
    ] {
        let error = filter(arguments).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.exit_code()),
            (expected, 2)
        );
    }
}

#[test]
fn what_was_filtered_out_is_counted_by_option() {
    let mut counts = FilteredOut::default();
    counts.count("--since");
    let mut more = FilteredOut::default();
    more.count("--actor");
    more.count("--since");
    counts.add(more);
    assert_eq!(
        (counts.total(), counts.describe().as_str()),
        (3, "3 filtered out (1 by --actor, 2 by --since)")
    );
}
