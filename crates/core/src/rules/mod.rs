//! Rules: Sigma detection rules and filters, and which of them a record matches.
//!
//! A rule file is parsed by rsigma-parser and evaluated by rsigma-eval. The modules around them, from the
//! bottom up:
//!
//! - `diagnostic`, `position`, `origin`: errors and warnings with file and line.
//! - `response`, `until`, `declaration`, `rule_text`, `rule`, `filter`: what a rule or a filter carries into an alert.
//! - `language`, `selector`, `encoded`: Sigma that the engine evaluates differently, rewritten or rejected.
//! - `compile`, `comparison`, `view`: a rule and a record in the form that the engine evaluates.
//! - `document`, `parsed_file`, `builtin`, `loaded`: rule files and built-in rules, loaded and merged.
//! - [`prefilter`]: which records need not be parsed because no rule can match them.
//! - `closing`: the rules whose calls close deadlines.
//! - `rule_set`: evaluates a record against all rules and filters.
//! - [`check`], [`cases`], [`explain`] with `expectation`, [`mod@reference`]: the commands for rule authors.
//!
//! Reading rule files from disk or S3 happens outside of this crate. Source: Sigma Rules Specification 2.1.

mod api;
mod builtin;
mod case_deadline;
pub mod cases;
pub mod check;
mod closing;
mod comparison;
mod compile;
mod declaration;
mod detection;
pub mod diagnostic;
mod document;
mod embedded;
mod encoded;
mod expectation;
pub mod explain;
pub mod filter;
mod language;
mod loaded;
mod naming;
mod origin;
mod parsed_file;
mod position;
pub mod prefilter;
pub mod reference;
pub mod response;
mod rule;
mod rule_set;
mod rule_text;
mod selector;
mod until;
mod view;
pub mod watched;

pub use builtin::builtin_files;
pub use declaration::{ClosedBy, Declaration};
pub use origin::RuleFile;
pub use parsed_file::ParsedFile;
pub use rule::Rule;
pub use rule_set::{Matched, RuleSet, Suppressed};
pub use until::Until;

pub(crate) use declaration::Resource;

#[cfg(test)]
mod tests;
