//! Values in DynamoDB's JSON: their order, size and sum.

use std::{cmp::Ordering, collections::BTreeSet};

use serde_json::{Map, Value, json};

/// The result of `ADD`: the sum of two numbers, or the union of two sets.
pub fn added(old: &Value, value: &Value) -> Result<Value, String> {
    if let (Some(old), Some(value)) = (integer(old), integer(value)) {
        return Ok(json!({"N": (old + value).to_string()}));
    }
    for kind in ["SS", "NS"] {
        if let (Some(old), Some(value)) = (old[kind].as_array(), value[kind].as_array()) {
            let members = old.iter().chain(value).filter_map(Value::as_str);
            return Ok(json!({kind: members.collect::<BTreeSet<&str>>()}));
        }
    }
    Err("An operand in the update expression has an incorrect data type".to_owned())
}

/// A number. The stub has integers only.
pub fn integer(value: &Value) -> Option<i128> {
    let number = value.get("N")?.as_str().expect("a number is a string");
    Some(number.parse().expect("the stub has integers only"))
}

/// The order of two values of the same type that has one.
pub fn order(left: &Value, right: &Value) -> Option<Ordering> {
    if let (Some(left), Some(right)) = (integer(left), integer(right)) {
        return Some(left.cmp(&right));
    }
    let text = |value: &Value| value.get("S")?.as_str().map(str::to_owned);
    Some(text(left)?.cmp(&text(right)?))
}

/// Whether two values are equal. Numbers may be written in several ways.
pub fn is_equal(left: &Value, right: &Value) -> bool {
    match (integer(left), integer(right)) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

/// What `size` returns: bytes of a text, or members of a set, list or map.
pub fn size(value: &Value) -> Value {
    let (kind, content) = value
        .as_object()
        .and_then(|typed| typed.iter().next())
        .expect("a typed value");
    let size = match kind.as_str() {
        "S" => content.as_str().map(str::len),
        "SS" | "NS" | "L" => content.as_array().map(Vec::len),
        "M" => content.as_object().map(Map::len),
        other => panic!("the stub has no size of {other}"),
    };
    json!({"N": size.expect("a content").to_string()})
}
