//! The Sigma specification: each entry of `sigma_2_1.json` has a detection, members of a record, and whether the record
//! matches according to the specification. A rule that this program would evaluate differently must be rejected when
//! it is loaded.
//!
//! The table was written from the Sigma Rules Specification and its Modifiers Appendix 2.1, and compared with pySigma
//! 2.0.1.

use super::*;

/// Number of forms that the specification defines and that are rejected anyway.
const REJECTED: usize = 15;

#[test]
fn every_form_is_evaluated_as_specified_or_rejected() {
    let table: Vec<(String, String, String, Value)> =
        serde_json::from_str(include_str!("sigma_2_1.json")).unwrap();
    assert!(table.len() > 1000);
    let mut wrong = Vec::new();
    let mut rejected = Vec::new();
    for (name, expected, detection, members) in table {
        let indented: String = detection
            .lines()
            .map(|line| format!("  {line}\n"))
            .collect();
        let mut record = json!({
            "eventVersion": "1.11", "eventTime": "2026-11-23T03:41:09Z", "eventSource": "cloudhsm.amazonaws.com",
            "eventName": "ModifyCluster", "eventID": "e-1",
        });
        for (member, value) in members.as_object().unwrap() {
            record[member] = value.clone();
        }
        let found = match RuleSet::of(&[file("r.yml", &rule_with(&indented))], &Watched::default())
        {
            Err(_) => "refuse",
            Ok(rules) if matched(&rules, record).is_empty() => "miss",
            Ok(_) => "match",
        };
        // A form that the specification leaves open may be evaluated or rejected.
        if found == "refuse" && matches!(expected.as_str(), "match" | "miss") {
            rejected.push(name.clone());
        }
        let is_right = match expected.as_str() {
            "match-or-refuse" => found != "miss",
            "refuse" => found == "refuse",
            expected => found == expected || found == "refuse",
        };
        if !is_right {
            wrong.push(format!(
                "{name}: expected {expected}, found {found}\n{detection}"
            ));
        }
    }
    // Otherwise, a program that rejects everything would pass.
    assert_eq!(rejected.len(), REJECTED, "{rejected:#?}");
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
