//! Rules: Sigma detection rules, compiled, and what they say of a record.
//!
//! A rule file is parsed by rsigma-parser and evaluated by rsigma-eval; around them stand three rooms:
//! what of a rule goes into an alert ([`Rule`]), how a record looks to the engine (`view.rs`), and
//! the text that tells a person what to do ([`response`]). Source: Sigma Rules Specification 2.1.

pub mod response;
mod view;

use std::{collections::HashMap, fmt, sync::Arc};

use rsigma_eval::Engine;
use rsigma_parser::{SigmaRule, parse_sigma_yaml};
use thiserror::Error;

use crate::{record::Record, severity::Severity};
use response::Response;
use view::RecordView;

/// `rules/**/*.yml`, listed by the build script: (path in the project, content).
const BUILTIN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/builtin_rules.rs"));

/// A rule that cannot be used.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("rule file {file}: {message}")]
pub struct RuleError {
    /// The file it stands in.
    pub file: String,
    /// What was found and what was expected.
    pub message: String,
}

/// What of a rule goes into an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Sigma's `id`, a UUID.
    pub id: String,
    /// Sigma's `name`, kebab-case: what happened.
    pub name: String,
    /// Sigma's `title`.
    pub title: String,
    /// Sigma's `description`.
    pub description: String,
    /// Sigma's `level`.
    pub level: Severity,
    /// ATT&CK techniques such as `T1485`, from the tags.
    pub techniques: Vec<String>,
    /// What to do, by outcome of the call.
    pub response: Response,
}

/// Compiled rules.
pub struct RuleSet {
    engine: Engine,
    rules: HashMap<String, Arc<Rule>>,
}

impl fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleSet")
            .field("rules", &self.rules.len())
            .finish()
    }
}

impl RuleSet {
    /// The rules compiled into this program.
    ///
    /// # Errors
    /// A built-in rule is malformed: a mistake in the program, which its tests would show.
    pub fn builtin() -> Result<RuleSet, RuleError> {
        RuleSet::from_files(BUILTIN.iter().copied())
    }

    /// Rules from (file name, YAML) pairs.
    ///
    /// # Errors
    /// The first file that is not a usable rule.
    pub fn from_files<'f>(
        files: impl IntoIterator<Item = (&'f str, &'f str)>,
    ) -> Result<RuleSet, RuleError> {
        let mut engine = Engine::new();
        let mut rules: HashMap<String, Arc<Rule>> = HashMap::new();
        for (file, yaml) in files {
            let error = |message: String| RuleError {
                file: file.to_owned(),
                message,
            };
            let collection = parse_sigma_yaml(yaml).map_err(|e| error(e.to_string()))?;
            if let Some(first) = collection.errors.first() {
                return Err(error(first.clone()));
            }
            if !collection.correlations.is_empty() || !collection.filters.is_empty() {
                return Err(error(
                    "holds a correlation or a filter; expected detection rules only".into(),
                ));
            }
            if collection.rules.is_empty() {
                return Err(error(
                    "holds no rule; expected a Sigma detection rule".into(),
                ));
            }
            for sigma in &collection.rules {
                let rule = Rule::read(sigma).map_err(&error)?;
                if let Some(other) = rules.get(&rule.id) {
                    return Err(error(format!(
                        "id {} is already that of rule {}",
                        rule.id, other.name
                    )));
                }
                if let Some(other) = rules.values().find(|other| other.name == rule.name) {
                    return Err(error(format!(
                        "name {} is already that of rule {}",
                        rule.name, other.id
                    )));
                }
                engine.add_rule(sigma).map_err(|e| error(e.to_string()))?;
                rules.insert(rule.id.clone(), Arc::new(rule));
            }
        }
        Ok(RuleSet { engine, rules })
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
        let mut rules: Vec<_> = self.rules.values().cloned().collect();
        sort(&mut rules);
        rules
    }

    /// The rules this record meets, most severe first, then by name.
    pub fn matching(&self, record: &Record) -> Vec<Arc<Rule>> {
        let mut met: Vec<_> = self
            .engine
            .evaluate(&RecordView::new(record))
            .iter()
            .filter_map(|hit| hit.header.rule_id.as_ref())
            .filter_map(|id| self.rules.get(id).cloned())
            .collect();
        sort(&mut met);
        met
    }
}

fn sort(rules: &mut [Arc<Rule>]) {
    rules.sort_by(|a, b| b.level.cmp(&a.level).then_with(|| a.name.cmp(&b.name)));
}

impl Rule {
    fn read(sigma: &SigmaRule) -> Result<Rule, String> {
        let required = |name: &str, value: &Option<String>| {
            value
                .clone()
                .filter(|text| !text.trim().is_empty())
                .ok_or_else(|| format!("rule {:?} has no {name}", sigma.title))
        };
        let response = match sigma.custom_attributes.get("response") {
            Some(yaml) => serde_json::to_value(yaml)
                .map_err(|e| e.to_string())
                .and_then(|value| Response::read(&value))
                .map_err(|e| format!("response: {e}"))?,
            None => Response::default(),
        };
        Ok(Rule {
            id: required("id", &sigma.id)?,
            name: required("name", &sigma.name)?,
            title: sigma.title.clone(),
            description: sigma.description.clone().unwrap_or_default(),
            level: sigma
                .level
                .map(Severity::from)
                .ok_or_else(|| format!("rule {:?} has no level", sigma.title))?,
            techniques: sigma.tags.iter().filter_map(|tag| technique(tag)).collect(),
            response,
        })
    }
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
