//! The names of the ATT&CK techniques in the tags of the built-in rules.
//!
//! A technique that is not listed, such as one in the tag of your own rule, has an ID alone.
//! Source: MITRE ATT&CK for Enterprise, version 19.

use serde_json::{Value, json};

/// The version of ATT&CK that the IDs and names are of.
pub(super) const VERSION: &str = "19";

/// IDs and names. A sub-technique follows its technique.
const NAMES: [(&str, &str); 26] = [
    ("T1059", "Command and Scripting Interpreter"),
    ("T1059.009", "Cloud API"),
    ("T1070", "Indicator Removal"),
    ("T1074", "Data Staged"),
    ("T1078", "Valid Accounts"),
    ("T1078.004", "Cloud Accounts"),
    ("T1098", "Account Manipulation"),
    ("T1098.003", "Additional Cloud Roles"),
    ("T1199", "Trusted Relationship"),
    ("T1485", "Data Destruction"),
    ("T1485.001", "Lifecycle-Triggered Deletion"),
    ("T1486", "Data Encrypted for Impact"),
    ("T1489", "Service Stop"),
    ("T1490", "Inhibit System Recovery"),
    ("T1530", "Data from Cloud Storage"),
    ("T1531", "Account Access Removal"),
    ("T1535", "Unused/Unsupported Cloud Regions"),
    ("T1537", "Transfer Data to Cloud Account"),
    ("T1553", "Subvert Trust Controls"),
    ("T1578", "Modify Cloud Compute Infrastructure"),
    ("T1578.002", "Create Cloud Instance"),
    ("T1580", "Cloud Infrastructure Discovery"),
    ("T1685", "Disable or Modify Tools"),
    ("T1685.002", "Disable or Modify Cloud Log"),
    ("T1686", "Disable or Modify System Firewall"),
    ("T1686.001", "Cloud Firewall"),
];

/// The OCSF `attack` of a technique such as `T1485` or `T1685.002`.
pub(super) fn attack(id: &str) -> Value {
    let part = |id: &str| {
        let name = NAMES.iter().find(|(known, _)| *known == id);
        json!({ "uid": id, "name": name.map(|(_, name)| *name) })
    };
    match id.split_once('.') {
        Some((technique, _)) => json!({
            "technique": part(technique), "sub_technique": part(id), "version": VERSION,
        }),
        None => json!({ "technique": part(id), "version": VERSION }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{RuleSet, watched::Watched};

    #[test]
    fn every_technique_of_the_built_in_rules_has_a_name() {
        let rules = RuleSet::builtin(&Watched::default()).unwrap();
        let mut used: Vec<String> = Vec::new();
        for id in rules.rules().iter().flat_map(|rule| &rule.techniques) {
            used.push(id.clone());
            used.extend(
                id.split_once('.')
                    .map(|(technique, _)| technique.to_owned()),
            );
        }
        used.sort();
        used.dedup();
        let named: Vec<String> = NAMES.iter().map(|(id, _)| (*id).to_owned()).collect();
        assert_eq!(used, named);
        assert_eq!(
            attack("T1685.002"),
            json!({
                "technique": {"uid": "T1685", "name": "Disable or Modify Tools"},
                "sub_technique": {"uid": "T1685.002", "name": "Disable or Modify Cloud Log"},
                "version": "19",
            })
        );
        assert_eq!(
            attack("T9999")["technique"],
            json!({"uid": "T9999", "name": null})
        );
    }
}
