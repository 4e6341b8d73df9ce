//! The built-in rules: `rules/**/*.yml`, which the build script embeds into the program.
//!
//! They are embedded twice: as text, for the commands of rule authors, and parsed, for the function, whose
//! starts should not read YAML. A test compares the two, so the parsed rules are not checked again.

use std::sync::Arc;

use rsigma_ir::{IrRule, RaiseOptions, raise_rule};

use super::{
    diagnostic::{Diagnostic, Kind},
    document::{self, Document},
    embedded,
    origin::{Origin, RuleFile, Trust},
    position::Lines,
    watched::Watched,
};

/// Path in the project and content of each file.
pub(super) const BUILTIN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/builtin_rules.rs"));

/// The files of the built-in rules.
pub fn builtin_files() -> Vec<RuleFile> {
    BUILTIN
        .iter()
        .map(|(name, text)| RuleFile {
            name: (*name).to_owned(),
            text: (*text).to_owned(),
        })
        .collect()
}

/// The built-in rules from their parsed form.
pub(super) fn documents(watched: &Watched, errors: &mut Vec<Diagnostic>) -> Vec<Document> {
    let without_attributes = RaiseOptions {
        include_custom_attributes: false,
    };
    let mut documents = Vec::new();
    let mut index = 0;
    let outcome = embedded::RULES.for_each(|(file, rule): (String, IrRule)| {
        let origin = Arc::new(Origin {
            file,
            lines: Lines::default(),
            alone: true,
            trust: Trust::BuiltIn { index },
        });
        let content = raise_rule(&rule, &without_attributes)
            .map_err(|error| vec![origin.error(&[], error.to_string(), None)])
            .and_then(|sigma| document::rule(&origin, sigma, None, None, watched));
        match content {
            Ok(content) => documents.push(Document { origin, content }),
            Err(found) => errors.extend(found),
        }
        index += 1;
    });
    if let Err(error) = outcome {
        errors.push(Diagnostic {
            kind: Kind::Error,
            file: "the built-in rules".into(),
            line: None,
            field: String::new(),
            message: error.to_string(),
            hint: None,
        });
    }
    documents
}
