//! A parsed rule file, without the text: its documents, and the errors of those that cannot be used.
//!
//! Parsing and compiling take most of the time of loading. So each file is parsed once, when it arrives, and a rule set
//! is made of all of them once the last one is there, and again when one of them has changed.

use std::sync::Arc;

use super::{
    diagnostic::Diagnostic,
    document::{self, Content, Document},
    origin::{Origin, RuleFile},
    watched::Watched,
};

/// A rule file whose documents are parsed and compiled.
#[derive(Debug)]
pub struct ParsedFile {
    pub(super) documents: Vec<Document>,
    pub(super) errors: Vec<Diagnostic>,
}

impl ParsedFile {
    /// Parses a file. Its errors are returned when a rule set is made of it.
    pub fn of(file: &RuleFile, watched: &Watched) -> ParsedFile {
        let mut errors = Vec::new();
        let documents = document::read(file, watched, &mut errors)
            .into_iter()
            .map(without_texts)
            .collect();
        ParsedFile { documents, errors }
    }
}

/// A document that loads, without what only its author needs. Errors that are found later are about top-level members.
fn without_texts(document: Document) -> Document {
    let Document {
        origin,
        mut content,
    } = document;
    if let Content::Rule { sigma, .. } = &mut content {
        let sigma = Arc::make_mut(sigma);
        sigma.custom_attributes.clear();
        sigma.description = None;
        sigma.references.clear();
        sigma.falsepositives.clear();
    }
    let origin = Origin {
        file: origin.file.clone(),
        lines: origin.lines.of_members(),
        alone: origin.alone,
        trust: origin.trust,
    };
    Document {
        origin: Arc::new(origin),
        content,
    }
}
