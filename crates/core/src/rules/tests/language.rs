//! Details of the rule language that docs/writing-rules.md documents, and the errors of loading.

use super::*;

/// Whether a record matches a rule with one item.
fn matches(item: &str, record: Value) -> bool {
    let text = rule_with(&format!("  part:\n    {item}\n  condition: part\n"));
    let rules = RuleSet::of(&[file("r.yml", &text)], &Watched::default())
        .unwrap_or_else(|errors| panic!("{item}: {errors:?}"));
    !matched(&rules, record).is_empty()
}

#[test]
fn items_against_records() {
    for (item, record, expected) in [
        // Text is compared without regard to case, unless `cased`.
        (
            "eventName: deletehsm",
            json!({"eventName": "DeleteHsm"}),
            true,
        ),
        (
            "eventName|cased: deletehsm",
            json!({"eventName": "DeleteHsm"}),
            false,
        ),
        (
            "eventName|re: ^delete",
            json!({"eventName": "DeleteHsm"}),
            false,
        ),
        (
            "eventName|re|i: ^delete",
            json!({"eventName": "DeleteHsm"}),
            true,
        ),
        // Encodings follow the specification, at every offset.
        (
            "requestParameters.d|base64offset|contains: foobar",
            json!({"requestParameters": {"d": "eGZvb2Jhcnk="}}),
            true,
        ),
        (
            "requestParameters.d|wide|base64offset|contains: foobar",
            json!({"requestParameters": {"d": "eGYAbwBvAGIAYQByAA=="}}),
            true,
        ),
        (
            "requestParameters.d|base64offset|contains|all: [foobar, barfoo]",
            json!({"requestParameters": {"d": "eGZvb2Jhcnk="}}),
            false,
        ),
        (
            "userAgent|windash|contains: ' /x'",
            json!({"userAgent": "a -x"}),
            true,
        ),
        (
            "userAgent|windash: '* -x*'",
            json!({"userAgent": "a \u{2014}x b"}),
            true,
        ),
        (
            "userAgent|windash|contains|all: [' -x', ' -y']",
            json!({"userAgent": "a /x \u{2013}y"}),
            true,
        ),
        (
            "userAgent|windash|contains|all: [' -x', ' -y']",
            json!({"userAgent": "a /x y"}),
            false,
        ),
        // Fields of different types are compared; a list stands for each of its items.
        (
            "requestParameters.z|fieldref: awsRegion",
            json!({"awsRegion": "B", "requestParameters": {"z": ["a", "b"]}}),
            true,
        ),
        (
            "awsRegion|fieldref: requestParameters.z",
            json!({"awsRegion": "b", "requestParameters": {"z": ["a", "b"]}}),
            true,
        ),
        (
            "userIdentity.accountId|fieldref: recipientAccountId",
            json!({"userIdentity": {"accountId": "111122223333"}, "recipientAccountId": 111_122_223_333_u64}),
            true,
        ),
        (
            "awsRegion|fieldref|cased: requestParameters.z",
            json!({"awsRegion": "b", "requestParameters": {"z": "B"}}),
            false,
        ),
        (
            "awsRegion|fieldref|startswith: requestParameters.z",
            json!({"awsRegion": "us-west-2", "requestParameters": {"z": ["eu", "us"]}}),
            true,
        ),
        (
            "awsRegion|fieldref: [requestParameters.y, requestParameters.z]",
            json!({"awsRegion": "b", "requestParameters": {"z": "b"}}),
            true,
        ),
        (
            "awsRegion|fieldref|all: [requestParameters.y, requestParameters.z]",
            json!({"awsRegion": "b", "requestParameters": {"z": "b"}}),
            false,
        ),
        ("awsRegion|fieldref: requestParameters.z", json!({}), false),
        // Names of members are compared regardless of case, too.
        (
            "requestParameters.clusterId: c",
            json!({"RequestParameters": {"ClusterID": "c"}}),
            true,
        ),
        (
            "requestParameters.clusterId: c",
            json!({"requestParameters": null, "RequestParameters": {"clusterId": "c"}}),
            true,
        ),
        // A missing member and null are the same.
        ("errorCode: null", json!({}), true),
        ("errorCode: null", json!({"errorCode": null}), true),
        (
            "requestParameters.a: null",
            json!({"requestParameters": {"a": ""}}),
            false,
        ),
        // An empty error code means that there was no error.
        ("errorCode: null", json!({"errorCode": ""}), true),
        (
            "errorMessage|exists: true",
            json!({"ErrorMessage": " "}),
            false,
        ),
        ("errorCode|exists: false", json!({"errorCode": null}), true),
        ("errorCode|exists: true", json!({"errorCode": null}), false),
        (
            "requestParameters.a|exists: true",
            json!({"requestParameters": {"a": ""}}),
            true,
        ),
        ("errorCode|exists: true", json!({"errorCode": ""}), false),
        ("errorCode: ''", json!({"errorCode": ""}), true),
        ("errorCode: ''", json!({}), true),
        (
            "requestParameters.a: ''",
            json!({"requestParameters": {"a": ""}}),
            true,
        ),
        (
            "requestParameters.policy.Statement: null",
            json!({"requestParameters": "text"}),
            true,
        ),
        // Numbers and booleans, also as strings.
        (
            "requestParameters.n: 90",
            json!({"requestParameters": {"n": 90}}),
            true,
        ),
        (
            "requestParameters.n: 90",
            json!({"requestParameters": {"n": "90"}}),
            true,
        ),
        (
            "requestParameters.n: 90",
            json!({"requestParameters": {"n": 90.0}}),
            true,
        ),
        (
            "requestParameters.n: '90'",
            json!({"requestParameters": {"n": 90}}),
            true,
        ),
        (
            "requestParameters.n|lt: 90",
            json!({"requestParameters": {"n": "7"}}),
            true,
        ),
        (
            "requestParameters.n|lt: 90",
            json!({"requestParameters": {"n": "seven"}}),
            false,
        ),
        (
            "requestParameters.n|gte: 1e9",
            json!({"requestParameters": {"n": 1.68e9}}),
            true,
        ),
        (
            "requestParameters.f: false",
            json!({"requestParameters": {"f": "false"}}),
            true,
        ),
        (
            "requestParameters.f: 'false'",
            json!({"requestParameters": {"f": false}}),
            true,
        ),
        (
            "requestParameters.f: false",
            json!({"requestParameters": {"f": true}}),
            false,
        ),
        // A list in the rule: any item; with `all`: every item.
        ("eventName: [A, B]", json!({"eventName": "b"}), true),
        (
            "userAgent|contains: [cli, sdk]",
            json!({"userAgent": "aws-cli"}),
            true,
        ),
        (
            "userAgent|contains|all: [cli, sdk]",
            json!({"userAgent": "aws-cli"}),
            false,
        ),
        // A list in the record: any item, also on the path to a member.
        (
            "requestParameters.zones: b",
            json!({"requestParameters": {"zones": ["a", "b"]}}),
            true,
        ),
        (
            "requestParameters.tags.key: k",
            json!({"requestParameters": {"tags": [{"key": "j"}, {"key": "k"}]}}),
            true,
        ),
        (
            "requestParameters.tags.key: k",
            json!({"requestParameters": {"tags": []}}),
            false,
        ),
        // An object is its JSON text, with and without the escapes of a nested document.
        (
            "requestParameters|contains: '\"a\":1'",
            json!({"requestParameters": {"a": 1}}),
            true,
        ),
        (
            "requestParameters.doc|contains: Allow",
            json!({"requestParameters": {"doc": {"Effect": "Allow"}}}),
            true,
        ),
        (
            "requestParameters|contains: '\"Effect\":\"Allow\"'",
            json!({"requestParameters": {"doc": "{\"Effect\":\"Allow\"}"}}),
            true,
        ),
        // Wildcards and their escapes.
        (
            "eventName: Delete*",
            json!({"eventName": "DeleteHsm"}),
            true,
        ),
        (
            "eventName: Delete???",
            json!({"eventName": "DeleteHsm"}),
            true,
        ),
        (
            "eventName: Delete??",
            json!({"eventName": "DeleteHsm"}),
            false,
        ),
        ("eventName: 'a\\*'", json!({"eventName": "a*"}), true),
        ("eventName: 'a\\*'", json!({"eventName": "ab"}), false),
        // Addresses.
        (
            "sourceIPAddress|cidr: 10.0.0.0/8",
            json!({"sourceIPAddress": "10.1.2.3"}),
            true,
        ),
        (
            "sourceIPAddress|cidr: 10.0.0.0/8",
            json!({"sourceIPAddress": "11.1.2.3"}),
            false,
        ),
        (
            "sourceIPAddress|cidr: 10.0.0.0/8",
            json!({"sourceIPAddress": "AWS Internal"}),
            false,
        ),
        (
            "sourceIPAddress|cidr: 2001:db8::/32",
            json!({"sourceIPAddress": "2001:db8::1"}),
            true,
        ),
        // The value of another member.
        (
            "userIdentity.accountId|fieldref: recipientAccountId",
            json!({"userIdentity": {"accountId": "1"}, "recipientAccountId": "1"}),
            true,
        ),
        (
            "userIdentity.accountId|fieldref: recipientAccountId",
            json!({"userIdentity": {"accountId": "1"}}),
            false,
        ),
    ] {
        assert_eq!(
            matches(item, record.clone()),
            expected,
            "{item} against {record}"
        );
    }
}

#[test]
fn keywords_match_in_any_value() {
    let any = rule_with("  keywords: [alpha, beta]\n  condition: keywords\n");
    let all = rule_with("  keywords:\n    '|all': [alpha, beta]\n  condition: keywords\n");
    for (text, record, expected) in [
        (&any, json!({"x": {"y": ["an Alpha"]}}), true),
        (&any, json!({"x": "gamma"}), false),
        (&all, json!({"x": "alpha", "y": ["beta"]}), true),
        (&all, json!({"x": "alpha and beta"}), true),
        (&all, json!({"x": "alpha"}), false),
    ] {
        let rules = RuleSet::of(&[file("r.yml", text)], &Watched::default()).unwrap();
        assert_eq!(
            !matched(&rules, record.clone()).is_empty(),
            expected,
            "{text} {record}"
        );
    }
}

#[test]
fn a_rule_is_named_after_its_file_and_several_by_their_titles() {
    let text = RULE.replace("name: t\n", "");
    let names = |text: &str| {
        let rules = RuleSet::of(&[file("x/AWS_some_Rule.yml", text)], &Watched::default()).unwrap();
        let mut names: Vec<String> = rules.rules().iter().map(|rule| rule.name.clone()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&text), ["aws-some-rule"]);
    let second = text
        .replace("id: 1", "id: 2")
        .replace("title: T", "title: Another rule (2)");
    assert_eq!(
        names(&format!("# two\n---\n{text}---\n{second}")),
        ["another-rule-2", "t"]
    );
}

#[test]
fn added_rules_replace_and_disable_by_id() {
    let id = "d11ee267-6b43-42f3-8655-72ad90d1e71d";
    let mine = RULE.replace("11111111-2222-4333-8444-555555555555", id);
    let set = |text: &str| RuleSet::with(&[file("mine.yml", text)], &Watched::default()).unwrap();
    assert_eq!(
        matched(builtin(), call("DeleteBackup")),
        ["critical hsm-backup-deleted"]
    );
    assert_eq!(matched(&set(&mine), call("DeleteBackup")), ["high t"]);
    let off = format!("title: off\nid: {id}\nstatus: unsupported\n");
    assert_eq!(
        matched(&set(&off), call("DeleteBackup")),
        Vec::<String>::new()
    );
    assert_eq!(set(&off).len(), builtin().len() - 1);
    // An id may be in upper case.
    assert_eq!(
        set(&off.replace(id, &id.to_uppercase())).len(),
        builtin().len() - 1
    );
    assert_eq!(
        matched(&set(RULE), call("DeleteBackup")),
        ["critical hsm-backup-deleted", "high t"]
    );
}

#[test]
fn a_malformed_rule_is_an_error_with_its_line() {
    for (text, expected) in [
        (
            String::new(),
            vec!["r.yml: expected a Sigma detection rule or filter, found no document; remove the file, or rename it so that it does not end in .yml"],
        ),
        (
            "- a\n- b\n".into(),
            vec!["r.yml:1: detection: Document is not a YAML mapping"],
        ),
        (
            RULE.replace("title: T", "title: [T"),
            vec!["r.yml:2: expected YAML: illegal placement of ':' indicator; look for a tab character, a missing quotation mark, a tag, or wrong indentation"],
        ),
        (
            RULE.replace("id: 1", "x: 1"),
            vec!["r.yml:1: id: is missing; expected a UUID; generate one with `uuidgen`"],
        ),
        (
            RULE.replace("level: high\n", ""),
            vec!["r.yml:1: level: is missing; expected informational, low, medium, high or critical; the level of the rule becomes the severity of the alert"],
        ),
        (
            RULE.replace("level: high", "level: urgent"),
            vec!["r.yml:4: level: invalid level: 'urgent'; expected informational, low, medium, high or critical"],
        ),
        (
            RULE.replace("service: cloudtrail", "service: s3"),
            vec!["r.yml:5: logsource: expected {product: aws, service: cloudtrail}, found {product: aws, service: s3}; only CloudTrail records are evaluated, so the rule would never match"],
        ),
        (
            RULE.replace("eventName:", "eventName|contians:"),
            vec!["r.yml:9: detection.call.eventName|contians: expected a Sigma modifier, found \"contians\"; did you mean `contains`?"],
        ),
        (
            RULE.replace("eventName:", "eventName|not:"),
            vec!["r.yml:9: detection.call.eventName|not: expected a Sigma modifier, found \"not\"; Sigma has no modifier that negates; write `not` in the condition"],
        ),
        (
            RULE.replace("condition: call", "condition: other"),
            vec!["r.yml:10: detection.condition: expected the name of a selection of the detection, found \"other\"; add the selection, or correct its name"],
        ),
        (
            RULE.replace("condition: call", "condition: call and"),
            vec!["r.yml:10: detection.condition: expected a condition, found \"call and\", which cannot be parsed from character 9 on; join the names of selections with and, or, not, 1 of, all of"],
        ),
        (
            RULE.replace("condition: call", "condition: call | count() > 5"),
            vec!["r.yml:10: detection.condition: expected a condition, found \"call | count() > 5\", which cannot be parsed from character 6 on; aggregations such as `| count()` are not supported; write a rule that matches a single call"],
        ),
        (
            RULE.replace("condition: call", "condition: call and not 1 of filter_*"),
            vec!["r.yml:10: detection.condition: expected the name of a selection of the detection, found `of filter_*`, which matches none; add the selection, or correct the pattern"],
        ),
        (
            RULE.replace("eventName: DeleteBackup", "eventName|expand: '%names%'"),
            vec!["r.yml:9: detection.call.eventName: expected a known placeholder, found \"%names%\"; use one of %trail_bucket%, %alert_topic%, %function%, %function_role%, %ledger_table%, %failure_queue%, %source_topic%, %source_queue%, %source_rule%, %alarm%, %key%, %log_group%, %rules_bucket%, %stack%"],
        ),
        (
            RULE.replace("eventName: DeleteBackup", "eventName|re: 'a(?=b)'"),
            vec!["r.yml:9: detection.call.eventName: expected a regular expression, found \"a(?=b)\": look-around, including look-ahead and look-behind, is not supported; use the syntax of the Rust crate regex, which has no look-around and no backreferences"],
        ),
        (
            RULE.replace("eventName: DeleteBackup", "eventName|exists: maybe"),
            vec!["r.yml:9: detection.call.eventName: expected true or false for `exists`; true: the field exists and is not null; false: it is missing or null"],
        ),
        (
            RULE.replace("eventName: DeleteBackup", "eventName: []"),
            vec!["r.yml:9: detection.call.eventName: expected a value, found an empty list; add a value, or remove the field"],
        ),
        (
            RULE.replace("eventName: DeleteBackup", "errorCode: [AccessDenied, null]"),
            vec!["r.yml:9: detection.call.errorCode: expected null as the only value, found null in a list; make the selection a list of two mappings, one of them with `field: null`"],
        ),
        (
            RULE.replace("eventName: DeleteBackup", "errorCode|contains: null"),
            vec!["r.yml:9: detection.call.errorCode: expected null without a modifier; write `field: null` or `field|exists: false`"],
        ),
        (
            RULE.replace("eventName: DeleteBackup", "userAgent|base64|contains: 'foo*'"),
            vec!["r.yml:9: detection.call.userAgent: expected a value without wildcards for `base64`; write \\* for the character `*`; see Sigma's Modifiers Appendix"],
        ),
        (
            RULE.replace("eventName: DeleteBackup", "eventName: !!str DeleteBackup"),
            vec!["r.yml:9: expected YAML: found the tag !!str, which YAML parsers interpret differently; look for a tab character, a missing quotation mark, a tag, or wrong indentation"],
        ),
        (
            RULE.replace("eventName: DeleteBackup", "requestParameters: {backupId: x}"),
            vec!["r.yml:9: detection.call.requestParameters: expected a value or a list of values, found a mapping; write a path with dots: `requestParameters.backupId: ...`"],
        ),
        (
            RULE.replace("eventName: DeleteBackup", "requestParameters.tagList[any].key: x"),
            vec!["r.yml:9: detection.call.requestParameters.tagList[any].key: expected a path without brackets, found a list selector, which Sigma does not have; remove the brackets; a list on the path stands for each of its items"],
        ),
        (
            RULE.replace("eventName: DeleteBackup", "sourceIPAddress|cidr: 10.0.0.0"),
            vec!["r.yml:9: detection.call.sourceIPAddress: expected a network such as 10.0.0.0/8 or 2001:db8::/32, found \"10.0.0.0\"; write a single address with /32 or /128"],
        ),
        (
            format!("{RULE}responce: Look.\n"),
            vec!["r.yml:11: responce: expected a member of a rule, found \"responce\"; did you mean response?"],
        ),
        (
            RULE.replace("name: t", "name: \"a\\e[31m\""),
            vec!["r.yml:3: name: expected up to 100 letters, digits and hyphens, found \"a\\u{1b}[31m\"; use a short name in kebab-case, such as hsm-backup-deleted"],
        ),
        (
            format!("{RULE}x:\n  {}a\n", "- ".repeat(10_000)),
            vec!["r.yml:12: expected YAML: found more than 40 levels of nesting; look for a tab character, a missing quotation mark, a tag, or wrong indentation"],
        ),
        (
            format!("{RULE}response: 7\n"),
            vec!["r.yml:11: response: expected a string or a mapping from outcome to string, found 7"],
        ),
        (
            format!("{RULE}response: Restore {{backup-id}} now\n"),
            vec!["r.yml:11: response: success: expected a placeholder such as {clusterId}, {clusterId|the cluster} or {eventTime+7d}, found {backup-id}"],
        ),
        (
            format!("{RULE}---\n{RULE}"),
            vec!["r.yml:13: id: expected a unique id, found 11111111-2222-4333-8444-555555555555, which r.yml uses, too; generate another with `uuidgen`, or remove one of the two"],
        ),
        (
            format!("{RULE}---\n{}", RULE.replace("id: 1", "id: 2")),
            vec!["r.yml:14: name: expected a unique name, found t, which r.yml uses, too; change the `name` of one of the two"],
        ),
        (
            "action: global\ntitle: T\n".into(),
            vec!["r.yml:1: action: expected a complete rule in each document, found a rule collection; repeat the shared members in each rule"],
        ),
        (
            "title: C\nid: 33333333-2222-4333-8444-555555555555\ncorrelation:\n  type: event_count\n  rules: [t]\n  group-by: [userIdentity.arn]\n  timespan: 5m\n  condition: {gte: 3}\n".into(),
            vec!["r.yml:3: correlation: expected a detection rule or a filter, found a correlation; counts over time are not supported; write a detection rule that matches a single call"],
        ),
    ] {
        assert_eq!(errors_of(&text), expected, "{text}");
    }
    assert_eq!(errors_of(RULE), Vec::<String>::new());
    assert_eq!(errors_of(&format!("\u{feff}{RULE}")), Vec::<String>::new());
}
