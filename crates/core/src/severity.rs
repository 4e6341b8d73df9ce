//! Severity: one scale of five steps for the level of a rule (Sigma's `level`) and the severity of a finding (OCSF's
//! `severity_id`).

use std::{fmt, str::FromStr};

use rsigma_parser::Level;

/// A severity, from lowest to highest. Sources: Sigma Rules Specification 2.1, `level`; OCSF 1.5.0, `severity_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// For the records only. Not published by default.
    Informational,
    /// Look at it when convenient.
    Low,
    /// Look at it today.
    Medium,
    /// Look at it now.
    High,
    /// Wake someone up.
    Critical,
}

impl Severity {
    /// All severities, from lowest to highest.
    pub const ALL: [Severity; 5] = [
        Severity::Informational,
        Severity::Low,
        Severity::Medium,
        Severity::High,
        Severity::Critical,
    ];

    /// The value in rules, environment variables and message attributes.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Informational => "informational",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }

    /// The severity so many steps below, at least informational.
    pub fn lowered(self, steps: usize) -> Severity {
        let at = Severity::ALL.iter().position(|each| *each == self);
        let at = at.unwrap_or_default().saturating_sub(steps);
        Severity::ALL[at]
    }

    /// OCSF's `severity_id`.
    pub fn ocsf_id(self) -> u8 {
        match self {
            Severity::Informational => 1,
            Severity::Low => 2,
            Severity::Medium => 3,
            Severity::High => 4,
            Severity::Critical => 5,
        }
    }

    /// OCSF's `severity`, the caption of the `severity_id`.
    pub fn ocsf_caption(self) -> &'static str {
        match self {
            Severity::Informational => "Informational",
            Severity::Low => "Low",
            Severity::Medium => "Medium",
            Severity::High => "High",
            Severity::Critical => "Critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = String;

    fn from_str(text: &str) -> Result<Severity, String> {
        Severity::ALL
            .into_iter()
            .find(|severity| severity.as_str().eq_ignore_ascii_case(text.trim()))
            .ok_or_else(|| {
                format!("expected informational, low, medium, high or critical, found {text:?}")
            })
    }
}

impl From<Level> for Severity {
    fn from(level: Level) -> Severity {
        match level {
            Level::Informational => Severity::Informational,
            Level::Low => Severity::Low,
            Level::Medium => Severity::Medium,
            Level::High => Severity::High,
            Level::Critical => Severity::Critical,
        }
    }
}
