//! Filters: what they suppress, what they must not suppress, and which are rejected.

use super::*;

const FILTER: &str = "title: The deployment role in dev
id: 99999999-2222-4333-8444-555555555555
name: deploys-in-dev
logsource: {product: aws, service: cloudtrail}
filter:
  rules: [t]
  selection:
    userIdentity.sessionContext.sessionIssuer.userName: deployer
    recipientAccountId: '444455556666'
  condition: not selection
";

fn deployed(account: &str) -> Value {
    let mut record = call("DeleteBackup");
    record["recipientAccountId"] = account.into();
    record["userIdentity"] = json!({"type": "AssumedRole", "sessionContext": {"sessionIssuer": {"userName": "deployer"}}});
    record
}

/// The rules that a record matches, and the suppressed ones with their filters.
fn evaluated(filter: &str, record: Value) -> (Vec<String>, Vec<String>) {
    let files = [file("r.yml", RULE), file("f.yml", filter)];
    let rules = RuleSet::of(&files, &Watched::default()).unwrap();
    let matched = rules.evaluate(&super::record(record), NOW);
    (
        matched.rules.iter().map(|rule| rule.name.clone()).collect(),
        matched
            .suppressed
            .iter()
            .map(|Suppressed { rule, filter }| format!("{} {}", rule.name, filter.name))
            .collect(),
    )
}

#[test]
fn a_filter_suppresses_only_what_it_selects() {
    let matching = (vec!["t".to_owned()], Vec::<String>::new());
    let suppressed = (Vec::<String>::new(), vec!["t deploys-in-dev".to_owned()]);
    for (filter, record, expected) in [
        (FILTER.to_owned(), deployed("444455556666"), &suppressed),
        (FILTER.to_owned(), deployed("111122223333"), &matching),
        (FILTER.to_owned(), call("DeleteBackup"), &matching),
        // By id, and for every rule.
        (
            FILTER.replace("[t]", "11111111-2222-4333-8444-555555555555"),
            deployed("444455556666"),
            &suppressed,
        ),
        (
            FILTER.replace("[t]", "any"),
            deployed("444455556666"),
            &suppressed,
        ),
        // The filter of another rule.
        (
            FILTER.replace("[t]", "[u]"),
            deployed("444455556666"),
            &matching,
        ),
        // The filter is valid on its last day.
        (
            format!("{FILTER}status: unsupported\n"),
            deployed("444455556666"),
            &matching,
        ),
        (
            format!("{FILTER}expires: 2026-11-25\n"),
            deployed("444455556666"),
            &suppressed,
        ),
        (
            format!("{FILTER}expires: 2026-11-24\n"),
            deployed("444455556666"),
            &matching,
        ),
    ] {
        assert_eq!(
            evaluated(&filter, record.clone()),
            *expected,
            "{filter} {record}"
        );
    }
}

#[test]
fn other_rules_still_match() {
    let other = RULE.replace("id: 1", "id: 2").replace("name: t", "name: u");
    let files = [
        file("r.yml", RULE),
        file("u.yml", &other),
        file("f.yml", FILTER),
    ];
    let rules = RuleSet::of(&files, &Watched::default()).unwrap();
    let matched = rules.evaluate(&record(deployed("444455556666")), NOW);
    assert_eq!(matched.rules.len(), 1);
    assert_eq!(matched.rules[0].name, "u");
    assert_eq!(matched.suppressed[0].rule.name, "t");
}

#[test]
fn a_filter_that_would_suppress_every_match_is_rejected() {
    let errors = |text: &str| match RuleSet::of(&[file("f.yml", text)], &Watched::default()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
    };
    for (text, expected) in [
        (
            FILTER.replace("condition: not selection", "condition: selection"),
            "f.yml:10: filter.condition: would suppress all matches of its rules; a match is kept if the condition is true; write `not selection`, with a selection that matches what to suppress",
        ),
        (
            FILTER.replace("  rules: [t]\n", ""),
            "f.yml:5: filter.rules: expected a list of rule ids or names, or `any` for all rules; list the rules whose matches the filter suppresses",
        ),
        (
            FILTER.replace("[t]", "[]"),
            "f.yml:6: filter.rules: expected a list of rule ids or names, or `any` for all rules; list the rules whose matches the filter suppresses",
        ),
        (
            format!("{FILTER}expires: next year\n"),
            "f.yml:11: expires: expected a date such as 2026-12-31, found \"next year\"; it is the last day, in UTC, on which the filter suppresses matches",
        ),
        (
            format!("{FILTER}expire: 2026-12-31\n"),
            "f.yml:11: expire: expected a member of a rule, found \"expire\"; did you mean expires?",
        ),
        (
            FILTER.replace("  condition:", "  expires: 2026-12-31\n  condition:"),
            "f.yml:10: filter.expires: expected a selection, found `expires`, which is not part of `filter`; write it without indentation, next to `title`",
        ),
        (
            FILTER.replace("id: 9", "x: 9"),
            "f.yml:1: id: is missing; expected a UUID; generate one with `uuidgen`",
        ),
        (
            FILTER.replace("product: aws", "product: windows"),
            "f.yml:4: logsource: expected {product: aws, service: cloudtrail}, found {product: windows, service: cloudtrail}; only CloudTrail records are evaluated, so the rule would never match",
        ),
    ] {
        assert_eq!(errors(&text), [expected], "{text}");
    }
    assert_eq!(errors(FILTER), Vec::<String>::new());
}
