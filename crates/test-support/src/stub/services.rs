//! The services of the stub: parses a request, applies it to the state, and makes the response.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::{faults::ErrorKind, request::Operation, state::State};
use crate::{
    http::{Request, Response},
    published::Published,
};

/// A request with its operation and target, as in [`super::RequestKey`].
pub struct ParsedRequest {
    pub operation: Operation,
    pub target: String,
    /// The body of a DynamoDB request.
    json: Value,
    /// The body of an SNS request, or the query of a list.
    form: HashMap<String, String>,
}

pub fn parse(request: &Request) -> ParsedRequest {
    let mut parsed = ParsedRequest {
        operation: Operation::GetObject,
        target: String::new(),
        json: Value::Null,
        form: HashMap::new(),
    };
    if let Some(action) = request.headers.get("x-amz-target") {
        parsed.json = serde_json::from_slice(&request.body).expect("JSON");
        let (_, action) = action.split_once('.').expect("a target");
        if action == "BatchWriteItem" {
            parsed.operation = Operation::Sent;
            let ids: Vec<&str> = sent_items(&parsed.json).map(item_key).collect();
            parsed.target = ids.join(",");
            return parsed;
        }
        if action == "TransactWriteItems" {
            parsed.operation = Operation::ClaimNew;
            let ids: Vec<&str> = updates(&parsed.json).map(|u| item_key(&u["Key"])).collect();
            parsed.target = ids.join(",");
            return parsed;
        }
        let id_member = match action {
            "PutItem" => "Item",
            _ => "Key",
        };
        parsed.target = item_key(&parsed.json[id_member]).to_owned();
        parsed.operation = match action {
            _ if parsed.target.starts_with("cloudhsm-alerts page ") => Operation::Page,
            _ if parsed.target.starts_with("cloudhsm-alerts summary ") => Operation::Share,
            "DeleteItem" => Operation::Release,
            "UpdateItem" => {
                let update = parsed.json["UpdateExpression"].as_str().expect("an update");
                match update {
                    _ if update.starts_with("SET #status = :claimed") => Operation::Claim,
                    "SET delivered = :delivered, claimed_until = :until" => Operation::Note,
                    "SET delivered = :delivered, claimed_until = :released" => Operation::Release,
                    _ => Operation::Slot,
                }
            }
            "GetItem" => Operation::GetItem,
            other => panic!("the stub does not implement {other}"),
        };
    } else if request.method == "POST" {
        parsed.form = parse_form(&request.body);
        assert_eq!(parsed.form["Action"], "Publish");
        let message = published(&parsed.form);
        if let Some(text) = message.page() {
            parsed.operation = Operation::PublishPage;
            parsed.target = text.to_owned();
        } else {
            parsed.operation = Operation::Publish;
            let mut ids = message.event_ids();
            ids.sort();
            parsed.target = ids.join(",");
        }
    } else {
        let path = request.path.trim_start_matches('/');
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if query.contains("list-type=2") {
            parsed.operation = Operation::ListObjects;
            parsed.form = parse_form(query.as_bytes());
            parsed.target = format!("{}?{query}", path.trim_end_matches('/'));
        } else {
            parsed.target = percent_decode_str(path).decode_utf8_lossy().into_owned();
        }
    }
    parsed
}

/// The key of an item here. The ID of a call begins with its event ID, which no other call of a test shares.
fn item_key(item: &Value) -> &str {
    let id = item["id"]["S"].as_str().expect("an id");
    id.split('#').next().unwrap_or_default()
}

/// The items of a BatchWriteItem, which marks calls as sent.
fn sent_items(request: &Value) -> impl Iterator<Item = &Value> {
    let tables = request["RequestItems"].as_object().expect("tables");
    let requests = tables
        .values()
        .flat_map(|each| each.as_array().expect("requests"));
    requests.map(|request| &request["PutRequest"]["Item"])
}

/// The updates of a TransactWriteItems.
fn updates(request: &Value) -> impl Iterator<Item = &Value> {
    let items = request["TransactItems"].as_array().expect("items");
    items.iter().map(|item| &item["Update"])
}

fn parse_form(body: &[u8]) -> HashMap<String, String> {
    let text = std::str::from_utf8(body).expect("text");
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| {
            let decode = |text: &str| {
                let text = text.replace('+', " ");
                percent_decode_str(&text).decode_utf8_lossy().into_owned()
            };
            (decode(name), decode(value))
        })
        .collect()
}

/// The message of a Publish request.
fn published(form: &HashMap<String, String>) -> Published {
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
    let body = match form.get("MessageStructure").map(String::as_str) {
        Some("json") => serde_json::from_str(&form["Message"]).expect("JSON"),
        other => {
            assert_eq!(other, None);
            form["Message"].clone().into()
        }
    };
    Published {
        topic: form["TopicArn"].clone(),
        subject: form.get("Subject").cloned().unwrap_or_default(),
        body,
        attributes,
    }
}

/// Applies a request to the state and returns the response.
pub fn handle(request: &Request, parsed: &ParsedRequest, state: &mut State) -> Response {
    match parsed.operation {
        Operation::GetObject => get_object(request, &parsed.target, state),
        Operation::ListObjects => list_objects(parsed, state),
        Operation::Publish | Operation::PublishPage => publish(&parsed.form, state),
        Operation::Sent => mark_sent(&parsed.json, usize::MAX, state),
        Operation::ClaimNew => claim_new(&parsed.json, state),
        _ => item_request(parsed, state),
    }
}

/// As [`handle`], but only half of the items of a BatchWriteItem are written.
pub fn handle_half(request: &Request, parsed: &ParsedRequest, state: &mut State) -> Response {
    if parsed.operation != Operation::Sent {
        return handle(request, parsed, state);
    }
    let count = sent_items(&parsed.json).count();
    mark_sent(&parsed.json, count / 2, state)
}

/// Writes the first items of a BatchWriteItem, at most `capacity`; the others are unprocessed.
fn mark_sent(request: &Value, capacity: usize, state: &mut State) -> Response {
    let items: Vec<&Value> = sent_items(request).collect();
    assert!(
        (1..=25).contains(&items.len()),
        "DynamoDB takes 1 to 25 items"
    );
    let (written, left) = items.split_at(capacity.min(items.len()));
    for item in written {
        state
            .items
            .insert(item_key(item).to_owned(), (*item).clone());
    }
    let (table, _) = request["RequestItems"]
        .as_object()
        .and_then(|tables| tables.iter().next())
        .expect("a table");
    let left: Vec<Value> = left
        .iter()
        .map(|item| json!({"PutRequest": {"Item": item}}))
        .collect();
    let mut reply = json!({"UnprocessedItems": {}});
    if !left.is_empty() {
        reply["UnprocessedItems"][table] = left.into();
    }
    json_response(200, &reply)
}

/// The ETag of an object, with its quotation marks.
fn e_tag(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

/// Writes all items of a TransactWriteItems, or none if one of their conditions is false.
fn claim_new(request: &Value, state: &mut State) -> Response {
    let mut keys: Vec<&str> = updates(request)
        .map(|update| item_key(&update["Key"]))
        .collect();
    let reasons: Vec<Value> = updates(request)
        .map(|update| {
            assert_eq!(update["ConditionExpression"], "attribute_not_exists(id)");
            let exists = state.items.contains_key(item_key(&update["Key"]));
            json!({"Code": if exists { "ConditionalCheckFailed" } else { "None" }})
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), reasons.len(), "DynamoDB takes each item once");
    assert!(
        (1..=100).contains(&keys.len()),
        "DynamoDB takes 1 to 100 items"
    );
    if reasons.iter().any(|reason| reason["Code"] != "None") {
        let canceled = json!({
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "Message": "Transaction cancelled",
            "CancellationReasons": reasons,
        });
        return json_response(400, &canceled);
    }
    for update in updates(request) {
        let item = claimed(update, json!({"id": update["Key"]["id"]}));
        state
            .items
            .insert(item_key(&update["Key"]).to_owned(), item);
    }
    json_response(200, &json!({}))
}

/// An item after a claim.
fn claimed(request: &Value, mut item: Value) -> Value {
    let values = &request["ExpressionAttributeValues"];
    item["status"] = values[":claimed"].clone();
    item["owner"] = values[":owner"].clone();
    item["claimed_until"] = values[":until"].clone();
    item["expires_at"] = values[":expires_at"].clone();
    item
}

/// A page of objects in order of their keys. The continuation token is the last key of the page before.
fn list_objects(parsed: &ParsedRequest, state: &State) -> Response {
    let bucket = parsed.target.split('?').next().unwrap_or_default();
    let parameter = |name: &str| parsed.form.get(name).map_or("", String::as_str);
    let (prefix, after) = (parameter("prefix"), parameter("continuation-token"));
    let key = |target: &'_ String| Some(target.strip_prefix(bucket)?.strip_prefix('/')?.to_owned());
    let mut objects: Vec<(String, &[u8])> = state
        .objects
        .iter()
        .filter_map(|(target, body)| Some((key(target)?, body.as_slice())))
        .filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after)
        .collect();
    objects.sort_unstable();
    let page_size = state.page_size.unwrap_or(1000);
    let is_truncated = objects.len() > page_size;
    objects.truncate(page_size);
    let escaped = |key: &str| key.replace('&', "&amp;").replace('<', "&lt;");
    let mut body = format!("<ListBucketResult><IsTruncated>{is_truncated}</IsTruncated>");
    if is_truncated && let Some((last, _)) = objects.last() {
        body += &format!(
            "<NextContinuationToken>{}</NextContinuationToken>",
            escaped(last)
        );
    }
    for (key, content) in &objects {
        body += &format!(
            "<Contents><Key>{}</Key><ETag>{}</ETag><Size>{}</Size></Contents>",
            escaped(key),
            e_tag(content),
            content.len()
        );
    }
    body += "</ListBucketResult>";
    Response {
        status: 200,
        headers: vec![("content-type", "application/xml".into())],
        body: body.into_bytes(),
    }
}

fn get_object(request: &Request, target: &str, state: &State) -> Response {
    let Some(body) = state.objects.get(target) else {
        return xml_error(404, "NoSuchKey");
    };
    let e_tag = e_tag(body);
    if let Some(wanted) = request.headers.get("if-match")
        && *wanted != e_tag
    {
        return xml_error(412, "PreconditionFailed");
    }
    let mut response = Response {
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
        response.status = 206;
        response.body.drain(..from);
        let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
        response.headers.push(("content-range", range));
    }
    response
}

fn publish(form: &HashMap<String, String>, state: &mut State) -> Response {
    let message = published(form);
    // SNS counts the message and its attributes.
    let bytes = form["Message"].len()
        + message
            .attributes
            .iter()
            .map(|(name, (data_type, value))| name.len() + data_type.len() + value.len())
            .sum::<usize>();
    let subject = &message.subject;
    // The limits of SNS.
    let is_valid = bytes <= 262_144
        && (message.page().is_some() || (1..100).contains(&subject.len()))
        && subject.bytes().all(|b| (32..127).contains(&b));
    if !is_valid {
        return xml_error(400, "InvalidParameter");
    }
    state.messages.push(message);
    let id = state.messages.len();
    let body = format!(
        "<PublishResponse><PublishResult><MessageId>{id}</MessageId></PublishResult></PublishResponse>"
    );
    Response {
        status: 200,
        headers: vec![("content-type", "text/xml".into())],
        body: body.into_bytes(),
    }
}

/// The members of a string set.
fn set(value: &Value) -> Vec<&str> {
    let members = value["SS"].as_array().expect("a set");
    members.iter().filter_map(Value::as_str).collect()
}

fn number(value: &Value) -> i64 {
    let number = value["N"].as_str().expect("a number");
    number.parse().expect("a number")
}

/// A DynamoDB request. Conditions are not parsed: the stub knows each condition of the function by its text.
fn item_request(parsed: &ParsedRequest, state: &mut State) -> Response {
    let request = &parsed.json;
    let values = &request["ExpressionAttributeValues"];
    let condition = request["ConditionExpression"].as_str().unwrap_or_default();
    let old = state.items.get(&parsed.target).cloned();
    let attribute = |name: &str| old.as_ref().map_or(Value::Null, |item| item[name].clone());
    let is_claimed = attribute("status")["S"] == "claimed";
    let is_owner = attribute("owner") == values[":owner"];
    let holds = match condition {
        "" => true,
        "attribute_not_exists(id) OR (#status = :claimed AND (#owner = :owner OR claimed_until <= :now OR claimed_until > :never))" => {
            old.is_none()
                || (is_claimed
                    && (is_owner
                        || number(&attribute("claimed_until")) <= number(&values[":now"])
                        || number(&attribute("claimed_until")) > number(&values[":never"])))
        }
        "#status = :claimed AND #owner = :owner" => is_claimed && is_owner,
        "#status = :claimed AND #owner = :owner AND attribute_not_exists(delivered)" => {
            is_claimed && is_owner && attribute("delivered").is_null()
        }
        "attribute_not_exists(next_turn) OR next_turn <= :now OR next_turn > :never" => {
            old.is_none()
                || number(&attribute("next_turn")) <= number(&values[":now"])
                || number(&attribute("next_turn")) > number(&values[":never"])
        }
        "paged_for = :call" => attribute("paged_for") == values[":call"],
        "attribute_not_exists(id) OR paged_for = :call OR paged_until <= :now OR paged_until > :until" => {
            old.is_none()
                || attribute("paged_for") == values[":call"]
                || number(&attribute("paged_until")) <= number(&values[":now"])
                || number(&attribute("paged_until")) > number(&values[":until"])
        }
        "attribute_exists(leader) AND closes_at > :now AND closes_at < :never AND size(objects) < :most" => {
            !attribute("leader").is_null()
                && number(&attribute("closes_at")) > number(&values[":now"])
                && number(&attribute("closes_at")) < number(&values[":never"])
                && set(&attribute("objects")).len() < number(&values[":most"]) as usize
        }
        "attribute_not_exists(closes_at) OR closes_at >= :never OR closes_at < :dead OR (attribute_not_exists(leader) AND closes_at <= :idle)" => {
            old.is_none() || {
                let closes_at = number(&attribute("closes_at"));
                closes_at >= number(&values[":never"])
                    || closes_at < number(&values[":dead"])
                    || attribute("leader").is_null() && closes_at <= number(&values[":idle"])
            }
        }
        "attribute_not_exists(leader) AND closes_at <= :now" => {
            old.is_some()
                && attribute("leader").is_null()
                && number(&attribute("closes_at")) <= number(&values[":now"])
        }
        "leader = :leader" => attribute("leader") == values[":leader"],
        "next_turn <= :latest" => {
            old.is_some() && number(&attribute("next_turn")) <= number(&values[":latest"])
        }
        other => panic!("the stub does not implement the condition {other:?}"),
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
        return json_response(400, &refusal);
    }
    let mut reply = json!({});
    match parsed.operation {
        Operation::Claim => {
            let item = old.unwrap_or_else(|| json!({"id": request["Key"]["id"]}));
            let item = claimed(request, item);
            state.items.insert(parsed.target.clone(), item.clone());
            reply["Attributes"] = item;
        }
        Operation::Note | Operation::Release if values[":delivered"].is_object() => {
            let mut item = old.expect("the condition holds only for an item");
            item["delivered"] = values[":delivered"].clone();
            let until = [":released", ":until"].map(|name| values.get(name));
            item["claimed_until"] = until.into_iter().flatten().next().expect("a time").clone();
            state.items.insert(parsed.target.clone(), item);
        }
        Operation::Page if request["Item"].is_object() => {
            state
                .items
                .insert(parsed.target.clone(), request["Item"].clone());
        }
        Operation::Release | Operation::Page => {
            state.items.remove(&parsed.target);
        }
        Operation::GetItem => {
            if let Some(old) = old {
                reply["Item"] = old;
            }
        }
        Operation::Slot => {
            let next = match &values[":next"] {
                Value::Null => number(&attribute("next_turn")) + number(&values[":interval"]),
                _ => number(&values[":next"]),
            };
            state.slots.push(next);
            let next = json!({"N": next.to_string()});
            reply["Attributes"] = json!({"next_turn": next, "expires_at": values[":expires_at"]});
            let item = json!({
                "id": {"S": parsed.target}, "next_turn": next, "expires_at": values[":expires_at"],
            });
            state.items.insert(parsed.target.clone(), item);
        }
        Operation::Share => {
            let mut item = old
                .clone()
                .unwrap_or_else(|| json!({"id": request["Key"]["id"]}));
            let update = request["UpdateExpression"].as_str().expect("an update");
            if update == "ADD objects :objects" {
                let objects = [&item["objects"], &values[":objects"]].map(set).concat();
                let objects: BTreeSet<&str> = objects.into_iter().collect();
                item["objects"] = json!({"SS": objects});
            } else if update == "REMOVE leader, objects" {
                let members = item.as_object_mut().expect("an item");
                members.remove("leader");
                members.remove("objects");
            } else {
                let closes_at = match &values[":closes_at"] {
                    Value::Null => number(&item["closes_at"]) + number(&values[":interval"]),
                    time => number(time),
                };
                item["closes_at"] = json!({"N": closes_at.to_string()});
                for name in ["leader", "objects", "expires_at"] {
                    item[name] = values[format!(":{name}").as_str()].clone();
                }
            }
            let returned = if request["ReturnValues"] == "ALL_OLD" {
                &old
            } else {
                &Some(item.clone())
            };
            reply["Attributes"] = returned.clone().expect("an item");
            state.items.insert(parsed.target.clone(), item);
        }
        Operation::GetObject
        | Operation::ListObjects
        | Operation::Publish
        | Operation::PublishPage
        | Operation::Sent
        | Operation::ClaimNew
        | Operation::Note => {}
    }
    json_response(200, &reply)
}

fn json_response(status: u16, body: &Value) -> Response {
    Response {
        status,
        headers: vec![("content-type", "application/x-amz-json-1.0".into())],
        body: body.to_string().into_bytes(),
    }
}

fn xml_error(status: u16, code: &str) -> Response {
    let error = format!("<Error><Code>{code}</Code><Message>injected</Message></Error>");
    Response {
        status,
        headers: vec![("content-type", "application/xml".into())],
        body: error.into_bytes(),
    }
}

/// The error response of a service.
pub fn error_response(operation: Operation, kind: ErrorKind) -> Response {
    match operation {
        Operation::GetObject | Operation::ListObjects => match kind {
            ErrorKind::Internal => xml_error(500, "InternalError"),
            ErrorKind::Unavailable => xml_error(503, "SlowDown"),
            ErrorKind::Throttled => xml_error(503, "SlowDown"),
            ErrorKind::Denied => xml_error(403, "AccessDenied"),
            ErrorKind::InTransaction => panic!("S3 has no transactions"),
        },
        Operation::Publish | Operation::PublishPage => {
            let (status, code) = match kind {
                ErrorKind::Internal => (500, "InternalFailure"),
                ErrorKind::Unavailable => (503, "ServiceUnavailable"),
                ErrorKind::Throttled => (400, "Throttling"),
                ErrorKind::Denied => (403, "AuthorizationError"),
                ErrorKind::InTransaction => panic!("SNS has no transactions"),
            };
            let mut response = xml_error(status, code);
            let error = String::from_utf8(response.body).expect("UTF-8");
            response.body = format!("<ErrorResponse>{error}</ErrorResponse>").into_bytes();
            response
        }
        _ => {
            let (status, code) = match kind {
                ErrorKind::Internal => (500, "InternalServerError"),
                ErrorKind::Unavailable => (503, "ServiceUnavailable"),
                ErrorKind::Throttled => (400, "ProvisionedThroughputExceededException"),
                ErrorKind::Denied => (400, "AccessDeniedException"),
                ErrorKind::InTransaction => (400, "TransactionConflictException"),
            };
            let name = format!("com.amazonaws.dynamodb.v20120810#{code}");
            json_response(status, &json!({"__type": name, "message": "injected"}))
        }
    }
}
