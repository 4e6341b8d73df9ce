//! Filters: what they keep back, what they must not, and what is refused.

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

/// What is told of a record, and what is kept back by which filter.
fn judged(filter: &str, record: Value) -> (Vec<String>, Vec<String>) {
    let files = [file("r.yml", RULE), file("f.yml", filter)];
    let rules = RuleSet::of(&files, &Watched::default()).unwrap();
    let met = rules.evaluate(&super::record(record), TODAY);
    (
        met.rules.iter().map(|rule| rule.name.clone()).collect(),
        met.filtered
            .iter()
            .map(|Filtered { rule, filter }| format!("{} {}", rule.name, filter.name))
            .collect(),
    )
}

#[test]
fn a_filter_keeps_back_what_it_describes_and_nothing_else() {
    let told = (vec!["t".to_owned()], Vec::<String>::new());
    let kept = (Vec::<String>::new(), vec!["t deploys-in-dev".to_owned()]);
    for (filter, record, expected) in [
        (FILTER.to_owned(), deployed("444455556666"), &kept),
        (FILTER.to_owned(), deployed("111122223333"), &told),
        (FILTER.to_owned(), call("DeleteBackup"), &told),
        // By id, and for every rule.
        (
            FILTER.replace("[t]", "11111111-2222-4333-8444-555555555555"),
            deployed("444455556666"),
            &kept,
        ),
        (
            FILTER.replace("[t]", "any"),
            deployed("444455556666"),
            &kept,
        ),
        // Another rule's filter, and one of a rule that does not exist.
        (
            FILTER.replace("[t]", "[u]"),
            deployed("444455556666"),
            &told,
        ),
        // Its last day is part of it.
        (
            format!("{FILTER}status: unsupported\n"),
            deployed("444455556666"),
            &told,
        ),
        (
            format!("{FILTER}expires: 2026-11-25\n"),
            deployed("444455556666"),
            &kept,
        ),
        (
            format!("{FILTER}expires: 2026-11-24\n"),
            deployed("444455556666"),
            &told,
        ),
    ] {
        assert_eq!(
            judged(&filter, record.clone()),
            *expected,
            "{filter} {record}"
        );
    }
}

#[test]
fn a_call_that_one_rule_still_tells_is_told() {
    let other = RULE.replace("id: 1", "id: 2").replace("name: t", "name: u");
    let files = [
        file("r.yml", RULE),
        file("u.yml", &other),
        file("f.yml", FILTER),
    ];
    let rules = RuleSet::of(&files, &Watched::default()).unwrap();
    let met = rules.evaluate(&record(deployed("444455556666")), TODAY);
    assert_eq!(met.rules.len(), 1);
    assert_eq!(met.rules[0].name, "u");
    assert_eq!(met.filtered[0].rule.name, "t");
}

#[test]
fn a_filter_that_would_silence_more_than_it_says_is_refused() {
    let refused = |text: &str| match RuleSet::of(&[file("f.yml", text)], &Watched::default()) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
    };
    for (text, expected) in [
        (
            FILTER.replace("condition: not selection", "condition: selection"),
            "f.yml:10: filter.condition: keeps back a record that it says nothing of, and so would silence its rules; it says what stays; write `not selection`, and describe in the selection what shall not be told",
        ),
        (
            FILTER.replace("  rules: [t]\n", ""),
            "f.yml:5: filter.rules: expected a list of ids or names of rules, or `any` for all of them; a filter that names no rule would be an exception to every one",
        ),
        (
            FILTER.replace("[t]", "[]"),
            "f.yml:6: filter.rules: expected a list of ids or names of rules, or `any` for all of them; a filter that names no rule would be an exception to every one",
        ),
        (
            format!("{FILTER}expires: next year\n"),
            "f.yml:11: expires: expected a date such as 2026-12-31, found \"next year\"; it is the last day, in UTC, on which the filter keeps anything back",
        ),
        (
            format!("{FILTER}expire: 2026-12-31\n"),
            "f.yml:11: expire: expected a member of a rule, found \"expire\"; did you mean expires?",
        ),
        (
            FILTER.replace("  condition:", "  expires: 2026-12-31\n  condition:"),
            "f.yml:10: filter.expires: stands in the filter's detection, where it is no date; write it at the left edge, beside `title`",
        ),
        (
            FILTER.replace("id: 9", "x: 9"),
            "f.yml:1: id: is missing; expected a UUID; make one with `uuidgen`",
        ),
        (
            FILTER.replace("product: aws", "product: windows"),
            "f.yml:4: logsource: expected {product: aws, service: cloudtrail}, found {product: windows, service: cloudtrail}; only CloudTrail's records come here: such a rule would never be met",
        ),
    ] {
        assert_eq!(refused(&text), [expected], "{text}");
    }
    assert_eq!(refused(FILTER), Vec::<String>::new());
}
