//! The parser of expressions. It evaluates while it parses.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::{
    Change, Expressions, Item,
    values::{integer, is_equal, order, size},
};

/// The words and symbols of an expression.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    while let Some(first) = rest.chars().next() {
        let length = if is_word(first) || first == '#' || first == ':' {
            1 + rest[1..].find(|c| !is_word(c)).unwrap_or(rest.len() - 1)
        } else if ["<>", "<=", ">="].iter().any(|two| rest.starts_with(two)) {
            2
        } else {
            assert!("()=<>,.+-".contains(first), "unknown syntax {rest:?}");
            1
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

/// A parser of one expression, and the item that it is about.
pub struct Parser<'p, 'r> {
    text: &'p str,
    tokens: Vec<&'p str>,
    at: usize,
    item: &'p Item,
    declared: &'p Expressions<'r>,
}

impl<'p, 'r> Parser<'p, 'r> {
    pub fn new(text: &'p str, item: &'p Item, declared: &'p Expressions<'r>) -> Parser<'p, 'r> {
        Parser {
            text,
            tokens: tokens(text),
            at: 0,
            item,
            declared,
        }
    }

    /// Whether everything was parsed.
    pub fn is_at_end(&self) -> bool {
        self.at == self.tokens.len()
    }

    fn peek(&self) -> &'p str {
        self.tokens.get(self.at).copied().unwrap_or_default()
    }

    pub fn next(&mut self) -> &'p str {
        let token = self.peek();
        assert!(!token.is_empty(), "{:?} ends too early", self.text);
        self.at += 1;
        token
    }

    pub fn takes(&mut self, token: &str) -> bool {
        let takes = self.peek() == token;
        self.at += usize::from(takes);
        takes
    }

    fn expect(&mut self, token: &str) {
        let found = self.next();
        assert_eq!(found, token, "unknown syntax in {:?}", self.text);
    }

    pub fn end(&self) {
        assert_eq!(self.peek(), "", "unknown syntax in {:?}", self.text);
    }

    pub fn or(&mut self) -> bool {
        let mut holds = self.and();
        while self.takes("OR") {
            holds |= self.and();
        }
        holds
    }

    fn and(&mut self) -> bool {
        let mut holds = self.not();
        while self.takes("AND") {
            holds &= self.not();
        }
        holds
    }

    fn not(&mut self) -> bool {
        if self.takes("NOT") {
            return !self.not();
        }
        if self.takes("(") {
            let holds = self.or();
            self.expect(")");
            return holds;
        }
        match self.peek() {
            "attribute_exists" => self.argument().is_some(),
            "attribute_not_exists" => self.argument().is_none(),
            "begins_with" => {
                let (value, part) = self.arguments();
                let text = |value: &Option<Value>| {
                    let value = value.as_ref()?.get("S")?.as_str();
                    value.map(str::to_owned)
                };
                text(&value)
                    .zip(text(&part))
                    .is_some_and(|(value, part)| value.starts_with(&part))
            }
            "contains" => {
                let (value, part) = self.arguments();
                value.zip(part).is_some_and(|(value, part)| {
                    let member = part.get("S").or_else(|| part.get("N"));
                    let member = member.and_then(Value::as_str).expect("a text or number");
                    match (value["SS"].as_array(), value["NS"].as_array()) {
                        (Some(set), _) | (_, Some(set)) => set.iter().any(|each| each == member),
                        _ => value["S"]
                            .as_str()
                            .is_some_and(|text| text.contains(member)),
                    }
                })
            }
            _ => self.comparison(),
        }
    }

    fn comparison(&mut self) -> bool {
        let left = self.compared();
        let operator = self.next();
        let right = self.compared();
        let (Some(left), Some(right)) = (left, right) else {
            return operator == "<>";
        };
        let order = || order(&left, &right);
        match operator {
            "=" => is_equal(&left, &right),
            "<>" => !is_equal(&left, &right),
            "<" => order().is_some_and(Ordering::is_lt),
            "<=" => order().is_some_and(Ordering::is_le),
            ">" => order().is_some_and(Ordering::is_gt),
            ">=" => order().is_some_and(Ordering::is_ge),
            other => panic!("unknown syntax {other:?} in {:?}", self.text),
        }
    }

    /// One side of a comparison.
    fn compared(&mut self) -> Option<Value> {
        if self.peek() == "size" {
            return self.argument().as_ref().map(size);
        }
        self.operand()
    }

    /// The value of the one argument of a function.
    fn argument(&mut self) -> Option<Value> {
        self.next();
        self.expect("(");
        let path = self.path();
        self.expect(")");
        self.member(&path)
    }

    fn arguments(&mut self) -> (Option<Value>, Option<Value>) {
        self.next();
        self.expect("(");
        let first = self.operand();
        self.expect(",");
        let second = self.operand();
        self.expect(")");
        (first, second)
    }

    /// A `:value`, or the value of a path.
    fn operand(&mut self) -> Option<Value> {
        if self.peek().starts_with(':') {
            let token = self.next();
            return Some(self.declared.resolve(token));
        }
        let path = self.path();
        self.member(&path)
    }

    fn path(&mut self) -> Vec<String> {
        let mut path = Vec::new();
        loop {
            let token = self.next();
            path.push(match token.chars().next() {
                Some('#') => {
                    let name = self.declared.resolve(token);
                    name.as_str().expect("a name").to_owned()
                }
                Some(first) if first.is_ascii_alphabetic() || first == '_' => token.to_owned(),
                _ => panic!("expected a path, found {token:?} in {:?}", self.text),
            });
            if !self.takes(".") {
                assert_ne!(self.peek(), "(", "unknown function in {:?}", self.text);
                return path;
            }
        }
    }

    fn member(&self, path: &[String]) -> Option<Value> {
        let (first, rest) = path.split_first()?;
        let mut value = self.item.get(first)?;
        for name in rest {
            value = value.get("M")?.get(name)?;
        }
        Some(value.clone())
    }

    pub fn change(&mut self, section: &str) -> Result<Change, String> {
        let path = self.path();
        match section {
            "SET" => {
                self.expect("=");
                Ok(Change::Set(path, self.sum()?))
            }
            "REMOVE" => Ok(Change::Remove(path)),
            "ADD" => Ok(Change::Add(path, self.set_operand()?)),
            other => panic!("unknown syntax {other:?} in {:?}", self.text),
        }
    }

    /// The right side of `SET`.
    fn sum(&mut self) -> Result<Value, String> {
        let left = self.set_operand()?;
        let sign = match self.peek() {
            "+" => 1,
            "-" => -1,
            _ => return Ok(left),
        };
        self.next();
        let right = self.set_operand()?;
        match (integer(&left), integer(&right)) {
            (Some(left), Some(right)) => Ok(json!({"N": (left + sign * right).to_string()})),
            _ => Err("An operand in the update expression has an incorrect data type".to_owned()),
        }
    }

    fn set_operand(&mut self) -> Result<Value, String> {
        let value = if self.takes("if_not_exists") {
            self.expect("(");
            let path = self.path();
            self.expect(",");
            let default = self.operand();
            self.expect(")");
            self.member(&path).or(default)
        } else {
            self.operand()
        };
        value.ok_or_else(|| {
            "The provided expression refers to an attribute that does not exist in the item"
                .to_owned()
        })
    }
}
