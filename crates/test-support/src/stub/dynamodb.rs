//! DynamoDB in the stub: two tables, distinguished by their keys. The ledger has the partition key `id`, the watch table
//! the partition key `kind` and the sort key `id`.
//!
//! A request is handled while the stub's state is locked, so conditional writes hold as in DynamoDB. Their expressions
//! are evaluated in [`super::expressions`].

use serde_json::{Value, json};

use super::{
    expressions::{Expressions, Item},
    faults::ErrorKind,
    request::Operation,
    state::State,
};
use crate::http::Response;

/// The operation and the target of a request.
pub fn identify(action: &str, request: &Value) -> (Operation, String) {
    let joined = |ids: Vec<&str>| ids.join(",");
    match action {
        "BatchWriteItem" => {
            let ids = sent_items(request).map(item_key).collect();
            return (Operation::Sent, joined(ids));
        }
        "TransactWriteItems" => {
            let ids = updates(request).map(|update| item_key(&update["Key"]));
            return (Operation::ClaimNew, joined(ids.collect()));
        }
        "Query" => {
            let values = &request["ExpressionAttributeValues"];
            let kind = values[":kind"]["S"].as_str().expect("a kind");
            let operation = match kind {
                "deadline" => Operation::ListDeadlines,
                _ => Operation::ListChains,
            };
            let id = values[":id"]["S"].as_str().unwrap_or_default();
            return (operation, format!("{kind}{id}"));
        }
        "BatchGetItem" => {
            let ids = wanted(request).1.iter().map(item_key).collect();
            return (Operation::ReadFiles, joined(ids));
        }
        _ => {}
    }
    let key = key_of(action, request);
    let target = item_key(key).to_owned();
    let update = request["UpdateExpression"].as_str().unwrap_or_default();
    let operation = match (action, key["kind"]["S"].as_str()) {
        ("UpdateItem", Some("tick")) => Operation::Tick,
        ("UpdateItem", Some("chain")) => Operation::Chain,
        ("UpdateItem", Some("stop")) => Operation::NoteStop,
        ("UpdateItem", Some(_)) => match update {
            _ if update.starts_with("SET #dismissed = ") => Operation::Dismiss,
            _ if update.starts_with("SET #reminded.") => Operation::NoteReminded,
            _ if update.contains("#opened_at = :opened_at") => Operation::OpenDeadline,
            _ => Operation::CloseDeadline,
        },
        (_, Some(_)) => panic!("the stub does not implement {action} of the watch table"),
        _ if target.starts_with("cloudhsm-alerts page ") => Operation::Page,
        _ if target.starts_with("cloudhsm-alerts summary ") => Operation::Share,
        ("DeleteItem", None) => Operation::Release,
        ("UpdateItem", None) => match update {
            _ if update.starts_with("SET #status = :claimed") => Operation::Claim,
            "SET delivered = :delivered, claimed_until = :until" => Operation::Note,
            "SET delivered = :delivered, claimed_until = :released" => Operation::Release,
            _ => Operation::Slot,
        },
        ("GetItem", None) => Operation::GetItem,
        ("PutItem", None) if target.starts_with("file#") => Operation::NoteFile,
        (other, None) => panic!("the stub does not implement {other}"),
    };
    (operation, target)
}

/// Applies a request to the state and returns the response.
pub fn handle(action: &str, operation: Operation, request: &Value, state: &mut State) -> Response {
    match action {
        "BatchWriteItem" => mark_sent(request, usize::MAX, state),
        "TransactWriteItems" => transact(request, state),
        "Query" => query(request, state),
        "BatchGetItem" => batch_get(request, state),
        _ => item_request(action, operation, request, state),
    }
}

/// Marks half of the calls of a BatchWriteItem as sent, rounded down.
pub fn mark_half(request: &Value, state: &mut State) -> Response {
    let count = sent_items(request).count();
    mark_sent(request, count / 2, state)
}

/// The error response of DynamoDB.
pub fn error_response(kind: ErrorKind) -> Response {
    let (status, code) = match kind {
        ErrorKind::Internal => (500, "InternalServerError"),
        ErrorKind::Unavailable => (503, "ServiceUnavailable"),
        ErrorKind::Throttled => (400, "ProvisionedThroughputExceededException"),
        ErrorKind::Denied => (400, "AccessDeniedException"),
        ErrorKind::InTransaction => (400, "TransactionConflictException"),
    };
    error(status, code, json!({"message": "injected"}))
}

fn error(status: u16, code: &str, mut members: Value) -> Response {
    members["__type"] = format!("com.amazonaws.dynamodb.v20120810#{code}").into();
    json_response(status, &members)
}

fn json_response(status: u16, body: &Value) -> Response {
    Response {
        status,
        headers: vec![("content-type", "application/x-amz-json-1.0".into())],
        body: body.to_string().into_bytes(),
    }
}

/// The key of an item, or an item with its key.
fn key_of<'r>(action: &str, request: &'r Value) -> &'r Value {
    match action {
        "PutItem" => &request["Item"],
        _ => &request["Key"],
    }
}

/// The key of an item here. The ID of a call begins with its event ID, which no other call of a test shares.
fn item_key(item: &Value) -> &str {
    let id = item["id"]["S"].as_str().expect("an id");
    match id.starts_with("file#") {
        true => id,
        false => id.split('#').next().unwrap_or_default(),
    }
}

/// The table and the keys of a BatchGetItem.
fn wanted(request: &Value) -> (&String, &Vec<Value>) {
    let tables = request["RequestItems"].as_object().expect("tables");
    let (table, wanted) = tables.iter().next().expect("a table");
    (table, wanted["Keys"].as_array().expect("keys"))
}

/// The items of a BatchGetItem, whole.
fn batch_get(request: &Value, state: &State) -> Response {
    let (table, keys) = wanted(request);
    let mut ids: Vec<&str> = keys.iter().map(item_key).collect();
    assert!(
        (1..=100).contains(&ids.len()),
        "DynamoDB takes 1 to 100 keys"
    );
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), keys.len(), "DynamoDB takes each key once");
    let items: Vec<&Value> = ids.iter().filter_map(|id| state.items.get(*id)).collect();
    json_response(
        200,
        &json!({"Responses": {table: items}, "UnprocessedKeys": {}}),
    )
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

fn stored<'s>(key: &Value, state: &'s State) -> Option<&'s Value> {
    match key["kind"]["S"].as_str() {
        Some(kind) => {
            let id = key["id"]["S"].as_str().expect("an id");
            state.watch.get(&(kind.to_owned(), id.to_owned()))
        }
        None => state.items.get(item_key(key)),
    }
}

/// Stores an item under its key, or removes it.
fn store(key: &Value, item: Option<Item>, state: &mut State) {
    let item = item.map(Value::Object);
    match (key["kind"]["S"].as_str(), item) {
        (Some(kind), item) => {
            let id = key["id"]["S"].as_str().expect("an id");
            let key = (kind.to_owned(), id.to_owned());
            match item {
                Some(item) => state.watch.insert(key, item),
                None => state.watch.remove(&key),
            }
        }
        (None, Some(item)) => state.items.insert(item_key(key).to_owned(), item),
        (None, None) => state.items.remove(item_key(key)),
    };
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
        store(item, item.as_object().cloned(), state);
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

/// Writes all items of a TransactWriteItems, or none if one of their conditions is false.
fn transact(request: &Value, state: &mut State) -> Response {
    let mut keys: Vec<&str> = updates(request)
        .map(|update| item_key(&update["Key"]))
        .collect();
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count, "DynamoDB takes each item once");
    assert!((1..=100).contains(&count), "DynamoDB takes 1 to 100 items");
    let written: Vec<Option<Item>> = updates(request)
        .map(|update| {
            let old = stored(&update["Key"], state);
            let written = written(update, old).expect("a valid update")?;
            Some(written.0)
        })
        .collect();
    if written.iter().any(Option::is_none) {
        let reasons = written.iter().map(|written| match written {
            Some(_) => json!({"Code": "None"}),
            None => json!({"Code": "ConditionalCheckFailed"}),
        });
        let members = json!({
            "Message": "Transaction cancelled",
            "CancellationReasons": reasons.collect::<Vec<Value>>(),
        });
        return error(400, "TransactionCanceledException", members);
    }
    for (update, item) in updates(request).zip(written) {
        store(&update["Key"], item, state);
    }
    json_response(200, &json!({}))
}

/// The item after an update and the names of the members that it writes; `None`: its condition is false.
fn written(
    request: &Value,
    old: Option<&Value>,
) -> Result<Option<(Item, std::collections::BTreeSet<String>)>, String> {
    let old = old.and_then(Value::as_object);
    let expressions = Expressions::of(request);
    let condition = request["ConditionExpression"].as_str();
    let holds = condition.is_none_or(|condition| expressions.holds(condition, old));
    let before = old.or_else(|| request["Key"].as_object()).expect("a key");
    let update = request["UpdateExpression"].as_str().expect("an update");
    // Evaluated in any case, so that names and values that are not used are found.
    let updated = expressions.updated(update, before);
    expressions.assert_all_used();
    if !holds {
        return Ok(None);
    }
    let updated = updated?;
    Ok(Some((updated.item, updated.written)))
}

/// A request about one item.
fn item_request(
    action: &str,
    operation: Operation,
    request: &Value,
    state: &mut State,
) -> Response {
    let key = key_of(action, request);
    let old = stored(key, state).cloned();
    let mut reply = json!({});
    let after = match action {
        "GetItem" => {
            if let Some(old) = old {
                reply["Item"] = old;
            }
            return json_response(200, &reply);
        }
        "UpdateItem" => match written(request, old.as_ref()) {
            Ok(Some((item, written))) => {
                let only_written = |item: &Item| -> Item {
                    let members = item.iter().filter(|(name, _)| written.contains(*name));
                    let members = members.map(|(name, value)| (name.clone(), value.clone()));
                    members.collect()
                };
                let before = old.as_ref().and_then(Value::as_object);
                let returned = match request["ReturnValues"].as_str().unwrap_or("NONE") {
                    "NONE" => None,
                    "ALL_NEW" => Some(item.clone()),
                    "ALL_OLD" => before.cloned(),
                    "UPDATED_NEW" => Some(only_written(&item)),
                    "UPDATED_OLD" => before.map(only_written),
                    other => panic!("no such ReturnValues: {other}"),
                };
                if let Some(returned) = returned {
                    reply["Attributes"] = returned.into();
                }
                Some(Some(item))
            }
            Ok(None) => None,
            Err(message) => {
                return error(400, "ValidationException", json!({"message": message}));
            }
        },
        "PutItem" | "DeleteItem" => {
            let expressions = Expressions::of(request);
            let before = old.as_ref().and_then(Value::as_object);
            let condition = request["ConditionExpression"].as_str();
            let holds = condition.is_none_or(|condition| expressions.holds(condition, before));
            expressions.assert_all_used();
            holds.then(|| request["Item"].as_object().cloned())
        }
        other => panic!("the stub does not implement {other}"),
    };
    let Some(after) = after else {
        let mut members = json!({"message": "The conditional request failed"});
        if request["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"
            && let Some(old) = old
        {
            members["Item"] = old;
        }
        return error(400, "ConditionalCheckFailedException", members);
    };
    if operation == Operation::Slot
        && let Some(next) = after.as_ref().and_then(|item| item.get("next_turn"))
    {
        let next = next["N"].as_str().expect("a number");
        state.slots.push(next.parse().expect("a number"));
    }
    store(key, after, state);
    json_response(200, &reply)
}

/// A page of the items of one kind in the watch table, in order of their IDs.
fn query(request: &Value, state: &State) -> Response {
    let condition = request["KeyConditionExpression"].as_str();
    let condition = condition.expect("a condition");
    for member in ["FilterExpression", "Limit", "IndexName", "ScanIndexForward"] {
        assert!(request[member].is_null(), "the stub has no {member}");
    }
    let expressions = Expressions::of(request);
    let from = &request["ExclusiveStartKey"];
    let from = ["kind", "id"].map(|name| from[name]["S"].as_str().unwrap_or_default());
    let mut found = state.watch.iter().filter(|((kind, id), item)| {
        expressions.holds(condition, item.as_object()) && [kind.as_str(), id.as_str()] > from
    });
    let page_size = state.query_page_size.unwrap_or(1000);
    let page: Vec<&Value> = found
        .by_ref()
        .take(page_size)
        .map(|(_, item)| item)
        .collect();
    let mut reply = json!({"Count": page.len(), "ScannedCount": page.len(), "Items": page});
    if found.next().is_some()
        && let Some(last) = page.last()
    {
        reply["LastEvaluatedKey"] = json!({"kind": last["kind"], "id": last["id"]});
    }
    json_response(200, &reply)
}
