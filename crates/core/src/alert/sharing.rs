//! Sharing: the principals to which a resource policy in a record grants access.
//!
//! After `PutResourcePolicy`, the owner of a backup must know first who can use it now. The policy itself is
//! redacted; only its principals are published. Conditions are not evaluated, so access may be narrower than
//! shown.
//!
//! Sources: IAM User Guide, "AWS JSON policy elements: Principal"; AWS CloudHSM API Reference,
//! PutResourcePolicy.

use std::collections::HashSet;

use serde_json::Value;

use super::accounts::Accounts;
use crate::{
    defang::defanged,
    json,
    record::{Outcome, Record, candidates},
    text::one_line,
};

/// The principals to which a policy grants access, as far as the record shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// The distinct principals, each on one line. `*` and `NotPrincipal` come first, then accounts that are
    /// neither the record's own nor in the configured names, then the others.
    pub principals: Vec<String>,
    /// Whether the call sets a policy whose principals are not in the record or cannot be parsed.
    pub is_unreadable: bool,
}

impl Sharing {
    /// Reads the policy in the record's request, or else in its response.
    pub(super) fn of(record: &Record, accounts: &Accounts) -> Sharing {
        let policies = ["requestParameters.policy", "responseElements.policy"];
        let policy = policies.iter().find_map(|path| record.field(path));
        let mut found = PolicyReader::default();
        if let Some(policy) = policy {
            found.policy(policy, 0);
        }
        let sets_a_policy = record.event_name() == "PutResourcePolicy"
            && record.event_source().starts_with("cloudhsm");
        let is_missing = policy.is_none() && record.outcome() == Outcome::Success;
        let own = record.account_id("recipientAccountId");
        let is_familiar = |id: &str| accounts.name(id).is_some() || own.as_deref() == Some(id);
        let order = |principal: &Principal| match principal {
            Principal::Everyone(_) => 0,
            Principal::One(text) if account(text).is_some_and(|id| !is_familiar(id)) => 1,
            Principal::One(_) => 2,
        };
        found.principals.sort_by_key(order);
        Sharing {
            is_unreadable: sets_a_policy
                && (is_missing
                    || (policy.is_some() && found.principals.is_empty() && !found.denies)),
            principals: limited(found.principals),
        }
    }

    /// One line with the first principals and the number of others. `None`: no policy.
    pub(super) fn summary(&self) -> Option<String> {
        const LISTED: usize = 10;
        if self.is_unreadable {
            return Some("shared with principals that the record does not show".into());
        }
        let first: Vec<String> = self
            .principals
            .iter()
            .take(LISTED)
            .map(|principal| defanged(principal, 256))
            .collect();
        let more = self.principals.len() - first.len();
        (!first.is_empty()).then(|| {
            let more = match more {
                0 => String::new(),
                more => format!(" and {more} more, which are in the JSON"),
            };
            format!("shared with {}{more}", first.join(", "))
        })
    }
}

enum Principal {
    Everyone(String),
    One(String),
}

/// The principals as text, up to 100 KB in total, which is CloudTrail's limit for the request parameters.
fn limited(principals: Vec<Principal>) -> Vec<String> {
    const MAX_BYTES: usize = 100 * 1024;
    let count = principals.len();
    let mut bytes = 0;
    let mut texts: Vec<String> = principals
        .into_iter()
        .map(|principal| match principal {
            Principal::Everyone(text) | Principal::One(text) => text,
        })
        .take_while(|text| {
            bytes += text.len();
            bytes <= MAX_BYTES
        })
        .collect();
    if texts.len() < count {
        texts.push(format!("and {} more", count - texts.len()));
    }
    texts
}

/// Collects the principals of a policy.
#[derive(Default)]
struct PolicyReader {
    principals: Vec<Principal>,
    seen: HashSet<String>,
    /// Whether a statement has the effect Deny. If so, a policy without principals was still understood.
    denies: bool,
}

impl PolicyReader {
    /// Reads a policy, given as a JSON object or as JSON in a string. Element names are case-insensitive.
    fn policy(&mut self, policy: &Value, depth: u8) {
        match policy {
            Value::String(text) if depth < 2 => {
                if let Ok(inner) = json::parse(text.as_bytes()) {
                    self.policy(&inner, depth + 1);
                }
            }
            Value::Object(_) => {
                for statements in members(policy, "Statement") {
                    one_or_many(statements)
                        .iter()
                        .for_each(|statement| self.statement(statement));
                }
            }
            _ => {}
        }
    }

    fn statement(&mut self, statement: &Value) {
        let mut effects = members(statement, "Effect").filter_map(Value::as_str);
        if effects.any(|effect| effect.eq_ignore_ascii_case("Deny")) {
            self.denies = true;
            return;
        }
        for principal in members(statement, "Principal") {
            self.collect(principal, false);
        }
        for principal in members(statement, "NotPrincipal") {
            self.collect(principal, true);
        }
    }

    fn collect(&mut self, principal: &Value, is_exception: bool) {
        match principal {
            Value::String(text) => {
                let shown = one_line(text, 256);
                let principal = match (text.as_str(), is_exception) {
                    ("*", false) => Principal::Everyone("EVERYBODY (*)".into()),
                    (_, true) => Principal::Everyone(format!("EVERYBODY but {shown}")),
                    (_, false) => Principal::One(shown),
                };
                let (Principal::Everyone(key) | Principal::One(key)) = &principal;
                if self.seen.insert(key.clone()) {
                    self.principals.push(principal);
                }
            }
            Value::Array(items) => items
                .iter()
                .for_each(|item| self.collect(item, is_exception)),
            Value::Object(kinds) => kinds
                .values()
                .for_each(|inner| self.collect(inner, is_exception)),
            _ => {}
        }
    }
}

fn members<'v>(value: &'v Value, name: &'static str) -> impl Iterator<Item = &'v Value> {
    value
        .as_object()
        .into_iter()
        .flat_map(move |fields| candidates(fields, name))
        .map(|(_, value)| value)
}

/// The account ID in a principal, which is the ID alone or an ARN.
fn account(principal: &str) -> Option<&str> {
    principal
        .split(':')
        .find(|part| part.len() == 12 && part.bytes().all(|b| b.is_ascii_digit()))
}

/// The elements of a policy may be single values or lists.
fn one_or_many(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        Value::Null => &[],
        single => std::slice::from_ref(single),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(record: Value) -> Sharing {
        let fields = record.as_object().unwrap().clone();
        let accounts = Accounts::parse("444455556666=dev").unwrap();
        Sharing::of(&Record::new(0, fields), &accounts)
    }

    fn principals(policy: Value) -> Vec<String> {
        of(json!({"requestParameters": {"policy": policy}})).principals
    }

    #[test]
    fn principals_of_a_policy() {
        let arn = "arn:aws:iam::999988887777:root";
        for (policy, expected) in [
            (
                json!({"Statement": [{"Effect": "Allow", "Principal": {"AWS": arn}}]}),
                vec![arn],
            ),
            (
                json!({"Statement": {"Effect": "Allow", "Principal": {"AWS": ["999988887777", arn, arn]}}}),
                vec!["999988887777", arn],
            ),
            (
                json!({"Statement": [{"Effect": "Allow", "Principal": "*"}]}),
                vec!["EVERYBODY (*)"],
            ),
            (
                json!({"statement": [{"effect": "allow", "principal": {"aws": "*"}}]}),
                vec!["EVERYBODY (*)"],
            ),
            (
                json!({"Statement": [{"Effect": "deny", "Principal": "*"}, {"Principal": {"Service": "x.amazonaws.com"}}]}),
                vec!["x.amazonaws.com"],
            ),
            (
                json!({"Statement": [{"Effect": "Allow", "NotPrincipal": {"AWS": arn}}]}),
                vec!["EVERYBODY but arn:aws:iam::999988887777:root"],
            ),
            (
                json!({"Statement": [{"Effect": "Allow", "Principal": {"AWS": "a\nb"}}]}),
                vec!["a\\nb"],
            ),
            (json!([1]), vec![]),
            (json!({}), vec![]),
        ] {
            // As an object, as a string, and as a string with leading white space.
            for policy in [
                policy.clone(),
                policy.to_string().into(),
                format!(" \n{policy}").into(),
            ] {
                assert_eq!(principals(policy.clone()), expected, "{policy}");
            }
        }
        assert!(principals("no JSON".into()).is_empty());
        assert!(principals(7.into()).is_empty());
    }

    #[test]
    fn everyone_comes_first_then_unknown_accounts_and_none_is_left_out() {
        let mut all: Vec<String> = (0..30)
            .map(|_| "arn:aws:iam::444455556666:root".to_owned())
            .collect();
        all.extend((0..30).map(|n| format!("arn:aws:iam::444455556666:role/r{n}")));
        all.extend(["111122223333".into(), "x.amazonaws.com".into()]);
        all.extend(["arn:aws:iam::666666666666:root".into(), "*".into()]);
        let policy = json!({"Statement": [{"Effect": "Allow", "Principal": {"AWS": all}}]});
        let sharing = of(
            json!({"recipientAccountId": "111122223333", "requestParameters": {"policy": policy}}),
        );
        assert_eq!(sharing.principals.len(), 35);
        assert_eq!(
            sharing.principals[..3],
            [
                "EVERYBODY (*)",
                "arn:aws:iam::666666666666:root",
                "arn:aws:iam::444455556666:root"
            ]
        );
        let summary = sharing.summary().unwrap();
        assert!(
            summary.starts_with("shared with EVERYBODY (*), arn:aws:iam::666666666666:root, "),
            "{summary}"
        );
        assert!(
            summary.ends_with(" and 25 more, which are in the JSON"),
            "{summary}"
        );
    }

    #[test]
    fn an_unreadable_policy_is_marked() {
        let call = |request: Value, response: Value, error: &str| {
            of(
                json!({"eventSource": "cloudhsm.amazonaws.com", "eventName": "PutResourcePolicy", "errorCode": error,
                "requestParameters": request, "responseElements": response}),
            )
        };
        let allow =
            json!({"Statement": [{"Effect": "Allow", "Principal": {"AWS": "666666666666"}}]});
        let deny = json!({"Statement": [{"Effect": "Deny", "Principal": "*"}]}).to_string();
        for (request, response, error, is_unreadable) in [
            (json!({"policy": "no JSON"}), json!(null), "", true),
            (json!({"policy": {"Rules": []}}), json!(null), "", true),
            (
                json!({"policy": "HIDDEN_DUE_TO_SECURITY_REASONS"}),
                json!(null),
                "",
                true,
            ),
            (json!(null), json!(null), "", true),
            (json!(null), json!(null), "AccessDenied", false),
            (json!({"policy": deny}), json!(null), "", false),
            (json!({"policy": allow}), json!(null), "", false),
            (json!(null), json!({"policy": allow.to_string()}), "", false),
        ] {
            let sharing = call(request.clone(), response, error);
            assert_eq!(sharing.is_unreadable, is_unreadable, "{request}");
            let reads = request["policy"] == allow
                || request.is_null() && !is_unreadable && error.is_empty();
            assert_eq!(sharing.principals.len(), usize::from(reads), "{request}");
        }
    }
}
