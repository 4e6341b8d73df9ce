//! The language: Sigma as the specification defines it, where the engine deviates.
//!
//! The engine accepts some documents and evaluates them differently from the specification. Every detection is
//! therefore examined before it is compiled: it is rewritten to a form that the engine evaluates correctly, or
//! rejected with its line.
//! Source: Sigma Rules Specification and Modifiers Appendix 2.1.

mod item;
mod prepare;
mod syntax;

pub(super) use prepare::prepare;
pub(super) use syntax::{nested_values, unknown_modifiers};
