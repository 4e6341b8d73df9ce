//! The Sigma specification, form by form: `tests/data/sigma_2_1.json` has a detection, members of a record, and
//! whether the specification has the rule match it. What the program does otherwise it must refuse when the rule
//! is loaded, and never take and evaluate in another way.
//!
//! The table was written from the Sigma Rules Specification and its Modifiers Appendix 2.1, with pySigma 2.0.1 as a
//! second opinion.

use super::*;

/// Forms that the specification settles and that are refused all the same.
const REFUSED: usize = 15;

#[test]
fn every_form_is_evaluated_as_specified_or_refused() {
    let table: Vec<(String, String, String, Value)> =
        serde_json::from_str(include_str!("sigma_2_1.json")).unwrap();
    assert!(table.len() > 1000);
    let mut wrong = Vec::new();
    let mut refused = Vec::new();
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
            Ok(rules) if met(&rules, record).is_empty() => "miss",
            Ok(_) => "match",
        };
        // What the specification does not settle, or what is refused although it could be taken, may be either.
        if found == "refuse" && matches!(expected.as_str(), "match" | "miss") {
            refused.push(name.clone());
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
    // A table of nothing but refusals would hold, too.
    assert_eq!(refused.len(), REFUSED, "{refused:#?}");
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
