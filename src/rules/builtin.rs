//! The built-in rules: `rules/**/*.yml`, which the build script puts into the program.
//!
//! It does so twice, as they are written and as the parser has made them; what a start needs of them is the
//! latter. Its tests hold the two against each other, so that here nothing is checked again.

use std::{io, sync::Arc};

use rsigma_ir::{IrRule, RaiseOptions, raise_rule};

use super::{
    RuleFile,
    document::{self, Document, Origin, Trust},
    position::Lines,
    problem::{Problem, Weight},
    watched::Watched,
};

/// `rules/**/*.yml`, listed by the build script: (path in the project, content).
pub(super) const BUILTIN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/builtin_rules.rs"));

/// The same, parsed by the build script, without their tests, references and false positives: a list of files,
/// each with its rule, as JSON, packed by zlib.
const PARSED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/builtin_rules.json.zlib"));

/// The rule files compiled into this program.
pub fn builtin_files() -> Vec<RuleFile> {
    BUILTIN
        .iter()
        .map(|(name, text)| RuleFile {
            name: (*name).to_owned(),
            text: (*text).to_owned(),
        })
        .collect()
}

/// Each as a document, of whose text nothing is left but the rule.
#[expect(
    clippy::disallowed_types,
    reason = "the build script has packed it, and its size is known"
)]
pub(super) fn documents(watched: &Watched, problems: &mut Vec<Problem>) -> Vec<Document> {
    let without_attributes = RaiseOptions {
        include_custom_attributes: false,
    };
    let mut documents = Vec::new();
    let mut read = |file: String, rule: &IrRule| {
        let origin = Arc::new(Origin {
            file,
            lines: Lines::default(),
            alone: true,
            trust: Trust::BuiltIn,
        });
        let content = raise_rule(rule, &without_attributes)
            .map_err(|error| vec![origin.error(&[], error.to_string(), None)])
            .and_then(|sigma| {
                let response = rule.metadata.custom_attributes.get("response");
                document::rule(&origin, sigma, response, watched)
            });
        match content {
            Ok(content) => documents.push(Document { origin, content }),
            Err(found) => problems.extend(found),
        }
    };
    let rules = io::read_to_string(flate2::read::ZlibDecoder::new(PARSED))
        .and_then(|text| Ok(serde_json::from_str::<Vec<(String, IrRule)>>(&text)?));
    match rules {
        Ok(rules) => rules.into_iter().for_each(|(file, rule)| read(file, &rule)),
        Err(error) => problems.push(Problem {
            weight: Weight::Error,
            file: "the built-in rules".into(),
            line: None,
            field: String::new(),
            message: error.to_string(),
            hint: None,
        }),
    }
    documents
}
