//! The operational notice: a message about the function itself.
//!
//! It goes to the same topic as the alerts about calls, because people are known to be subscribed to that. Its
//! `event_name` and `actor_type` attributes distinguish it for a filter policy.

use jiff::Timestamp;
use serde_json::json;

use super::{
    message::{Attribute, Message, Parts},
    ocsf,
    sms::gsm7,
};
use crate::severity::Severity;

/// The notice that the rules of `uri` could not be loaded. `problems` has one line for each error, with its file;
/// `in_use` is the number of rules that stay in use.
pub fn rules_not_loaded(uri: &str, problems: &[String], in_use: usize, now: Timestamp) -> Message {
    let subject = "cloudhsm-alerts: rules were NOT loaded, the previous ones stay in use";
    let mut email = format!(
        "Rules for cloudhsm-alerts were not loaded\n\nWHAT HAPPENED\n  The rule files in {uri} cannot be used. Alerting goes on with the {in_use} rules that were in use before.\n\nWHAT IS WRONG\n"
    );
    for problem in problems {
        email.push_str(&format!("  {problem}\n"));
    }
    email.push_str(
        "\nWHAT TO DO NOW\n  Fix the errors above. The function loads the rules again after its next log file, a minute later at the earliest.\n  Check rules before you put them there:\n      cloudhsm-alerts rules check FOLDER\n",
    );
    let first = problems.first().map_or("", String::as_str);
    let sentence = format!(
        "The rule files in {uri} cannot be used; the {in_use} rules that were in use before stay. {first}"
    );
    let mut finding = ocsf::base_finding(
        Severity::High,
        now.as_millisecond(),
        "rules-not-loaded",
        "Rules were not loaded",
        &sentence,
    );
    finding["cloud"] = json!({ "provider": "AWS" });
    finding["remediation"] = json!({ "desc": "Fix or remove the files named; check rules with `cloudhsm-alerts rules check` before deploying them." });
    finding["unmapped"] = json!({ "rules_uri": uri, "problems": problems });
    let sms = gsm7(
        &format!("cloudhsm-alerts: rules NOT loaded, previous ones stay. {first}"),
        super::sms::MAX_SMS,
    );
    let attribute = |value: &str| Attribute::One(value.to_owned());
    let parts = Parts {
        subject: subject.to_owned(),
        finding,
        email: Some(email),
        sms: Some(sms),
        attributes: vec![
            ("severity", attribute(Severity::High.as_str())),
            ("event_name", attribute("RulesNotLoaded")),
            ("outcome", attribute("failed")),
            ("actor_type", attribute("cloudhsm-alerts")),
        ],
    };
    Message::compose(parts, None)
}
