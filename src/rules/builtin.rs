//! The built-in rules: `rules/**/*.yml`, which the build script puts into the program.
//!
//! It does so twice, as they are written and as the parser has made them; what a start needs of them is the
//! latter. Its tests hold the two against each other, so that here nothing is checked again.

use std::{io::Read, sync::Arc};

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

/// The same, parsed by the build script, without what no alert needs: files, one after the other, each with its
/// rule, as JSON, packed by zlib.
const PARSED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/builtin_rules.json.zlib"));
/// Bytes of it, unpacked.
const LENGTH: usize = include!(concat!(env!("OUT_DIR"), "/builtin_rules_length.rs"));

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
    let mut read = |(file, rule): (String, IrRule)| {
        let origin = Arc::new(Origin {
            file,
            lines: Lines::default(),
            alone: true,
            trust: Trust::BuiltIn,
        });
        let content = raise_rule(&rule, &without_attributes)
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
    // A start takes longer the more memory it touches: so there is one rule at a time of those as parsed.
    let mut text = String::with_capacity(LENGTH);
    let unpacked = flate2::read::ZlibDecoder::new(PARSED).read_to_string(&mut text);
    let outcome = unpacked.and_then(|_| {
        serde_json::Deserializer::from_str(&text)
            .into_iter()
            .try_for_each(|rule| {
                read(rule?);
                Ok(())
            })
    });
    if let Err(error) = outcome {
        problems.push(Problem {
            weight: Weight::Error,
            file: "the built-in rules".into(),
            line: None,
            field: String::new(),
            message: error.to_string(),
            hint: None,
        });
    }
    documents
}
