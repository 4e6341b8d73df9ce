//! The verdict of an audit in a report: the file that `audit --format json` has written, summarized in a section.
//!
//! The file is somebody's text: every value is shown on one line, and lists are limited.

use std::{fs, path::Path};

use cloudhsm_alerts_core::text::one_line;
use serde::{Deserialize, Serialize};

use crate::audit::result::{Conclusion, FORMAT};

/// How many chains, periods and findings are shown.
const MAX_SHOWN: usize = 100;
const MAX_FINDINGS: usize = 20;

/// The result of an audit.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct AuditResult {
    format: String,
    pub place: String,
    pub verdict: Conclusion,
    pub at: String,
    pub chains: Vec<Chain>,
    #[serde(default)]
    pub without_digests: Vec<WithoutDigests>,
    #[serde(default)]
    pub errors: Vec<String>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Chain {
    pub verdict: Conclusion,
    pub account: String,
    pub region: String,
    pub trail: String,
    pub proved: Vec<Period>,
    pub not_proved: Vec<Period>,
    pub wrong: u64,
    pub findings: Vec<Finding>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Period {
    pub from: String,
    pub to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Finding {
    pub weight: String,
    pub code: String,
    pub object: Option<String>,
    pub message: String,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct WithoutDigests {
    pub folder: String,
    pub log_files: u64,
}

impl AuditResult {
    /// Reads the result of an audit.
    ///
    /// # Errors
    /// The file cannot be read, or is something else.
    pub(super) fn read(path: &Path) -> Result<AuditResult, String> {
        let name = one_line(&path.to_string_lossy(), 500);
        let expected = "expected the output of `cloudhsm-alerts audit --format json`";
        let text = fs::read(path).map_err(|error| format!("--audit {name}: {error}"))?;
        let mut result: AuditResult = serde_json::from_slice(&text).map_err(|error| {
            format!(
                "--audit {name}: {expected} ({})",
                one_line(&error.to_string(), 200)
            )
        })?;
        if result.format != FORMAT {
            return Err(format!(
                "--audit {name}: {expected} with the format {FORMAT}, found {}",
                one_line(&result.format, 60)
            ));
        }
        result.clean();
        Ok(result)
    }

    /// How many chains have a verdict.
    pub(super) fn count(&self, verdict: Conclusion) -> usize {
        let chains = self.chains.iter();
        chains.filter(|chain| chain.verdict == verdict).count()
    }

    /// How many chains are proved.
    pub(super) fn proved(&self) -> usize {
        self.count(Conclusion::Proved)
    }

    /// Makes every text one line, and puts what is wrong first.
    fn clean(&mut self) {
        let clean = |text: &mut String| *text = one_line(text, 2000);
        clean(&mut self.place);
        clean(&mut self.at);
        self.errors.truncate(MAX_SHOWN);
        self.errors.iter_mut().for_each(clean);
        self.without_digests.truncate(MAX_SHOWN);
        for without in &mut self.without_digests {
            clean(&mut without.folder);
        }
        self.chains
            .sort_by_key(|chain| chain.verdict == Conclusion::Proved);
        for chain in &mut self.chains {
            clean(&mut chain.account);
            clean(&mut chain.region);
            clean(&mut chain.trail);
            chain.proved.truncate(MAX_SHOWN);
            chain.not_proved.truncate(MAX_SHOWN);
            for period in chain.proved.iter_mut().chain(&mut chain.not_proved) {
                clean(&mut period.from);
                clean(&mut period.to);
                period.reason.iter_mut().for_each(clean);
            }
            chain.findings.truncate(MAX_FINDINGS);
            for finding in &mut chain.findings {
                clean(&mut finding.weight);
                clean(&mut finding.code);
                finding.object.iter_mut().for_each(clean);
                clean(&mut finding.message);
            }
        }
    }
}
