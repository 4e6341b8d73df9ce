//! `ACCOUNT_NAMES` as a file in S3: names that are added, broken and repaired while the function runs.

use std::time::Duration;

use cloudhsm_alerts::{
    account_names::{AccountNames, AccountSource},
    files::{LoadError, Refresh},
};
use cloudhsm_alerts_test_support::{
    emulator::Lambda,
    fixtures::{BUCKET, call, key_named, log_file_of, s3_notification},
    moto::Moto,
    published::Published,
};
use serde_json::json;

const KEY: &str = "cloudhsm-alerts/accounts.csv";

fn uri() -> String {
    format!("s3://{BUCKET}/{KEY}")
}

/// An organization has more names than fit into Lambda's 4 KB of variables.
#[test]
fn alerts_show_the_names_of_a_large_file() {
    let aws = Moto::start();
    let topic = aws.topic("t");
    let mut file = String::from("account,name\n");
    for n in 0..5000 {
        file.push_str(&format!("{n:012},account number {n}\n"));
    }
    file.push_str("111122223333,prod\n");
    aws.put(KEY, file.into_bytes());
    aws.put(&key_named("a"), log_file_of(&[call("DeleteHsm", "a")]));
    let variables = [
        ("ALERT_TOPIC_ARN", topic.as_str()),
        ("ACCOUNT_NAMES", &uri()),
    ];
    let reply = Lambda::start(&aws, &variables).invoke(&s3_notification(&[&key_named("a")]));
    assert_eq!(
        (&reply["published"], reply.get("account_name_errors")),
        (&json!(1), None),
        "{reply}"
    );
    let published = aws.published(&topic);
    assert_eq!(
        published[0].subject,
        "CRITICAL: DeleteHsm SUCCEEDED in prod us-west-2, cluster-lk3jhgf4dsa"
    );
}

#[test]
fn names_that_cannot_be_loaded_stop_no_alert_and_are_reported_once() {
    let aws = Moto::start();
    let topic = aws.topic("t");
    aws.put(KEY, b"account,name\nprod,111122223333\n".to_vec());
    for name in ["a", "b"] {
        aws.put(&key_named(name), log_file_of(&[call("DeleteHsm", name)]));
    }
    let variables = [
        ("ALERT_TOPIC_ARN", topic.as_str()),
        ("ACCOUNT_NAMES", &uri()),
    ];
    let lambda = Lambda::start(&aws, &variables);
    let first = lambda.invoke(&s3_notification(&[&key_named("a")]));
    assert_eq!(
        (&first["published"], &first["account_name_errors"]),
        (&json!(1), &json!(1)),
        "{first}"
    );
    let second = lambda.invoke(&s3_notification(&[&key_named("b")]));
    assert_eq!(second["published"], 1, "{second}");
    let published = aws.published(&topic);
    let headlines: Vec<String> = published.iter().map(Published::headline).collect();
    assert_eq!(
        headlines,
        [
            "critical DeleteHsm success",
            "high AccountNamesNotLoaded failed",
            "critical DeleteHsm success"
        ]
    );
    let problem = format!(
        "WHAT IS WRONG\n  {}: line 2: expected an account ID of twelve digits, found \"prod\"\n",
        uri()
    );
    let email = published[1].text("email");
    assert!(email.contains(&problem), "{email}");
    let log = lambda.log();
    assert!(
        log.contains("\"error_type\":\"AccountNames.Broken\""),
        "{log}"
    );
    assert!(log.contains("\"InternalErrors\":1"), "{log}");
}

#[test]
fn a_changed_file_is_read_again() {
    let aws = Moto::start();
    let names = AccountNames::parse(&uri()).expect("an address");
    let source = AccountSource::new(names, aws.s3()).refreshed_every(Duration::ZERO);
    let refresh = || aws.block_on(source.refresh(Duration::from_secs(60)));
    let name = || source.current().name("111122223333").map(str::to_owned);
    let Err(missing) = refresh() else {
        panic!("there is no file")
    };
    assert_eq!(missing.error_type, "AccountNames.Unreadable");
    assert!(
        missing.lines[0].ends_with("correct ACCOUNT_NAMES"),
        "{missing:?}"
    );
    assert_eq!(name(), None);
    for (file, expected) in [("prod", "prod"), ("production", "production")] {
        aws.put(
            KEY,
            format!("account,name\n111122223333,{file}\n").into_bytes(),
        );
        assert_eq!(refresh(), Ok(Refresh::InUse));
        assert_eq!(name().as_deref(), Some(expected));
    }
    aws.put(KEY, b"id,name\n".to_vec());
    for _ in 0..2 {
        let expected = LoadError {
            error_type: "AccountNames.Broken",
            is_temporary: false,
            is_incomplete: false,
            lines: vec![format!(
                "{}: line 1: expected the columns account and name, found \"id,name\"",
                uri()
            )],
        };
        assert_eq!(refresh(), Err(expected));
        assert_eq!(name().as_deref(), Some("production"));
    }
    aws.put(KEY, b"account,name\n".to_vec());
    assert_eq!(refresh(), Ok(Refresh::InUse));
    assert_eq!(name(), None);
}
