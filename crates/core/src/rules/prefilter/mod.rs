//! The prefilter: which records can match a rule, by event source, event name and required literals.
//!
//! It is derived from the parsed rules. A rule is *bound* if every record that matches it has an `eventSource` that
//! the rule names; records of other services need not be parsed to know that the rule does not match. A rule that is
//! not bound (keywords, only a negation, an alternative without `eventSource`) makes the prefilter include every
//! record.
//!
//! The prefilter may include records that match no rule, but never excludes one that matches. Sigma compares
//! regardless of case, and the engine's case folding of non-ASCII characters is not reproduced here: in a rule they
//! match any text, and a record that has them is included. Everything else is compared in lower case.
//!
//! Many rules test a frequent call (`PutRolePolicy`) for a rare parameter. Such a rule has required literals, which
//! the text of a matching record contains. Searching for them takes a twentieth of the time of parsing.

mod alternatives;
mod cache;
mod cached;
mod decision;
mod index;
mod pattern;
mod required;

/// What a rule costs that is not bound, for messages. docs/performance.md has the command that measures it.
pub const UNBOUND: &str = "a rule without a required `eventSource` makes the function parse every record, which takes five to eight times as much processor time";

pub use cached::CachedPrefilter;
pub use index::Prefilter;

#[cfg(test)]
mod tests;
