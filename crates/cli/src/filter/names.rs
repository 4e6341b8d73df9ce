//! The names in a record by which people search for an actor or a resource.
//!
//! Several texts name the same caller: a user name, an ARN, an access key. All of them are offered, with the parts of
//! ARNs, so that the one at hand is found. They are compared as wholes: `alice` does not find `malice`.

use cloudhsm_alerts_core::{actor::Actor, record::Record};
use serde_json::Value;

/// Members that name the caller.
const ACTOR: [&str; 16] = [
    "userIdentity.type",
    "userIdentity.userName",
    "userIdentity.arn",
    "userIdentity.principalId",
    "userIdentity.accessKeyId",
    "userIdentity.accountId",
    "userIdentity.invokedBy",
    "userIdentity.identityProvider",
    "userIdentity.credentialId",
    "userIdentity.onBehalfOf.userId",
    "userIdentity.inScopeOf.credentialsIssuedTo",
    "userIdentity.sessionContext.sourceIdentity",
    "userIdentity.sessionContext.sessionIssuer.userName",
    "userIdentity.sessionContext.sessionIssuer.arn",
    "userIdentity.sessionContext.sessionIssuer.principalId",
    "userIdentity.sessionContext.sessionIssuer.accountId",
];

/// Members that name resources.
const RESOURCES: [&str; 5] = [
    "requestParameters",
    "responseElements",
    "resources",
    "additionalEventData",
    "serviceEventDetails",
];

/// The names of the caller.
pub(super) fn of_actor(record: &Record) -> Vec<String> {
    let mut names = Vec::new();
    for member in ACTOR {
        // Account IDs can be numbers.
        let value = if member.ends_with("accountId") {
            record.account_id(member)
        } else {
            record.scalar(member)
        };
        if let Some(value) = value {
            add(&value, &mut names);
        }
    }
    // As alerts print them.
    let actor = Actor::of(record);
    names.push(actor.short);
    names.push(actor.principal);
    names.extend(actor.session);
    names
}

/// The names of resources: all texts in the request and the response, and the words of an error message, because a
/// denied call names its resource only there.
pub(super) fn of_resources(record: &Record) -> Vec<String> {
    let mut names = Vec::new();
    for member in RESOURCES {
        if let Some(value) = record.field(member) {
            collect(value, &mut names);
        }
    }
    let message = record.scalar("errorMessage").unwrap_or_default();
    let words = message.split(|c: char| c.is_whitespace() || "\"'`()[]{}<>,;=".contains(c));
    for word in words {
        add(word.trim_end_matches(['.', ':']), &mut names);
    }
    names
}

/// Adds all texts in a value. A record's depth is bounded by its size, so the stack is not a limit here: values are
/// visited without recursion.
fn collect(value: &Value, names: &mut Vec<String>) {
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        match value {
            Value::String(text) => add(text, names),
            Value::Array(items) => left.extend(items),
            Value::Object(fields) => left.extend(fields.values()),
            Value::Number(number) => names.push(number.to_string()),
            Value::Bool(_) | Value::Null => {}
        }
    }
}

/// Adds a name, and the parts of an ARN or principal ID that are names of their own.
fn add(name: &str, names: &mut Vec<String>) {
    if name.is_empty() {
        return;
    }
    names.push(name.to_owned());
    let parts = if name.starts_with("arn:") {
        // `arn:partition:service:region:account:resource`
        let Some(resource) = name.splitn(6, ':').nth(5) else {
            return;
        };
        names.push(resource.to_owned());
        if let Some((_, path)) = resource.split_once('/') {
            names.push(path.to_owned());
        }
        resource
    } else {
        name
    };
    names.extend(
        parts
            .split([':', '/'])
            .filter(|part| !part.is_empty() && *part != parts)
            .map(str::to_owned),
    );
}
