//! Rules made up at random, of all that a detection can ask for: whatever they are, the records that they can
//! meet are those that are parsed.

use proptest::prelude::*;

use super::{TODAY, made_up::sound_file, more_cases, told};
use crate::{
    finding::Scan,
    rules::{RuleFile, RuleSet, watched::Watched},
};

/// A field with its modifiers and values, one line of a part. Most rules are bound to a source, so that there
/// is something to pass over.
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

/// Items, most often one about the source among them.
fn items(most: usize) -> impl Strategy<Value = Vec<String>> {
    let others = prop::collection::vec(other(), 0..most);
    (prop::option::weighted(0.93, source()), others, other()).prop_map(|(source, others, one)| {
        let items: Vec<_> = source.into_iter().chain(others).collect();
        if items.is_empty() { vec![one] } else { items }
    })
}

/// A named part: what must all be so, one of several such lists, or words found anywhere.
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
    fn whatever_the_rule_all_that_meet_it_are_found(text in rule(), bytes in sound_file()) {
        let files = [RuleFile { name: "rule.yml".into(), text: text.clone() }];
        // Some are refused at load, and with some every record is parsed.
        let rules = RuleSet::of(&files, &Watched::default());
        prop_assume!(rules.as_ref().is_ok_and(|rules| rules.prefilter().excludes_records()));
        let rules = rules.unwrap();
        let every = told(Scan::of_every_record(&rules, TODAY), &bytes, 1000);
        let relevant = told(Scan::new(&rules, TODAY), &bytes, 1000);
        prop_assert_eq!(relevant, every, "{}\n{}", text, String::from_utf8_lossy(&bytes));
    }
}
