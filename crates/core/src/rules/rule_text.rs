//! Rule text: the description, the response and the deadline of a rule, which alerts and documentation show.
//!
//! Most starts of the function end without an alert, so the texts of the built-in rules are decompressed when
//! the first of them is used.

use std::sync::LazyLock;

use serde_json::Value;

use super::{declaration::Declaration, embedded, response::Response};

/// The texts of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RuleText {
    pub description: String,
    pub response: Response,
    pub deadline: Option<Declaration>,
}

/// The text of a rule, or the index of the built-in rule that has it.
#[derive(Debug, Clone)]
pub(super) enum TextSource {
    Loaded(Box<RuleText>),
    BuiltIn(usize),
}

impl TextSource {
    pub(super) fn text(&self) -> &RuleText {
        match self {
            TextSource::Loaded(text) => text,
            TextSource::BuiltIn(index) => &builtin()[*index],
        }
    }
}

impl PartialEq for TextSource {
    fn eq(&self, other: &TextSource) -> bool {
        self.text() == other.text()
    }
}

impl Eq for TextSource {}

/// As the build script writes them.
type Text = (Option<String>, Option<Value>, Option<Value>);

/// The texts of all built-in rules.
fn builtin() -> &'static [RuleText] {
    static ALL: LazyLock<Vec<RuleText>> = LazyLock::new(|| {
        let mut all = Vec::new();
        let outcome = embedded::TEXTS.for_each(|(description, response, deadline): Text| {
            let response = response.map_or(Ok(Response::default()), |value| Response::of(&value));
            let deadline = deadline.map(|value| Declaration::of(&value)).transpose();
            all.push(match (response, deadline) {
                (Ok(response), Ok(deadline)) => Ok(RuleText {
                    description: description.unwrap_or_default(),
                    response,
                    deadline,
                }),
                (Err(message), _) => Err(message),
                (_, Err(problem)) => Err(problem.message),
            });
        });
        match outcome.map(|()| all.into_iter().collect()) {
            Ok(Ok(all)) => all,
            // The build script wrote the texts, and a test reads each of them.
            other => unreachable!("the texts of the built-in rules: {other:?}"),
        }
    });
    &ALL
}
