//! Rule files that an argument names: a folder, a file or `s3://bucket/prefix`.

use clap::Args;
use cloudhsm_alerts::{files::FilesUri, rule_source, s3};
use cloudhsm_alerts_core::rules::{
    RuleFile, RuleSet, builtin_files, diagnostic::Diagnostic, watched::Watched,
};

use crate::sdk;

/// `--rules` and `--watched`, for every command that evaluates rules.
#[derive(Args)]
pub struct AddedRules {
    /// Additional rules: a folder, a file or s3://bucket/prefix, as in RULES_URI; can be repeated
    #[arg(long, value_name = "URI")]
    rules: Vec<FilesUri>,
    /// Names of the resources that rules watch, such as trail_bucket=NAME,alert_topic=ARN
    #[arg(long, value_name = "NAMES", default_value = "", value_parser = Watched::parse, hide_default_value = true)]
    watched: Watched,
}

impl AddedRules {
    /// The built-in rules and the additional ones.
    ///
    /// # Errors
    /// A location cannot be read, or a file is invalid. The message has one line for each problem.
    pub fn load(&self) -> Result<RuleSet, Box<dyn std::error::Error>> {
        self.set(read(&self.rules)?)
    }

    /// The same, and a rule file that belongs to the command.
    ///
    /// # Errors
    /// As for [`AddedRules::load`].
    pub fn load_with(&self, file: RuleFile) -> Result<RuleSet, Box<dyn std::error::Error>> {
        let mut files = read(&self.rules)?;
        files.push(file);
        self.set(files)
    }

    fn set(&self, files: Vec<RuleFile>) -> Result<RuleSet, Box<dyn std::error::Error>> {
        RuleSet::with(&files, &self.watched).map_err(|problems| lines(&problems).into())
    }
}

/// The rule files of some locations; without a location, the built-in ones.
///
/// # Errors
/// A location cannot be read, or there is no rule file.
pub fn read_or_builtin(
    locations: &[FilesUri],
) -> Result<Vec<RuleFile>, Box<dyn std::error::Error>> {
    if locations.is_empty() {
        return Ok(builtin_files());
    }
    let files = read(locations)?;
    if files.is_empty() {
        let locations: Vec<String> = locations.iter().map(ToString::to_string).collect();
        return Err(format!(
            "{}: no rule files: expected names that end in .yml or .yaml",
            locations.join(", ")
        )
        .into());
    }
    Ok(files)
}

fn read(locations: &[FilesUri]) -> Result<Vec<RuleFile>, Box<dyn std::error::Error>> {
    sdk::runtime()?.block_on(async {
        let mut files = Vec::new();
        for location in locations {
            let client = s3::client(&sdk::config().await);
            files.extend(rule_source::read_once(location, &client).await?);
        }
        Ok(files)
    })
}

/// One line for each problem.
pub fn lines(problems: &[Diagnostic]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
