use serde_json::{Value, json};

use super::{Expressions, Item};

fn item(value: Value) -> Item {
    value.as_object().expect("an item").clone()
}

fn request() -> Value {
    json!({
        "ExpressionAttributeNames": {"#status": "status", "#m": "m", "#1": "1"},
        "ExpressionAttributeValues": {
            ":n": {"N": "10"}, ":s": {"S": "open"}, ":set": {"SS": ["b", "c"]}, ":map": {"M": {}},
        },
    })
}

#[test]
fn conditions() {
    let stored = item(json!({
        "id": {"S": "a"}, "status": {"S": "open"}, "n": {"N": "9"}, "set": {"SS": ["a", "b"]},
        "m": {"M": {"1": {"N": "10"}}},
    }));
    for (condition, with_item, without) in [
        ("attribute_not_exists(id)", false, true),
        ("attribute_exists(id)", true, false),
        ("attribute_exists(#m.#1)", true, false),
        ("#m.#1 = :n", true, false),
        ("#status = :s", true, false),
        ("#status <> :s", false, true),
        // Numbers are compared as numbers.
        ("n < :n", true, false),
        ("n <= :n AND NOT n >= :n", true, false),
        ("n > :n OR n = :n", false, false),
        // Values of different types are not equal, and have no order.
        ("n < :s OR n >= :s OR n = :s", false, false),
        ("n <> :s", true, true),
        ("missing < :n OR missing >= :n", false, false),
        ("NOT missing < :n", true, true),
        ("size(set) < :n", true, false),
        ("begins_with(#status, :s)", true, false),
        ("contains(set, id)", true, false),
        ("contains(#status, id)", false, false),
        // AND binds closer than OR.
        ("id = id OR missing = :n AND missing = :n", true, false),
        ("(id = id OR missing = :n) AND missing = :n", false, false),
    ] {
        let request = request();
        let expressions = Expressions::of(&request);
        let holds = [Some(&stored), None].map(|item| expressions.holds(condition, item));
        assert_eq!(holds, [with_item, without], "{condition}");
    }
}

#[test]
fn updates() {
    let stored = json!({
        "id": {"S": "a"}, "n": {"N": "9"}, "set": {"SS": ["a", "b"]}, "m": {"M": {"1": {"N": "1"}}},
    });
    let with = |change: Value| {
        let mut item = item(stored.clone());
        item.extend(change.as_object().expect("members").clone());
        item
    };
    for (update, members) in [
        ("SET n = :n", json!({"n": {"N": "10"}})),
        ("SET n = n + :n", json!({"n": {"N": "19"}})),
        ("SET n = n - :n", json!({"n": {"N": "-1"}})),
        (
            "SET k = if_not_exists(k, :n) + :n, n = if_not_exists(n, :n) + :n",
            json!({"k": {"N": "20"}, "n": {"N": "19"}}),
        ),
        // All operands are of the item before.
        (
            "SET n = :n, k = n",
            json!({"n": {"N": "10"}, "k": {"N": "9"}}),
        ),
        ("SET #m.#1 = :n", json!({"m": {"M": {"1": {"N": "10"}}}})),
        ("SET #m = :map", json!({"m": {"M": {}}})),
        ("REMOVE #m.#1", json!({"m": {"M": {}}})),
        ("ADD n :n", json!({"n": {"N": "19"}})),
        ("ADD k :n", json!({"k": {"N": "10"}})),
        ("ADD set :set", json!({"set": {"SS": ["a", "b", "c"]}})),
        (
            "SET #status = :s REMOVE missing",
            json!({"status": {"S": "open"}}),
        ),
    ] {
        let request = request();
        let updated = Expressions::of(&request).updated(update, &item(stored.clone()));
        assert_eq!(updated.expect(update).item, with(members), "{update}");
    }
    let request = request();
    let updated = Expressions::of(&request)
        .updated("REMOVE n, set SET #m.#1 = :n", &item(stored.clone()))
        .expect("valid");
    assert_eq!(
        (Value::Object(updated.item), updated.written),
        (
            json!({"id": {"S": "a"}, "m": {"M": {"1": {"N": "10"}}}}),
            ["m", "n", "set"].map(str::to_owned).into()
        )
    );
}

#[test]
fn invalid_updates_are_refused() {
    let stored = item(json!({"id": {"S": "a"}, "n": {"N": "9"}}));
    for (update, message) in [
        (
            "SET #m.#1 = :n",
            "The document path provided in the update expression is invalid for update",
        ),
        (
            "SET n = missing + :n",
            "The provided expression refers to an attribute that does not exist in the item",
        ),
        (
            "SET n = id + :n",
            "An operand in the update expression has an incorrect data type",
        ),
        (
            "ADD id :n",
            "An operand in the update expression has an incorrect data type",
        ),
    ] {
        let request = request();
        let updated = Expressions::of(&request).updated(update, &stored);
        assert_eq!(updated, Err(message.to_owned()), "{update}");
    }
}

#[test]
fn what_the_stub_does_not_know_panics() {
    let condition = |text: &'static str| {
        move || {
            let request = request();
            Expressions::of(&request).holds(text, None);
        }
    };
    let update = |text: &'static str| {
        move || {
            let request = request();
            let _ = Expressions::of(&request).updated(text, &Item::new());
        }
    };
    for text in [
        "id",
        "id = ",
        "id = :n :n",
        "(id = :n",
        "attribute_type(id, :s)",
        "id IN (:n)",
        "id BETWEEN :n AND :n",
        "id = :undeclared",
        "id = #undeclared",
        "id ! :n",
    ] {
        assert!(std::panic::catch_unwind(condition(text)).is_err(), "{text}");
    }
    for text in [
        "DELETE set :set",
        "SET n := :n",
        "SET n = :n, n = :n",
        "SET #m = :map, #m.#1 = :n",
        "n = :n",
    ] {
        assert!(std::panic::catch_unwind(update(text)).is_err(), "{text}");
    }
    let unused = || Expressions::of(&request()).assert_all_used();
    assert!(std::panic::catch_unwind(unused).is_err());
}
