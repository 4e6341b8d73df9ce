//! Randomly generated rules, of everything that a detection may contain. For any such rule, the records that it can
//! match are parsed.

use proptest::prelude::*;

use super::{NOW, generated::valid_file, more_cases, output};
use crate::{
    finding::Scan,
    rules::{RuleFile, RuleSet, watched::Watched},
};

/// A condition on the event source. Most rules have one, so that records can be skipped.
fn source() -> impl Strategy<Value = String> {
    let source = prop::sample::select(vec![
        "eventSource: s3.amazonaws.com",
        "eventSource: s3.amazonaws.com",
        "eventSource: s3.amazonaws.com",
        "eventSource: s3.amazonaws.com",
        "eventSource: [kms.amazonaws.com, CloudHSM.amazonaws.com]",
        "EventSource|startswith: [s3, km]",
        "eventSource|contains: hsm",
        "eventSource|cased: cloudhsm.amazonaws.com",
        "eventSource|endswith: .amazonaws.com",
        "eventSource|contains|all: [amazonaws, 's3']",
        "eventSource: \"\u{212a}m*\"",
        "eventSource|re: '^(s3|lambda)'",
        "eventSource|re|i: 'KMS'",
        "eventSource|exists: true",
        "eventSource|exists: false",
        "eventSource: null",
        "eventSource: [null, s3.amazonaws.com]",
        "eventSource: ''",
        "eventSource|fieldref: n",
        "eventSource: 5",
        "eventSource: '*'",
        "eventSource|neq: s3.amazonaws.com",
    ]);
    source.prop_map(str::to_owned)
}

fn other() -> impl Strategy<Value = String> {
    let other = prop::sample::select(vec![
        "eventName: PutObject",
        "eventName: [deletebackup, 'D*', '?ecrypt']",
        "eventName|re: '^(Put|Delete)'",
        "eventName|endswith: Object",
        "eventName: null",
        "eventName|exists: true",
        "eventName|contains: \"d\u{e9}\"",
        "eventname|fieldref: eventSource",
        "requestParameters: null",
        "requestParameters|contains: Stop-it",
        "requestParameters|exists: true",
        "requestParameters.a: '*stop-it*'",
        "requestParameters.a|exists: true",
        "errorCode: null",
        "errorCode|exists: true",
        "ErrorCode|exists: false",
        "errorCode|re: 'top'",
        "errorCode: ['true', 'stop-it', 'null']",
        "n: [1376, -1]",
        "n: ['1376.0', '1.68e9']",
        "n: true",
        "n|gte: 1",
        "n|contains: cloudhsm",
        "n|startswith: [stop, \"\u{17f}top\"]",
        "n|cidr: 10.0.0.0/8",
    ]);
    other.prop_map(str::to_owned)
}

/// Detection items, usually with one on the event source.
fn items(most: usize) -> impl Strategy<Value = Vec<String>> {
    let others = prop::collection::vec(other(), 0..most);
    (prop::option::weighted(0.93, source()), others, other()).prop_map(|(source, others, one)| {
        let items: Vec<_> = source.into_iter().chain(others).collect();
        if items.is_empty() { vec![one] } else { items }
    })
}

/// A search identifier: a map, a list of maps, or a list of keywords.
fn part() -> impl Strategy<Value = String> {
    let all = items(4);
    let any = prop::collection::vec(items(3), 1..4);
    prop_oneof![
        6 => all.prop_map(|items| format!("\n      {}", items.join("\n      "))),
        3 => any.prop_map(|lists| {
            lists
                .iter()
                .map(|items| format!("\n      - {}", items.join("\n        ")))
                .collect()
        }),
        1 => Just(" [stop-it, cloudhsm]".to_owned()),
    ]
}

fn rule() -> impl Strategy<Value = String> {
    let condition = prop::sample::select(vec![
        "a_1",
        "a_1 and a_2",
        "a_1 or a_2",
        "a_1 and not a_2",
        "a_1 and not (a_2 or b)",
        "1 of a_*",
        "all of a_*",
        "2 of a_*",
        "1 of them",
        "all of them",
        "not a_1",
        "b and 1 of a_*",
        "b and not 1 of a_*",
        "(a_1 or b) and (a_2 or b)",
    ]);
    (part(), part(), part(), condition).prop_map(|(one, two, three, condition)| {
        format!(
            "title: t\nname: n\nid: i\nlogsource: {{product: aws, service: cloudtrail}}\nlevel: low\ndetection:\n    a_1:{one}\n    a_2:{two}\n    b:{three}\n    condition: {condition}\n"
        )
    })
}

proptest! {
    #![proptest_config(more_cases())]

    #[test]
    fn records_that_a_rule_can_match_are_never_skipped(text in rule(), bytes in valid_file()) {
        let files = [RuleFile { name: "rule.yml".into(), text: text.clone() }];
        // Some rules are rejected, and some need every record to be parsed.
        let rules = RuleSet::of(&files, &Watched::default());
        prop_assume!(rules.as_ref().is_ok_and(|rules| rules.prefilter().excludes_records()));
        let rules = rules.unwrap();
        let every = output(Scan::without_skipping(&rules, NOW), &bytes, 1000);
        let relevant = output(Scan::new(&rules, NOW), &bytes, 1000);
        prop_assert_eq!(relevant, every, "{}\n{}", text, String::from_utf8_lossy(&bytes));
    }
}
