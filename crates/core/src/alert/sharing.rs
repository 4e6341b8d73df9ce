//! Whom a resource policy lets in. The policy's text stays in the record; who may use a backup from now on
//! is the first thing its owner wants to know.
//!
//! Source: IAM User Guide, "AWS JSON policy elements: Principal"; AWS CloudHSM API Reference,
//! PutResourcePolicy.

use std::collections::HashSet;

use serde_json::Value;

use crate::{
    alert::accounts::Accounts,
    json,
    links::unlinked,
    record::{Outcome, Record, candidates},
    text::one_line,
};

/// Whom a policy lets in, as far as the record shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// The principals, each once, one line each; `*` and exceptions in words. Everybody comes first, then other
    /// accounts than the record's own and those that have a name here, then the rest.
    pub principals: Vec<String>,
    /// Whether the call sets a policy whose principals cannot be read from the record.
    pub is_unreadable: bool,
}

impl Sharing {
    /// Of the policy in a record's request, else in its response.
    pub(super) fn of(record: &Record, accounts: &Accounts) -> Sharing {
        let policies = ["requestParameters.policy", "responseElements.policy"];
        let policy = policies.iter().find_map(|path| record.field(path));
        let mut found = Found::default();
        if let Some(policy) = policy {
            found.policy(policy, 0);
        }
        let sets_a_policy = record.event_name() == "PutResourcePolicy"
            && record.event_source().starts_with("cloudhsm");
        let is_missing = policy.is_none() && record.outcome() == Outcome::Success;
        let own = record.account_id("recipientAccountId");
        let is_known = |id: &str| accounts.name(id).is_some() || own.as_deref() == Some(id);
        let order = |principal: &Principal| match principal {
            Principal::Everybody(_) => 0,
            Principal::One(text) if account(text).is_some_and(|id| !is_known(id)) => 1,
            Principal::One(_) => 2,
        };
        found.principals.sort_by_key(order);
        Sharing {
            is_unreadable: sets_a_policy
                && (is_missing
                    || (policy.is_some() && found.principals.is_empty() && !found.denies)),
            principals: bounded(found.principals),
        }
    }

    /// The first of them in one line, and how many more there are; `None`: there are none.
    pub(super) fn summary(&self) -> Option<String> {
        const LISTED: usize = 10;
        if self.is_unreadable {
            return Some("shared with principals that the record does not show".into());
        }
        let first: Vec<String> = self
            .principals
            .iter()
            .take(LISTED)
            .map(|principal| unlinked(principal, 256))
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
    Everybody(String),
    One(String),
}

/// The texts, as many as a message has room for: all that CloudTrail's limit of 100 KB lets a request have.
fn bounded(principals: Vec<Principal>) -> Vec<String> {
    const MOST_BYTES: usize = 100 * 1024;
    let count = principals.len();
    let mut bytes = 0;
    let mut texts: Vec<String> = principals
        .into_iter()
        .map(|principal| match principal {
            Principal::Everybody(text) | Principal::One(text) => text,
        })
        .take_while(|text| {
            bytes += text.len();
            bytes <= MOST_BYTES
        })
        .collect();
    if texts.len() < count {
        texts.push(format!("and {} more", count - texts.len()));
    }
    texts
}

/// What was found in a policy.
#[derive(Default)]
struct Found {
    principals: Vec<Principal>,
    seen: HashSet<String>,
    /// Whether some statement only denies: then nobody being let in is no sign of a policy that was not read.
    denies: bool,
}

impl Found {
    /// A policy as text or as a structure; the names of its elements are the same in any case.
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
                    ("*", false) => Principal::Everybody("EVERYBODY (*)".into()),
                    (_, true) => Principal::Everybody(format!("EVERYBODY but {shown}")),
                    (_, false) => Principal::One(shown),
                };
                let (Principal::Everybody(key) | Principal::One(key)) = &principal;
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

/// The account in a principal: twelve digits, alone or in an ARN.
fn account(principal: &str) -> Option<&str> {
    principal
        .split(':')
        .find(|part| part.len() == 12 && part.bytes().all(|b| b.is_ascii_digit()))
}

/// A policy has one of a thing, or a list.
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
            // As a structure, as text, and as text with white space before it.
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
    fn everybody_comes_first_then_accounts_without_a_name_and_nobody_is_left_out() {
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
    fn a_policy_that_cannot_be_read_is_said_to_be() {
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
