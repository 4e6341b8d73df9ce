use rsigma_parser::SigmaRule;

use super::{decision::Decision, *};
use rsigma_parser::parse_sigma_yaml;

fn rule(detection: &str) -> SigmaRule {
    let yaml = format!(
        "title: t\nid: 11111111-1111-4111-8111-111111111111\nname: n\nlevel: low\nlogsource:\n  product: aws\n  service: cloudtrail\ndetection:\n{detection}"
    );
    let mut collection = parse_sigma_yaml(&yaml).unwrap();
    assert_eq!(collection.errors, Vec::<String>::new(), "{yaml}");
    collection.rules.remove(0)
}

fn can_match(prefilter: &Prefilter, source: &str, name: &str) -> bool {
    let decision = prefilter.decide(source.as_bytes(), name.as_bytes());
    !matches!(decision, Decision::Skip)
}

fn includes(detection: &str, source: &str, name: &str) -> bool {
    can_match(&Prefilter::of([&rule(detection)]), source, name)
}

#[test]
fn a_rule_is_bound_by_required_event_sources() {
    for (detection, bound) in [
        ("  a:\n    eventSource: x\n  condition: a", true),
        (
            "  a:\n    EVENTSOURCE: [x, y*]\n  b:\n    n: 1\n  condition: a and not b",
            true,
        ),
        ("  a:\n    eventSource|startswith: x\n  condition: a", true),
        (
            "  a:\n    - eventSource: x\n    - eventSource: y\n  condition: a",
            true,
        ),
        (
            "  a_1:\n    eventSource: x\n  a_2:\n    eventSource: y\n  condition: 1 of a_*",
            true,
        ),
        (
            "  a_1:\n    eventSource: x\n  a_2:\n    eventName: y\n  condition: all of a_*",
            true,
        ),
        (
            "  a_1:\n    eventSource: x\n  a_2:\n    eventName: y\n  condition: 1 of a_*",
            false,
        ),
        (
            "  a:\n    - eventSource: x\n    - eventName: y\n  condition: a",
            false,
        ),
        ("  a:\n    eventName: x\n  condition: a", false),
        ("  a:\n    eventSource: x\n  condition: not a", false),
        (
            "  a:\n    eventSource: x\n  b:\n    eventName: y\n  condition: a or b",
            false,
        ),
        ("  a:\n    eventSource: [x, null]\n  condition: a", false),
        ("  a:\n    eventSource: ['*', x]\n  condition: a", false),
        ("  a:\n    eventSource|re: 'x.*'\n  condition: a", false),
        ("  a:\n    eventSource|re|i: 'x.*'\n  condition: a", false),
        ("  a:\n    eventSource|exists: true\n  condition: a", false),
        ("  a: [x, y]\n  condition: a", false),
        ("  a:\n    eventSource: x\n  condition: [a, not a]", false),
    ] {
        let rule = rule(detection);
        assert_eq!(Prefilter::is_bound(&rule), bound, "{detection}");
        assert_eq!(
            Prefilter::of([&rule]).excludes_records(),
            bound,
            "{detection}"
        );
    }
}

#[test]
fn one_unbound_rule_includes_every_record() {
    let bound = rule("  a:\n    eventSource: x\n  condition: a");
    let unbound = rule("  a:\n    eventName: y\n  condition: a");
    let prefilter = Prefilter::of([&bound, &unbound]);
    assert!(!prefilter.excludes_records());
    assert!(can_match(&prefilter, "other", "other"));
    assert!(Prefilter::of([]).excludes_records());
    assert!(!can_match(&Prefilter::of([]), "x", "y"));
}

#[test]
fn selections_that_must_match_together_narrow() {
    let one = "  some:\n    eventSource: [a, b, c]\n  call:\n    - eventSource: a\n      eventName|re: '^(Put|Delete)X([0-9]{8})?$'\n    - eventSource: b\n      eventName: [Put, Delete]\n    - eventSource: d\n      eventName: Put\n  condition: some and call";
    for (source, name, included) in [
        ("a", "PutX20200101", true),
        ("A", "PutX", true),
        ("a", "putx", false),
        ("a", "Put", false),
        ("b", "put", true),
        ("b", "PutX", false),
        ("c", "Put", false),
        ("d", "Put", false),
    ] {
        assert_eq!(includes(one, source, name), included, "{source} {name}");
    }
    // A malformed regular expression excludes nothing.
    let broken = "  a:\n    eventSource: s\n    eventName|re: '('\n  condition: a";
    assert!(includes(broken, "s", "n"));
}

#[test]
fn calls_are_included_by_source_and_name() {
    let both = "  a:\n    eventSource: Lambda.AWS\n    eventName|startswith: ['UpdateFunctionCode', 'Delete']\n  condition: a";
    for (source, name, included) in [
        ("lambda.aws", "UpdateFunctionCode20150331v2", true),
        ("LAMBDA.AWS", "updatefunctioncode", true),
        ("lambda.aws", "delete", true),
        ("lambda.aws", "Invoke", false),
        ("xlambda.aws", "delete", false),
        ("lambda.aws\u{212a}", "Invoke", true),
        ("lambda.aws", "Invo\u{212a}e", true),
    ] {
        assert_eq!(includes(both, source, name), included, "{source} {name}");
    }
    for (values, text, included) in [
        ("'a*b?c'", "aXXbYc", true),
        ("'a*b?c'", "abc", true),
        ("'a*b?c'", "acb", false),
        ("'*b'", "ab", true),
        ("'*b'", "ba", false),
        ("'b*'", "ba", true),
        ("'a*a'", "a", false),
        // The Kelvin sign folds to k, the long s to s: they match any text.
        ("'\u{212a}ms'", "kms", true),
        ("'km\u{17f}'", "kms", true),
        ("'km\u{17f}'", "sms", false),
        ("'a\\*b'", "a*b", true),
        ("'a\\*b'", "axb", false),
    ] {
        let detection = format!("  a:\n    eventSource: {values}\n  condition: a");
        assert_eq!(includes(&detection, text, "n"), included, "{values} {text}");
    }
    let part = "  a:\n    eventSource|contains|all: [b, c]\n  condition: a";
    assert!(includes(part, "xbxcx", "n"));
    assert!(includes(part, "xbx", "n"), "wider is allowed");
    assert!(!includes(part, "xx", "n"));
}

#[test]
fn a_record_must_contain_the_required_literals() {
    let detection = "  call:\n    eventSource: iam\n    eventName: Put\n    errorCode|exists: true\n    requestParameters.roleName|contains: ['*Alerts-*x', 'hsm-role']\n    requestParameters.n: '12345'\n    requestParameters.flag: 'true'\n  condition: call";
    let bound = rule(detection);
    let prefilter = Prefilter::of([&bound]);
    let mut cached = CachedPrefilter::new(&prefilter);
    for (record, included) in [
        (
            r#"{"errorCode":"x","requestParameters":{"roleName":"my-alerts-role"}}"#,
            true,
        ),
        (
            r#"{"ERRORCODE":"x","RequestParameters":{"roleName":"HSM-ROLE"},"a":1}"#,
            true,
        ),
        (
            r#"{"requestParameters":{"roleName":"my-alerts-role"}}"#,
            false,
        ),
        (
            r#"{"errorCode":"x","requestParameters":{"roleName":"other"}}"#,
            false,
        ),
        // Only where the engine looks for the field.
        (
            r#"{"errorCode":"x","userAgent":"hsm-role","requestParameters":{"roleName":"other"},"resources":["hsm-role"]}"#,
            false,
        ),
        (r#"{"errorCode":"x","roleName":"hsm-role"}"#, false),
        (
            r#"{"errorCode":"x","requestParameters":{},"REQUESTPARAMETERS":[{"roleName":"hsm-role"}]}"#,
            true,
        ),
        (
            r#"{"errorCode":"x","requestParameters.roleName":"hsm-role"}"#,
            true,
        ),
        (
            r#"{"errorCode":"x","request\/Parameters":{"roleName":"hsm-role"}}"#,
            true,
        ),
        // An escape or a non-ASCII character may stand for the literal.
        (
            r#"{"requestParameters":{"roleName":"\u0068sm-role"}}"#,
            true,
        ),
        ("{\"roleName\":\"h\u{17f}m-role\"}", true),
    ] {
        let is_included = cached.includes(b"iam", b"Put", record.as_bytes());
        assert_eq!(is_included, included, "{record}");
        assert!(!cached.includes(b"iam", b"Get", record.as_bytes()));
    }
    // An alternative without requirements includes any text.
    let either = "  a:\n    - eventSource: s\n      name: something\n    - eventSource: s\n      other|re: 'x'\n  condition: a";
    let either = rule(either);
    let prefilter = Prefilter::of([&either]);
    assert!(CachedPrefilter::new(&prefilter).includes(b"s", b"n", b"{}"));
}

#[test]
fn a_member_that_must_be_null_is_not_an_object_or_a_text() {
    let detection = "  call:\n    eventSource: iam\n    eventName: Put\n  role:\n    - requestParameters.roleName: '*my-role*'\n    - requestParameters: null\n      errorCode: null\n  condition: call and role";
    let bound = rule(detection);
    let prefilter = Prefilter::of([&bound]);
    let mut cached = CachedPrefilter::new(&prefilter);
    for (record, included) in [
        (r#"{"requestParameters":{"roleName":"MY-ROLE"}}"#, true),
        (
            r#"{"requestParameters":{"roleName":"other","policy":"{\n\"a\":1}"}}"#,
            false,
        ),
        (r#"{"RequestParameters":{"roleName":"other"}}"#, false),
        (r#"{"requestParameters":null}"#, true),
        (r#"{"other":{"requestParameters":{}}}"#, true),
        (
            r#"{"requestParameters":null,"errorCode":"AccessDenied"}"#,
            false,
        ),
        // Left to the engine.
        (r#"{"requestParameters":[null]}"#, true),
        (r#"{"requestParameters":{},"RequestParameters":null}"#, true),
        (r#"{"requestParameters":{"roleName":"\u006fther"}}"#, true),
    ] {
        let is_included = cached.includes(b"iam", b"Put", record.as_bytes());
        assert_eq!(is_included, included, "{record}");
    }
}
