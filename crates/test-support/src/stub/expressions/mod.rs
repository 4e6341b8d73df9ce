//! DynamoDB's expressions: evaluates a condition on an item, and applies an update to one.
//!
//! The grammar is the part of DynamoDB's that the programs use; anything else panics, and so does a name or a value
//! that is declared and not used, which DynamoDB refuses. An expression is evaluated while it is parsed: nothing that
//! it reads has an effect.
//! Source: Amazon DynamoDB Developer Guide, "Condition and filter expressions, operators, and functions" and "Using
//! update expressions".

mod parser;
#[cfg(test)]
mod tests;
mod values;

use std::{cell::RefCell, collections::BTreeSet};

use serde_json::{Map, Value};

use parser::Parser;
use values::added;

/// An item: its members in DynamoDB's JSON, such as `{"id": {"S": "a"}}`.
pub type Item = Map<String, Value>;

/// The expressions of one request, with its names and values.
pub struct Expressions<'r> {
    names: &'r Value,
    values: &'r Value,
    used: RefCell<BTreeSet<String>>,
}

/// An item after an update, and the names of the members that were written.
#[derive(Debug, PartialEq)]
pub struct Updated {
    pub item: Item,
    pub written: BTreeSet<String>,
}

impl<'r> Expressions<'r> {
    /// The expressions of a request, or of a part of one that has its own names and values.
    pub fn of(request: &'r Value) -> Expressions<'r> {
        Expressions {
            names: &request["ExpressionAttributeNames"],
            values: &request["ExpressionAttributeValues"],
            used: RefCell::default(),
        }
    }

    /// Whether a condition is true of an item; `None`: there is no item.
    pub fn holds(&self, condition: &str, item: Option<&Item>) -> bool {
        let empty = Item::new();
        let mut parser = Parser::new(condition, item.unwrap_or(&empty), self);
        let holds = parser.or();
        parser.end();
        holds
    }

    /// An item after an update, or what DynamoDB's ValidationException says.
    pub fn updated(&self, update: &str, item: &Item) -> Result<Updated, String> {
        let mut parser = Parser::new(update, item, self);
        let mut changes = Vec::new();
        while !parser.is_at_end() {
            let section = parser.next().to_owned();
            loop {
                changes.push(parser.change(&section)?);
                if !parser.takes(",") {
                    break;
                }
            }
        }
        let paths: Vec<&[String]> = changes.iter().map(Change::path).collect();
        for (n, path) in paths.iter().enumerate() {
            let overlaps = |other: &&[String]| other.starts_with(path) || path.starts_with(other);
            assert!(
                !paths[..n].iter().any(overlaps),
                "two document paths overlap in {update:?}"
            );
        }
        let mut updated = Updated {
            item: item.clone(),
            written: BTreeSet::new(),
        };
        for change in changes {
            updated.written.insert(change.path()[0].clone());
            change.apply(&mut updated.item)?;
        }
        Ok(updated)
    }

    /// To be called when all expressions of the request were evaluated.
    pub fn assert_all_used(&self) {
        let used = self.used.borrow();
        for declared in [self.names, self.values] {
            for name in declared.as_object().into_iter().flat_map(Map::keys) {
                assert!(used.contains(name), "{name} is declared and not used");
            }
        }
    }

    /// What stands for a `#name` or `:value`.
    fn resolve(&self, token: &str) -> Value {
        let declared = if token.starts_with('#') {
            self.names
        } else {
            self.values
        };
        self.used.borrow_mut().insert(token.to_owned());
        let value = declared.get(token);
        value
            .unwrap_or_else(|| panic!("{token} is used and not declared"))
            .clone()
    }
}

/// One change of an update.
enum Change {
    Set(Vec<String>, Value),
    Remove(Vec<String>),
    Add(Vec<String>, Value),
}

impl Change {
    fn path(&self) -> &[String] {
        match self {
            Change::Set(path, _) | Change::Remove(path) | Change::Add(path, _) => path,
        }
    }

    fn apply(self, item: &mut Item) -> Result<(), String> {
        let (parents, last) = match self.path().split_last() {
            Some((last, parents)) => (parents.to_vec(), last.clone()),
            None => panic!("a path has a member"),
        };
        let mut members = item;
        for parent in &parents {
            members = members
                .get_mut(parent)
                .and_then(|value| value.get_mut("M"))
                .and_then(Value::as_object_mut)
                .ok_or(
                    "The document path provided in the update expression is invalid for update",
                )?;
        }
        match self {
            Change::Set(_, value) => {
                members.insert(last, value);
            }
            Change::Remove(_) => {
                members.remove(&last);
            }
            Change::Add(path, value) => {
                assert!(path.len() == 1, "the stub adds to top-level members");
                let sum = match members.get(&last) {
                    None => value,
                    Some(old) => added(old, &value)?,
                };
                members.insert(last, sum);
            }
        }
        Ok(())
    }
}
