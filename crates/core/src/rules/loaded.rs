//! Loaded rules and filters: the documents of rule files, with duplicate ids and names rejected.
//!
//! Rule files form two layers. A document of the upper layer replaces the document of the lower layer with the
//! same id; `status: unsupported` removes it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use rsigma_parser::{FilterRule, SigmaRule};

use super::{
    builtin,
    compile::Compiled,
    diagnostic::Diagnostic,
    document::{self, Content, Document},
    filter::Filter,
    origin::{Origin, RuleFile},
    parsed_file::ParsedFile,
    rule::Rule,
    watched::Watched,
};

/// Rules and filters, and the errors of documents that could not be loaded.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub rules: Vec<LoadedRule>,
    pub filters: Vec<LoadedFilter>,
    pub errors: Vec<Diagnostic>,
    /// The names and ids of the rules of the lower layer that the upper layer replaced or switched off.
    pub replaced: HashMap<String, String>,
}

/// A rule as it is written, compiled, and as alerts use it.
#[derive(Debug)]
pub(super) struct LoadedRule {
    pub origin: Arc<Origin>,
    pub sigma: Arc<SigmaRule>,
    pub compiled: Compiled,
    pub rule: Arc<Rule>,
}

/// A filter as it is written, and compiled.
#[derive(Debug)]
pub(super) struct LoadedFilter {
    pub origin: Arc<Origin>,
    pub sigma: Arc<FilterRule>,
    pub filter: Arc<Filter>,
}

/// Where the ids and names of rules and filters that were added are from.
#[derive(Debug, Default)]
struct Used {
    ids: HashMap<String, Arc<Origin>>,
    names: HashMap<String, Arc<Origin>>,
}

impl Loaded {
    /// The rules of some files alone.
    pub(super) fn files(files: &[RuleFile], watched: &Watched) -> Loaded {
        Loaded::layered(&[], files, watched)
    }

    /// The built-in rules as the lower layer, parsed files as the upper layer.
    pub(super) fn builtin_and<'f>(
        files: impl IntoIterator<Item = &'f ParsedFile>,
        watched: &Watched,
    ) -> Loaded {
        let mut loaded = Loaded::default();
        let builtin = builtin::documents(watched, &mut loaded.errors);
        let mut added = Vec::new();
        for file in files {
            added.extend_from_slice(&file.documents);
            loaded.errors.extend_from_slice(&file.errors);
        }
        loaded.merge(builtin, added)
    }

    /// Two layers of files.
    pub(super) fn layered(lower: &[RuleFile], upper: &[RuleFile], watched: &Watched) -> Loaded {
        let mut loaded = Loaded::default();
        let [lower, upper] = [lower, upper].map(|files| loaded.read(files, watched));
        loaded.merge(lower, upper)
    }

    fn read(&mut self, files: &[RuleFile], watched: &Watched) -> Vec<Document> {
        files
            .iter()
            .flat_map(|file| document::read(file, watched, &mut self.errors))
            .collect()
    }

    fn merge(mut self, lower: Vec<Document>, upper: Vec<Document>) -> Loaded {
        let id_of = |document: &Document| match &document.content {
            Content::Rule { rule, .. } => rule.id.clone(),
            Content::Filter(_, filter) => filter.id.clone(),
            Content::Disabled(id) => id.clone(),
        };
        let replaced: HashSet<String> = upper.iter().map(id_of).collect();
        let (gone, kept): (Vec<Document>, Vec<Document>) = lower
            .into_iter()
            .partition(|document| replaced.contains(&id_of(document)));
        for document in gone {
            if let Content::Rule { rule, .. } = &document.content {
                self.replaced.insert(rule.name.clone(), rule.id.clone());
            }
        }
        let mut used = Used::default();
        for document in kept.into_iter().chain(upper) {
            self.add(document, &mut used);
        }
        self
    }

    /// Adds a document, unless its id or name is in use.
    fn add(&mut self, document: Document, used: &mut Used) {
        let Document { origin, content } = document;
        let (id, name) = match &content {
            Content::Rule { rule, .. } => (rule.id.as_str(), rule.name.as_str()),
            Content::Filter(_, filter) => (filter.id.as_str(), filter.name.as_str()),
            Content::Disabled(_) => return,
        };
        let by_id = used.ids.get(id).map(|other| ("id", id, other));
        let by_name = used.names.get(name).map(|other| ("name", name, other));
        if let Some((field, value, other)) = by_id.or(by_name) {
            let error = origin.error(
                &[field],
                format!(
                    "expected a unique {field}, found {value}, which {} uses, too",
                    other.file
                ),
                Some(if field == "id" {
                    "generate another with `uuidgen`, or remove one of the two"
                } else {
                    "change the `name` of one of the two"
                }),
            );
            self.errors.push(error);
            return;
        }
        used.ids.insert(id.to_owned(), Arc::clone(&origin));
        used.names.insert(name.to_owned(), Arc::clone(&origin));
        match content {
            Content::Rule {
                sigma,
                compiled,
                rule,
            } => self.rules.push(LoadedRule {
                origin,
                sigma,
                compiled,
                rule,
            }),
            Content::Filter(sigma, filter) => self.filters.push(LoadedFilter {
                origin,
                sigma,
                filter,
            }),
            Content::Disabled(_) => {}
        }
    }
}
