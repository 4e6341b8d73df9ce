//! Rules: Sigma detection rules and filters, compiled, and what they say of a record.
//!
//! A rule file is parsed by rsigma-parser and evaluated by rsigma-eval; around them stand these rooms: raw
//! text made into checked documents (`document.rs`, with `language/` for what the engine needs help with
//! and `position.rs` for lines), the rules of this program (`builtin.rs`), exceptions ([`filter`]), names of
//! this deployment ([`watched`]), how a record looks to the engine (`view.rs`), the text that tells a person
//! what to do ([`response`]), and for authors [`check`], [`cases`], [`explain`] and [`mod@reference`]. Where rule files come from is [`crate::rule_source`]'s
//! business. Source: Sigma Rules Specification 2.1.

mod bound;
mod builtin;
pub mod cases;
pub mod check;
mod comparison;
mod compile;
mod document;
mod encoded;
pub mod explain;
pub mod filter;
mod language;
mod position;
pub mod problem;
pub mod reference;
pub mod relevance;
pub mod response;
mod selector;
mod view;
pub mod watched;

use std::{cmp::Reverse, fmt, sync::Arc};

use jiff::civil::Date;
use rsigma_eval::event::{Event, EventValue};
use rsigma_parser::{FilterRule, SigmaRule};
use serde_json::Value;

use crate::{record::Record, severity::Severity};
use compile::{Compiled, is_met};
use document::{Content, Document, Origin, Trust, same_id};
use filter::Filter;
use problem::{Problem, Weight};
use relevance::Relevance;
use response::Response;
use view::RecordView;
use watched::Watched;

#[cfg(test)]
use builtin::BUILTIN;
pub use builtin::builtin_files;
pub use document::RuleFile;

/// What of a rule goes into an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Sigma's `id`, a UUID.
    pub id: String,
    /// Sigma's `name`, kebab-case: what happened. A rule without one is named after its file, or
    /// by its title where the file holds several.
    pub name: String,
    /// Sigma's `title`.
    pub title: String,
    /// Sigma's `level`.
    pub level: Severity,
    /// ATT&CK techniques such as `T1485`, from the tags.
    pub techniques: Vec<String>,
    words: Words,
    /// Whether the detection asks for parameters of the request: then a record from which CloudTrail left
    /// them out can meet it only because nothing rules it out.
    pub reads_parameters: bool,
    /// Whether the detection names the call, or two or three of a kind: such a rule knows what the call
    /// does; others know how it was made.
    pub is_about_one_call: bool,
}

/// What a rule says to people, or where that stands: a start needs none of it.
#[derive(Debug, Clone)]
enum Words {
    Here(Box<Said>),
    /// The place of the rule among the built-in ones.
    BuiltIn(usize),
}

impl Words {
    fn said(&self) -> &Said {
        match self {
            Words::Here(said) => said,
            Words::BuiltIn(place) => builtin::said(*place),
        }
    }
}

impl PartialEq for Words {
    fn eq(&self, other: &Words) -> bool {
        self.said() == other.said()
    }
}

impl Eq for Words {}

/// What a rule says to people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Said {
    description: String,
    response: Response,
}

/// A rule that a record met, and the filter that kept it back.
#[derive(Debug, Clone)]
pub struct Filtered {
    /// The rule.
    pub rule: Arc<Rule>,
    /// The filter.
    pub filter: Arc<Filter>,
}

impl PartialEq for Filtered {
    fn eq(&self, other: &Filtered) -> bool {
        self.rule.id == other.rule.id && self.filter.id == other.filter.id
    }
}

/// What the rules say of a record.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Met {
    /// The rules it meets, most severe first; of equals, the one that knows most of the call.
    pub rules: Vec<Arc<Rule>>,
    /// The rules it meets from which a filter kept it back, in the same order.
    pub filtered: Vec<Filtered>,
}

/// Compiled rules and filters.
pub struct RuleSet {
    rules: Vec<(Arc<Rule>, Compiled)>,
    filters: Vec<Arc<Filter>>,
    /// Of these rules, in this order.
    relevance: Relevance,
}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleSet")
            .field("rules", &self.rules.len())
            .field("filters", &self.filters.len())
            .finish()
    }
}

/// A rule, where it stands, as it is written, compiled, and what of it goes into alerts.
type RulePart = (Arc<Origin>, Arc<SigmaRule>, Compiled, Arc<Rule>);

/// The parts of a rule set in the making, and what stood in the way of the rest.
#[derive(Debug, Default)]
struct Parts {
    rules: Vec<RulePart>,
    filters: Vec<(Arc<Origin>, FilterRule, Arc<Filter>)>,
    problems: Vec<Problem>,
}

impl RuleSet {
    /// The rules compiled into this program.
    ///
    /// # Errors
    /// A built-in rule is malformed: a mistake in the program, which its tests would show.
    pub fn builtin(watched: &Watched) -> Result<RuleSet, Vec<Problem>> {
        RuleSet::with(&[], watched)
    }

    /// The built-in rules and those of more files. A rule replaces the built-in one with its `id`, and
    /// `status: unsupported` switches that one off.
    ///
    /// # Errors
    /// All that keeps a file from being used; none of the files is used then.
    pub fn with(files: &[RuleFile], watched: &Watched) -> Result<RuleSet, Vec<Problem>> {
        let mut parts = Parts::default();
        let builtin = builtin::documents(watched, &mut parts.problems);
        let added = parts.read(files, watched);
        parts.join(builtin, added).into_set()
    }

    /// Rules and filters of these files alone.
    ///
    /// # Errors
    /// All that keeps a file from being used.
    pub fn of(files: &[RuleFile], watched: &Watched) -> Result<RuleSet, Vec<Problem>> {
        Parts::layered(&[], files, watched).into_set()
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// All rules, most severe first, then by name.
    pub fn rules(&self) -> Vec<Arc<Rule>> {
        let mut rules: Vec<_> = self
            .rules
            .iter()
            .map(|(rule, _)| Arc::clone(rule))
            .collect();
        rules.sort_by_cached_key(|rule| (Reverse(rule.level), rule.name.clone()));
        rules
    }

    /// All filters, in the order of their files.
    pub fn filters(&self) -> &[Arc<Filter>] {
        &self.filters
    }

    /// The calls these rules can meet.
    pub fn relevance(&self) -> &Relevance {
        &self.relevance
    }

    /// The filter in force on a day (in UTC) that keeps a record back from a rule it meets.
    fn filter_of(&self, rule: &Rule, record: &Record, today: Date) -> Option<Arc<Filter>> {
        self.filters
            .iter()
            .find(|filter| {
                filter.is_about(rule) && !filter.is_expired(today) && !filter.lets_through(record)
            })
            .cloned()
    }

    /// The rules that a record can meet, as far as event source and name tell: all of them where it does not
    /// say the first plainly, all of the source where it does not say the second.
    fn candidates(&self, view: &RecordView<'_>) -> impl Iterator<Item = &(Arc<Rule>, Compiled)> {
        let plainly = |field| match view.get_field(field) {
            Some(EventValue::Str(text)) if text.is_ascii() => Some(text),
            _ => None,
        };
        let places = match plainly("eventSource") {
            Some(source) => self
                .relevance
                .rules(&source, plainly("eventName").as_deref()),
            None => (0..self.rules.len()).collect(),
        };
        places.into_iter().map(|place| &self.rules[place])
    }

    /// What the rules and the filters in force on a day (in UTC) say of a record.
    pub fn evaluate(&self, record: &Record, today: Date) -> Met {
        let view = RecordView::new(record);
        let mut rules: Vec<_> = self
            .candidates(&view)
            .filter(|(_, compiled)| is_met(compiled.rule(), &view))
            .map(|(rule, _)| Arc::clone(rule))
            .collect();
        let parameters_omitted = record.omitted_parameters().is_some();
        rules.sort_by_cached_key(|rule| {
            // Of equals, the one that knows the call comes first, and of those the one that can tell more of
            // it: its words head the alert.
            let is_assumed = rule.reads_parameters && parameters_omitted;
            (
                Reverse(rule.level),
                !rule.is_about_one_call,
                is_assumed,
                !rule.reads_parameters,
                rule.name.clone(),
            )
        });
        let mut met = Met::default();
        for rule in rules {
            match self.filter_of(&rule, record, today) {
                Some(filter) => met.filtered.push(Filtered { rule, filter }),
                None => met.rules.push(rule),
            }
        }
        met
    }
}

impl Parts {
    /// Two layers of files: what the upper one says of an id counts.
    fn layered(lower: &[RuleFile], upper: &[RuleFile], watched: &Watched) -> Parts {
        let mut parts = Parts::default();
        let [lower, upper] = [lower, upper].map(|files| parts.read(files, watched));
        parts.join(lower, upper)
    }

    fn read(&mut self, files: &[RuleFile], watched: &Watched) -> Vec<Document> {
        files
            .iter()
            .flat_map(|file| document::read(file, watched, &mut self.problems))
            .collect()
    }

    fn join(mut self, lower: Vec<Document>, upper: Vec<Document>) -> Parts {
        let id_of = |document: &Document| match &document.content {
            Content::Rule { rule, .. } => rule.id.clone(),
            Content::Filter(_, filter) => filter.id.clone(),
            Content::Off(id) => id.clone(),
        };
        let replaced: Vec<String> = upper.iter().map(id_of).collect();
        let kept = lower
            .into_iter()
            .filter(|document| !replaced.contains(&id_of(document)));
        for document in kept.chain(upper) {
            self.add(document);
        }
        self
    }

    /// Adds a document, unless its id or name is taken.
    fn add(&mut self, document: Document) {
        let Document { origin, content } = document;
        let (id, name) = match &content {
            Content::Rule { rule, .. } => (rule.id.as_str(), rule.name.as_str()),
            Content::Filter(_, filter) => (filter.id.as_str(), filter.name.as_str()),
            Content::Off(_) => return,
        };
        let taken = self
            .rules
            .iter()
            .map(|(other, _, _, rule)| (other, &rule.id, &rule.name))
            .chain(
                self.filters
                    .iter()
                    .map(|(other, _, filter)| (other, &filter.id, &filter.name)),
            )
            .find_map(|(other, taken_id, taken_name)| {
                if taken_id == id {
                    Some(("id", id, other))
                } else {
                    (taken_name == name).then_some(("name", name, other))
                }
            });
        if let Some((field, value, other)) = taken {
            let message = format!("{value} is already that of {}", other.file);
            let problem = origin.problem(
                Weight::Error,
                &[field],
                message,
                Some(if field == "id" {
                    "make another with `uuidgen`, or remove one of the two"
                } else {
                    "give one of the two another `name`"
                }),
            );
            self.problems.push(problem);
            return;
        }
        match content {
            Content::Rule {
                sigma,
                compiled,
                rule,
            } => self.rules.push((origin, sigma, compiled, rule)),
            Content::Filter(sigma, filter) => self.filters.push((origin, *sigma, filter)),
            Content::Off(_) => {}
        }
    }

    fn into_set(self) -> Result<RuleSet, Vec<Problem>> {
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        let relevance = Relevance::of(self.rules.iter().map(|(_, sigma, ..)| &**sigma));
        Ok(RuleSet {
            rules: self
                .rules
                .into_iter()
                .map(|(_, _, compiled, rule)| (rule, compiled))
                .collect(),
            filters: self
                .filters
                .into_iter()
                .map(|(_, _, filter)| filter)
                .collect(),
            relevance,
        })
    }
}

impl Rule {
    /// Sigma's `description`.
    pub fn description(&self) -> &str {
        &self.words.said().description
    }

    /// What to do, by outcome of the call.
    pub fn response(&self) -> &Response {
        &self.words.said().response
    }

    fn read(
        origin: &Origin,
        sigma: &SigmaRule,
        response: Option<&Value>,
    ) -> Result<Rule, Vec<Problem>> {
        let mut problems = Vec::new();
        let id = sigma.id.clone().filter(|id| !id.trim().is_empty());
        if id.is_none() {
            problems.push(origin.problem(
                Weight::Error,
                &["id"],
                "is missing; expected a UUID",
                Some("make one with `uuidgen`"),
            ));
        }
        if sigma.level.is_none() {
            problems.push(origin.problem(
                Weight::Error,
                &["level"],
                "is missing; expected informational, low, medium, high or critical",
                Some("it decides whether the alert wakes somebody"),
            ));
        }
        let words = match origin.trust {
            Trust::BuiltIn { place } => Words::BuiltIn(place),
            Trust::Checked => {
                let response = response.map_or(Ok(Response::default()), Response::read);
                let response = response.unwrap_or_else(|message| {
                    problems.push(origin.problem(Weight::Error, &["response"], message, None));
                    Response::default()
                });
                Words::Here(Box::new(Said {
                    description: sigma.description.clone().unwrap_or_default(),
                    response,
                }))
            }
        };
        let name = match &sigma.name {
            Some(name) => checked_name(origin, name).unwrap_or_else(|problem| {
                problems.push(problem);
                String::new()
            }),
            None if origin.alone => kebab_case(stem(&origin.file)),
            None => kebab_case(&sigma.title),
        };
        let (Some(id), Some(level), true) = (id, sigma.level, problems.is_empty()) else {
            return Err(problems);
        };
        Ok(Rule {
            id: same_id(&id),
            name,
            title: sigma.title.clone(),
            level: Severity::from(level),
            techniques: sigma.tags.iter().filter_map(|tag| technique(tag)).collect(),
            words,
            is_about_one_call: bound::is_about_one_call(&sigma.detection),
            reads_parameters: bound::items(&sigma.detection)
                .iter()
                .filter_map(|item| item.item.field.name.as_deref())
                .any(is_parameter),
        })
    }
}

/// A `name` as attributes, counts and terminals can show it.
fn checked_name(origin: &Origin, name: &str) -> Result<String, Problem> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && name.len() <= 100 && name.chars().all(is_plain) {
        return Ok(name.to_owned());
    }
    Err(origin.problem(
        Weight::Error,
        &["name"],
        format!("expected up to 100 letters, digits and hyphens, found {name:?}"),
        Some("say in a few words, joined by hyphens, what happened"),
    ))
}

fn is_parameter(field: &str) -> bool {
    let top = field.split('.').next().unwrap_or_default();
    top.eq_ignore_ascii_case("requestParameters")
}

/// `rules/aws_delete_identity.yml` → `aws_delete_identity`.
fn stem(file: &str) -> &str {
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// Words in small letters, joined by hyphens.
fn kebab_case(text: &str) -> String {
    let words: Vec<String> = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    words.join("-")
}

/// `attack.t1485.001` → `T1485.001`. Source: Sigma Tags Specification 2.1, namespace `attack`.
fn technique(tag: &str) -> Option<String> {
    let name = tag.strip_prefix("attack.")?;
    let digits = name.strip_prefix('t')?;
    digits
        .starts_with(|c: char| c.is_ascii_digit())
        .then(|| format!("T{digits}"))
}

#[cfg(test)]
mod tests;
