use base64::engine::general_purpose::STANDARD as BASE64;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn redacted(value: &Value) -> Value {
    let mut value = value.clone();
    redact(&mut value);
    value
}

#[test]
fn the_patterns_compile() {
    for pattern in [&QUOTED, &MEMBER, &ACTION] {
        LazyLock::force(pattern);
    }
    for search in [&MENTION, &IN_MESSAGE] {
        search.is_match_in_ascii("");
        search.is_match_in_unicode("");
    }
}

#[test]
fn secrets_are_removed_at_any_depth_and_in_any_case() {
    let record = json!({
        "requestParameters": {"clusterId": "c", "SignedCert": "S3CRET", "trustAnchor": ["S3CRET"], "policy": "{\"S3CRET\":1}"},
        "responseElements": {"cluster": {"preCoPassword": "S3CRET", "hsms": [{"configCred": "S3CRET", "hsmId": "h"}]}},
        "errorMessage": "1 validation error detected: Value 'S3CRET it's long' at 'keyStorePassword' failed to satisfy constraint",
        "trust_anchor": "S3CRET", "text": "{\"a\":[{\"signedCert\":\"S3CRET\"}]}", "other": "{ \"a\": 1 }",
        "nothing": null, "password": null, "passphrase": "S3CRET", "clientSecret": {"a": "S3CRET"}, "private_key": 5,
        "pairs": [{"name": "keyStorePassword", "value": "S3CRET"}, {"Key": "authToken", "Value": {"a": "S3CRET"}}, ["password", "S3CRET"]],
    });
    assert_eq!(
        redacted(&record),
        json!({
            "requestParameters": {"clusterId": "c", "SignedCert": REDACTED, "trustAnchor": REDACTED, "policy": REDACTED},
            "responseElements": {"cluster": {"preCoPassword": REDACTED, "hsms": [{"configCred": REDACTED, "hsmId": "h"}]}},
            "errorMessage": "1 validation error detected: Value '[redacted]' at 'keyStorePassword' failed to satisfy constraint",
            "trust_anchor": REDACTED, "text": "{\"a\":[{\"signedCert\":\"[redacted]\"}]}", "other": "{ \"a\": 1 }",
            "nothing": null, "password": null, "passphrase": REDACTED, "clientSecret": REDACTED, "private_key": REDACTED,
            "pairs": [{"name": "keyStorePassword", "value": REDACTED}, {"Key": "authToken", "Value": REDACTED}, ["password", REDACTED]],
        })
    );
}

/// Values that an alert needs are unchanged.
#[test]
fn other_values_are_unchanged() {
    for value in [
        json!({"eventName": "ChangePassword", "eventSource": "iam.amazonaws.com", "userAgent": "[aws-cli/2.31.4 md/x]"}),
        json!({"eventName": "GetSessionToken", "userIdentity": {"arn": "arn:aws:iam::1:user/password", "userName": "password-rotator"}}),
        json!({"requestParameters": {"roleName": "PasswordRotator", "attributeName": "Policy", "topicArn": "arn:aws:sns:us-west-2:1:t"}}),
        json!({"requestParameters": {"name": "hsm-trail", "names": ["a", "b"], "text": "[not json", "quoted": "\"hello\" he said"}}),
        json!({"requestParameters": {"description": "{\"a\": [1, \"b\"]}", "id": "cGxhaW4gdGV4dCB3aXRob3V0IGFueXRoaW5n"}}),
    ] {
        assert_eq!(redacted(&value), value);
    }
}

/// Text that looks like JSON but cannot be parsed, or that mentions a secret in any encoding, is removed as a whole.
#[test]
fn texts_fail_closed() {
    let member = r#"{"keyStorePassword":"S3CRET"}"#;
    let quoted = Value::from(member).to_string();
    for text in [
        r#"{"keyStorePassword": "S3CRET", "x": ""#.to_owned(),
        r#" {"keyStorePassword": "S3CRET"}"#.to_owned(),
        "\u{feff}\n{\"keyStorePassword\":\"S3CRET\"}".to_owned(),
        r#"{"keyStorePassword":"S3CRET","a":"\ud800"}"#.to_owned(),
        r#"{"key\u0053torePassword":"S3CRET"}"#.to_owned(),
        r#"{"password":"S3CRET","password":null}"#.to_owned(),
        format!("{}{member}{}", "[".repeat(200), "]".repeat(200)),
        format!("see {member}"),
        quoted.clone(),
        Value::from(quoted.as_str()).to_string(),
        quoted[..quoted.len() - 3].to_owned(),
        r"request: {\\\x22keyStorePassword\\\x22:\\\x22S3CRET\\\x22}".to_owned(),
        "%7B%22keyStorePassword%22%3A%22S3CRET%22%7D".to_owned(),
        "x=1&client_secret=S3CRET&y=2".to_owned(),
        "x %2526password%253DS3CRET".to_owned(),
        "{&quot;keyStorePassword&quot;:&quot;S3CRET&quot;}".to_owned(),
        "&#x70;assword: S3CRET".to_owned(),
        "<password>S3CRET</password>".to_owned(),
        "--key-store-password S3CRET".to_owned(),
        "password is S3CRET".to_owned(),
        "secret access key S3CRET".to_owned(),
        "p\0a\0s\0s\0w\0o\0r\0d\0=\0S\u{33}CRET".to_owned(),
        "-----BEGIN PRIVATE KEY-----\nS3CRET\n-----END PRIVATE KEY-----".to_owned(),
        format!("prefix {{\"policy\": \"S3CRET\"}} {member}"),
        "x {\"resourcePolicy\":{\"S3CRET\":1}}".to_owned(),
        BASE64.encode(member),
        BASE64.encode("x password=S3CRET"),
        "[{'password': 'S3CRET'}]".to_owned(),
    ] {
        for record in [
            json!({ "requestParameters": {"doc": text} }),
            json!({ "errorMessage": text }),
            json!({ "userAgent": text }),
            json!({ "a": [{"b": text}] }),
        ] {
            let clean = redacted(&record).to_string();
            assert!(!clean.contains("S3CRET"), "{record}: {clean}");
            let hidden = BASE64.encode(member);
            assert!(!clean.contains(&hidden[..20]), "{record}: {clean}");
            assert!(clean.contains(REDACTED), "{record}: {clean}");
        }
    }
}

#[test]
fn secrets_in_messages_are_removed() {
    for (message, expected) in [
        (
            "2 validation errors detected: Value 'a' at 'clusterId' failed; Value 'S3CRET' at 'trustAnchor' failed",
            "2 validation errors detected: Value '[redacted]' at 'trustAnchor' failed",
        ),
        (
            "1 validation error detected: Value 'S3CRET' at 'xksProxyAuthenticationCredential.rawSecretAccessKey' failed to satisfy constraint: Member must have length greater than or equal to 43",
            "1 validation error detected: Value '[redacted]' at 'xksProxyAuthenticationCredential.rawSecretAccessKey' failed to satisfy constraint: Member must have length greater than or equal to 43",
        ),
        (
            "1 validation error detected: Value '-----BEGIN CERTIFICATE-----\nS3CRET",
            "1 validation error detected: Value '[redacted]",
        ),
        (
            "Bad certificate -----BEGIN CERTIFICATE-----\nS3CRET\n-----END CERTIFICATE----- here",
            "Bad certificate [redacted]",
        ),
        (
            "The trustAnchor is not a valid certificate: S3CRET",
            "[redacted]",
        ),
        ("keyStorePassword S3CRET is too short", "[redacted]"),
        ("The password S3CRET is too short", "[redacted]"),
        (
            "Value 'x' at 'keyStorePassword' failed; your password was S3CRET",
            "[redacted]",
        ),
        (
            "Invalid policy: {\"Statement\":[\"S3CRET\"]}",
            "Invalid policy: [redacted]",
        ),
    ] {
        assert_eq!(message_without_secrets(message), expected, "{message}");
    }
}

#[test]
fn other_messages_are_unchanged() {
    for message in [
        "Value 'x' at 'clusterId' failed to satisfy constraint",
        "User: arn:aws:iam::1:user/a is not authorized to perform: cloudhsm:DeleteBackup because no identity-based policy allows the cloudhsm:DeleteBackup action",
        "User: arn:aws:iam::1:user/a is not authorized to perform: cloudhsm:PutResourcePolicy on resource: arn:aws:cloudhsm:us-west-2:1:backup/backup-a",
        "User: arn:aws:iam::1:user/a is not authorized to perform: iam:ChangePassword on resource: user b",
        "The security token included in the request is expired",
        "Rate exceeded",
        "",
    ] {
        assert_eq!(message_without_secrets(message), message);
    }
}

/// Names of secrets in different spellings.
fn name() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "keyStorePassword",
        "preCoPassword",
        "rawSecretAccessKey",
        "signedCert",
        "trustAnchor",
        "configCred",
        "passphrase",
        "clientSecret",
        "privateKey",
        "authToken",
        "securityToken",
        "sessionToken",
    ]);
    (names, 0..4_u8).prop_map(|(name, spelling)| match spelling {
        0 => name.to_owned(),
        1 => name.to_uppercase(),
        2 => name
            .chars()
            .flat_map(|c| [c.is_ascii_uppercase().then_some('_'), Some(c)])
            .flatten()
            .collect(),
        _ => name[..1].to_uppercase() + &name[1..],
    })
}

const SECRET: &str = "S3CR3T-zq7-VALUE";

/// A document with a secret, nested, escaped, wrapped and cut.
fn document() -> impl Strategy<Value = String> {
    let member = (name(), 0..5_u8, "[a-z ]{0,6}").prop_map(|(name, form, filler)| match form {
        0 => json!({ name: SECRET }).to_string(),
        1 => json!({"name": name, "value": SECRET}).to_string(),
        2 => json!({"a": [filler, {"b": {name: [SECRET]}}]}).to_string(),
        3 => format!("{{\"{name}\" : \"{SECRET}\", \"{name}\": null}}"),
        _ => json!({name: {"x": filler, "y": SECRET}}).to_string(),
    });
    let wrap = prop::collection::vec(0..7_u8, 0..3);
    (member, wrap, prop::option::of(any::<prop::sample::Index>())).prop_map(
        |(member, wraps, cut)| {
            let mut text = member;
            for wrap in wraps {
                text = match wrap {
                    0 => Value::from(text).to_string(),
                    1 => json!({ "doc": text }).to_string(),
                    2 => format!("  \n{text}"),
                    3 => format!("request was {text}"),
                    4 => percent_encoding::utf8_percent_encode(
                        &text,
                        percent_encoding::NON_ALPHANUMERIC,
                    )
                    .to_string(),
                    5 => format!("[{text}, 1]"),
                    _ => text.replace('"', "&quot;"),
                };
            }
            if let Some(cut) = cut {
                let mut at = cut.index(text.len() + 1);
                while !text.is_char_boundary(at) {
                    at -= 1;
                }
                text.truncate(at);
            }
            text
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_with_a_secret_member_survives(text in document(), place in 0..5_u8) {
        let record = match place {
            0 => json!({"requestParameters": {"doc": text}}),
            1 => json!({"errorMessage": text}),
            2 => json!({"userAgent": text}),
            3 => json!({"responseElements": {"list": [{"message": text}]}}),
            _ => json!({"additionalEventData": {"a": {"b": {"c": text}}}}),
        };
        let clean = redacted(&record).to_string();
        // The name precedes the secret, so a text that was cut still has the name if any of the secret is left.
        prop_assert!(!clean.contains("S3CR3T"), "{record}\n{clean}");
    }

    #[test]
    fn both_forms_of_an_expression_match_the_same_text(
        text in r#"((?i:password|secret|private|access|trust|anchor|key|token|policy|document)|[ -~\s\x00-\x1f]){0,6}"#
    ) {
        for search in [&MENTION, &IN_MESSAGE] {
            let expected = search.is_match_in_unicode(&text);
            if text.is_ascii() {
                prop_assert_eq!(search.is_match_in_ascii(&text), expected, "{:?}", text);
            }
            prop_assert_eq!(search.is_match(&text), expected, "{:?}", text);
        }
    }

    #[test]
    fn base64_is_decoded(
        text in "[ -~é]{0,40}",
        white_space in "[ \\t\\x0b\\x0c\\r\\n\\u{85}\\u{a0}\\u{2003}]{0,2}",
        at in any::<prop::sample::Index>(),
        other in "[A-Za-z0-9+/_=.é-]?",
    ) {
        let mut encoded = BASE64.encode(&text);
        let is_long = encoded.len() >= MIN_BASE64;
        encoded.insert_str(at.index(encoded.len() + 1), &white_space);
        prop_assert_eq!(from_base64(&encoded), is_long.then_some(text));
        // Another character may make it something else, or nothing.
        let mut changed = encoded;
        let places: Vec<usize> = changed.char_indices().map(|(place, _)| place).chain([changed.len()]).collect();
        changed.insert_str(*at.get(&places), &other);
        let stripped: String = changed.split_whitespace().collect();
        let decoded = BASE64_DECODERS.iter().find_map(|decoder| String::from_utf8(decoder.decode(&stripped).ok()?).ok());
        prop_assert_eq!(from_base64(&changed), decoded.filter(|_| stripped.len() >= MIN_BASE64));
    }
}

proptest! {
    #[test]
    fn the_end_of_a_name_decides_as_the_whole_name(
        start in "[a-zA-Z0-9_. é-]{0,40}",
        known in prop::sample::select([SECRET_NAMES, SECRET_ENDINGS, NAME_MEMBERS, &[""]].concat()),
        end in "[-_é]{0,2}",
    ) {
        let name = format!("{start}{}{end}", known.to_uppercase());
        let whole = normalized(&name);
        let is_secret_name = SECRET_NAMES.contains(&whole.as_str())
            || SECRET_ENDINGS.iter().any(|ending| whole.ends_with(ending));
        prop_assert_eq!(is_secret(&name), is_secret_name, "{}", name);
        prop_assert_eq!(
            NameEnd::of(&name).is_one_of(NAME_MEMBERS),
            NAME_MEMBERS.contains(&whole.as_str())
        );
    }

    #[test]
    fn a_text_without_the_bytes_of_a_mention_has_none(text in "(pass[wW]ord|policy|secretKey)?[ -~\t\u{b}\u{a0}]{0,3}[!-~]?") {
        let (any, _) = kinds(&text);
        if any & FOLLOWS_NAME == 0 {
            prop_assert!(!MENTION.is_match(&text), "{}", text);
        }
    }
}
