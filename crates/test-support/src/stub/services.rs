//! The services: what a request asks for, and the answer.

use std::collections::{BTreeMap, HashMap};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::event_ids::event_ids;

use super::{
    Message, Operation, World,
    http::{Answer, Request},
    plan::Kind,
};

/// What a request is about.
pub struct Target {
    pub operation: Operation,
    pub about: String,
    /// The request's JSON, or its form.
    pub json: Value,
    pub form: HashMap<String, String>,
}

pub fn target(request: &Request) -> Target {
    let mut target = Target {
        operation: Operation::GetObject,
        about: String::new(),
        json: Value::Null,
        form: HashMap::new(),
    };
    if let Some(action) = request.headers.get("x-amz-target") {
        target.json = serde_json::from_slice(&request.body).expect("JSON");
        let (_, action) = action.split_once('.').expect("a target");
        let is_sent = target.json["Item"]["status"]["S"] == "sent";
        let place = match action {
            "PutItem" => "Item",
            _ => "Key",
        };
        let id = target.json[place]["id"]["S"].as_str().expect("an id");
        // Of a call, the event ID: no two calls of a world share one.
        target.about = id.split('#').next().unwrap_or_default().to_owned();
        target.operation = match action {
            _ if id.starts_with("cloudhsm-alerts page ") => Operation::Page,
            "PutItem" if is_sent => Operation::Sent,
            "PutItem" => Operation::Claim,
            "DeleteItem" => Operation::Release,
            "UpdateItem" => Operation::Turn,
            "GetItem" => Operation::GetItem,
            other => panic!("{other} is not in the stub"),
        };
    } else if request.method == "POST" {
        target.operation = Operation::Publish;
        target.form = form(&request.body);
        assert_eq!(target.form["Action"], "Publish");
        let mut ids = published_event_ids(&target.form);
        ids.sort();
        target.about = ids.join(",");
    } else {
        let path = request.path.split('?').next().unwrap_or_default();
        target.about = percent_decode_str(path.trim_start_matches('/'))
            .decode_utf8_lossy()
            .into_owned();
    }
    target
}

fn form(body: &[u8]) -> HashMap<String, String> {
    let text = std::str::from_utf8(body).expect("text");
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| {
            let plain = |text: &str| {
                let text = text.replace('+', " ");
                percent_decode_str(&text).decode_utf8_lossy().into_owned()
            };
            (plain(name), plain(value))
        })
        .collect()
}

fn published_event_ids(form: &HashMap<String, String>) -> Vec<String> {
    let body: Value = serde_json::from_str(&form["Message"]).expect("MessageStructure=json");
    let finding = body["default"].as_str().expect("default");
    event_ids(&serde_json::from_str(finding).expect("a finding"))
}

pub fn answer(request: &Request, target: &Target, world: &mut World) -> Answer {
    match target.operation {
        Operation::GetObject => object(request, &target.about, world),
        Operation::Publish => publish(&target.form, world),
        _ => table(target, world),
    }
}

fn object(request: &Request, about: &str, world: &World) -> Answer {
    let Some(body) = world.objects.get(about) else {
        return xml(404, "NoSuchKey");
    };
    let e_tag = format!("\"{}-{}\"", about.len(), body.len());
    if let Some(wanted) = request.headers.get("if-match")
        && *wanted != e_tag
    {
        return xml(412, "PreconditionFailed");
    }
    let mut answer = Answer {
        status: 200,
        headers: vec![("etag", e_tag)],
        body: body.clone(),
    };
    if let Some(range) = request.headers.get("range") {
        let from: usize = range
            .strip_prefix("bytes=")
            .and_then(|range| range.strip_suffix('-'))
            .expect("from a byte to the end")
            .parse()
            .expect("a number");
        answer.status = 206;
        answer.body.drain(..from);
        let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
        answer.headers.push(("content-range", range));
    }
    answer
}

fn publish(form: &HashMap<String, String>, world: &mut World) -> Answer {
    let mut attributes = BTreeMap::new();
    for n in 1.. {
        let field = |name: &str| form.get(&format!("MessageAttributes.entry.{n}.{name}"));
        let Some(name) = field("Name") else { break };
        let value = (
            field("Value.DataType").expect("a type").clone(),
            field("Value.StringValue").expect("a value").clone(),
        );
        attributes.insert(name.clone(), value);
    }
    let bytes = form["Message"].len()
        + attributes
            .iter()
            .map(|(name, (data_type, value))| name.len() + data_type.len() + value.len())
            .sum::<usize>();
    let subject = &form["Subject"];
    // SNS's own limits.
    let fits = bytes <= 262_144
        && (1..100).contains(&subject.len())
        && subject.bytes().all(|b| (32..127).contains(&b));
    if !fits {
        return xml(400, "InvalidParameter");
    }
    world.messages.push(Message {
        subject: subject.clone(),
        body: serde_json::from_str(&form["Message"]).expect("JSON"),
        attributes,
        event_ids: published_event_ids(form),
        bytes,
    });
    let id = world.messages.len();
    let body = format!(
        "<PublishResponse><PublishResult><MessageId>{id}</MessageId></PublishResult></PublishResponse>"
    );
    Answer {
        status: 200,
        headers: vec![("content-type", "text/xml".into())],
        body: body.into_bytes(),
    }
}

fn number(value: &Value) -> i64 {
    value["N"].as_str().expect("a number").parse().expect("it")
}

/// The conditions are the function's own, each as it is written there.
fn table(target: &Target, world: &mut World) -> Answer {
    let request = &target.json;
    let values = &request["ExpressionAttributeValues"];
    let condition = request["ConditionExpression"].as_str().unwrap_or_default();
    let old = world.items.get(&target.about).cloned();
    let of = |name: &str| old.as_ref().map_or(Value::Null, |item| item[name].clone());
    let is_claimed = of("status")["S"] == "claimed";
    let is_owners = of("owner") == values[":owner"];
    let holds = match condition {
        "" => true,
        "attribute_not_exists(id) OR (#status = :claimed AND (#owner = :owner OR claimed_until <= :now OR claimed_until > :never))" => {
            old.is_none()
                || (is_claimed
                    && (is_owners
                        || number(&of("claimed_until")) <= number(&values[":now"])
                        || number(&of("claimed_until")) > number(&values[":never"])))
        }
        "#status = :claimed AND #owner = :owner" => is_claimed && is_owners,
        "attribute_not_exists(next_turn) OR next_turn <= :now OR next_turn > :never" => {
            old.is_none()
                || number(&of("next_turn")) <= number(&values[":now"])
                || number(&of("next_turn")) > number(&values[":never"])
        }
        "attribute_not_exists(id) OR paged_until <= :now OR paged_until > :until" => {
            old.is_none()
                || number(&of("paged_until")) <= number(&values[":now"])
                || number(&of("paged_until")) > number(&values[":until"])
        }
        "next_turn <= :latest" => {
            old.is_some() && number(&of("next_turn")) <= number(&values[":latest"])
        }
        other => panic!("the stub does not know the condition {other:?}"),
    };
    if !holds {
        let mut refusal = json!({
            "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
            "message": "The conditional request failed",
        });
        if request["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"
            && let Some(old) = old
        {
            refusal["Item"] = old;
        }
        return json_answer(400, &refusal);
    }
    let mut reply = json!({});
    match target.operation {
        Operation::Claim | Operation::Sent => {
            world
                .items
                .insert(target.about.clone(), request["Item"].clone());
        }
        Operation::Page if request["Item"].is_object() => {
            world
                .items
                .insert(target.about.clone(), request["Item"].clone());
        }
        Operation::Release | Operation::Page => {
            world.items.remove(&target.about);
        }
        Operation::GetItem => {
            if let Some(old) = old {
                reply["Item"] = old;
            }
        }
        Operation::Turn => {
            let next = match &values[":next"] {
                Value::Null => number(&of("next_turn")) + number(&values[":interval"]),
                _ => number(&values[":next"]),
            };
            world.turns.push(next);
            let next = json!({"N": next.to_string()});
            reply["Attributes"] = json!({"next_turn": next, "expires_at": values[":expires_at"]});
            let item = json!({
                "id": {"S": target.about}, "next_turn": next, "expires_at": values[":expires_at"],
            });
            world.items.insert(target.about.clone(), item);
        }
        Operation::GetObject | Operation::Publish => {}
    }
    json_answer(200, &reply)
}

fn json_answer(status: u16, body: &Value) -> Answer {
    Answer {
        status,
        headers: vec![("content-type", "application/x-amz-json-1.0".into())],
        body: body.to_string().into_bytes(),
    }
}

fn xml(status: u16, code: &str) -> Answer {
    let error = format!("<Error><Code>{code}</Code><Message>by plan</Message></Error>");
    Answer {
        status,
        headers: vec![("content-type", "application/xml".into())],
        body: error.into_bytes(),
    }
}

/// An error in the service's own words.
pub fn failure(operation: Operation, kind: Kind) -> Answer {
    match operation {
        Operation::GetObject => match kind {
            Kind::Internal => xml(500, "InternalError"),
            Kind::Unavailable => xml(503, "SlowDown"),
            Kind::Throttled => xml(503, "SlowDown"),
            Kind::Denied => xml(403, "AccessDenied"),
        },
        Operation::Publish => {
            let (status, code) = match kind {
                Kind::Internal => (500, "InternalFailure"),
                Kind::Unavailable => (503, "ServiceUnavailable"),
                Kind::Throttled => (400, "Throttling"),
                Kind::Denied => (403, "AuthorizationError"),
            };
            let mut answer = xml(status, code);
            let error = String::from_utf8(answer.body).expect("text");
            answer.body = format!("<ErrorResponse>{error}</ErrorResponse>").into_bytes();
            answer
        }
        _ => {
            let (status, code) = match kind {
                Kind::Internal => (500, "InternalServerError"),
                Kind::Unavailable => (503, "ServiceUnavailable"),
                Kind::Throttled => (400, "ProvisionedThroughputExceededException"),
                Kind::Denied => (400, "AccessDeniedException"),
            };
            let name = format!("com.amazonaws.dynamodb.v20120810#{code}");
            json_answer(status, &json!({"__type": name, "message": "by plan"}))
        }
    }
}
