//! Rule files that an argument names: a folder, a file or `s3://bucket/prefix`, read for the command at hand.

use clap::Args;
use cloudhsm_alerts::{
    rule_source::{self, RulesUri},
    s3,
};
use cloudhsm_alerts_core::rules::{RuleFile, RuleSet, diagnostic::Diagnostic, watched::Watched};

/// `--rules` and `--watched`, of every command that evaluates rules.
#[derive(Args)]
pub struct AddedRules {
    /// More rules: a folder, a file or s3://bucket/prefix, as RULES_URI of the function; may be repeated
    #[arg(long, value_name = "URI")]
    rules: Vec<RulesUri>,
    /// Names of things that rules watch, such as trail_bucket=NAME,alert_topic=ARN
    #[arg(long, value_name = "NAMES", default_value = "", value_parser = Watched::parse, hide_default_value = true)]
    watched: Watched,
}

impl AddedRules {
    /// The built-in rules with those of the arguments.
    ///
    /// # Errors
    /// A place cannot be read, or a file cannot be used; each problem has its line then.
    pub fn load(&self) -> Result<RuleSet, Box<dyn std::error::Error>> {
        let files = read(&self.rules)?;
        RuleSet::with(&files, &self.watched).map_err(|problems| lines(&problems).into())
    }
}

/// The files of some places.
///
/// # Errors
/// A place that cannot be read.
pub fn read(places: &[RulesUri]) -> Result<Vec<RuleFile>, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut files = Vec::new();
        for place in places {
            let client = s3::client(&crate::sdk::config().await);
            files.extend(rule_source::files(place, &client).await?);
        }
        Ok(files)
    })
}

/// One problem a line.
pub fn lines(problems: &[Diagnostic]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
