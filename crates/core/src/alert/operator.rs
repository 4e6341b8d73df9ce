//! The operational notice: a message about the function itself.
//!
//! It goes to the same topics as the alerts about calls, because people are known to be subscribed to those. Its
//! `event_name` and `actor_type` attributes distinguish it for a filter policy.

use jiff::Timestamp;
use serde_json::json;

use super::{
    message::{Attribute, Message, Parts},
    ocsf,
    sms::{MAX_SMS, gsm7},
};
use crate::severity::Severity;

/// The severity of every notice.
pub const SEVERITY: Severity = Severity::High;

/// A notice: the message for the alert topic, and the page.
#[derive(Debug)]
pub struct Notice {
    /// For the alert topic.
    pub message: Message,
    /// For the paging topic.
    pub page: Message,
}

/// What could not be loaded.
#[derive(Debug, Clone, Copy)]
pub enum NotLoaded {
    /// Rules; the number of rules that stay in use.
    Rules(usize),
    /// Account names.
    AccountNames,
}

/// The notice that the files of `uri` could not be loaded. `problems` has one line for each error, with its file.
pub fn not_loaded(what: NotLoaded, uri: &str, problems: &[String], now: Timestamp) -> Notice {
    let (noun, event_name, uid, in_use, check) = match what {
        NotLoaded::Rules(in_use) => (
            "rules",
            "RulesNotLoaded",
            "rules-not-loaded",
            format!("Alerting goes on with the {in_use} rules that were in use before."),
            "Check rules before you put them there:\n      cloudhsm-alerts rules check FOLDER\n",
        ),
        NotLoaded::AccountNames => (
            "account names",
            "AccountNamesNotLoaded",
            "account-names-not-loaded",
            "Alerts show the names that were in use before, or account IDs alone.".to_owned(),
            "The first line of the file is account,name. Each other line has an account ID of twelve digits and its name.\n",
        ),
    };
    let lines: String = problems
        .iter()
        .map(|problem| format!("  {problem}\n"))
        .collect();
    let email = format!(
        "The {noun} of cloudhsm-alerts were not loaded\n\nWHAT HAPPENED\n  {uri} cannot be used. {in_use}\n\nWHAT IS WRONG\n{lines}\nWHAT TO DO NOW\n  Fix the errors above. The function loads the {noun} again after its next log file, a minute later at the earliest.\n  {check}"
    );
    let first = problems.first().map_or("", String::as_str);
    let title = match what {
        NotLoaded::Rules(_) => "Rules were not loaded",
        NotLoaded::AccountNames => "Account names were not loaded",
    };
    let mut finding = ocsf::base_finding(
        SEVERITY,
        now.as_millisecond(),
        uid,
        title,
        &format!("{uri} cannot be used. {in_use} {first}"),
    );
    finding["cloud"] = json!({ "provider": "AWS" });
    finding["remediation"] =
        json!({ "desc": format!("Fix the errors in {uri}. {}", check.trim_end()) });
    finding["unmapped"] = json!({ "uri": uri, "problems": problems });
    let attribute = |value: &str| Attribute::One(value.to_owned());
    let parts = Parts {
        subject: format!(
            "cloudhsm-alerts: {noun} were NOT loaded{}",
            match what {
                NotLoaded::Rules(_) => ", the previous ones stay in use",
                NotLoaded::AccountNames => "",
            }
        ),
        finding,
        email: Some(email),
        attributes: vec![
            ("severity", attribute(SEVERITY.as_str())),
            ("event_name", attribute(event_name)),
            ("outcome", attribute("failed")),
            ("actor_type", attribute("cloudhsm-alerts")),
        ],
    };
    let page = format!("cloudhsm-alerts: {noun} NOT loaded. {first}");
    Notice {
        message: Message::compose(parts, None),
        page: Message::page(gsm7(&page, MAX_SMS)),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_notices() {
        let problems =
            ["s3://config/accounts.csv:2: expected twelve digits, found \"prod\"".to_owned()];
        let notice = not_loaded(
            NotLoaded::AccountNames,
            "s3://config/accounts.csv",
            &problems,
            Timestamp::UNIX_EPOCH,
        );
        let body: Value = serde_json::from_str(&notice.message.body).unwrap();
        assert_snapshot!(format!("{}\n\n{}---\n{}", notice.message.subject.unwrap(), body["email"].as_str().unwrap(), notice.page.body), @r#"
        cloudhsm-alerts: account names were NOT loaded

        The account names of cloudhsm-alerts were not loaded

        WHAT HAPPENED
          s3://config/accounts.csv cannot be used. Alerts show the names that were in use before, or account IDs alone.

        WHAT IS WRONG
          s3://config/accounts.csv:2: expected twelve digits, found "prod"

        WHAT TO DO NOW
          Fix the errors above. The function loads the account names again after its next log file, a minute later at the earliest.
          The first line of the file is account,name. Each other line has an account ID of twelve digits and its name.
        ---
        cloudhsm-alerts: account names NOT loaded. s3(://)config/accounts.csv:2: expected twelve digits, found "prod"
        "#);
    }
}
