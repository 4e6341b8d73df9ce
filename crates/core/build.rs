//! Embeds the built-in rules, every `rules/**/*.yml`, in the program.
//!
//! They are embedded twice: as text, for the commands of rule authors, and parsed, for the function, because reading
//! YAML would take most of the time of a start. The parsed rules are without members that no alert uses. Descriptions,
//! responses and deadlines are separate, because most starts do not end with an alert. Both are compressed, because a start
//! reads the program from storage.

use std::{
    env,
    error::Error,
    fs::{self, File},
    path::Path,
};

use flate2::{Compression, write::ZlibEncoder};
use rsigma_ir::{IrRule, LowerOptions, lower_rule};
use rsigma_parser::parse_sigma_yaml;
use serde::Serialize;
use serde_json::Value;

#[expect(
    clippy::disallowed_methods,
    reason = "cargo passes its settings to a build script in variables"
)]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?)
        .join("../..")
        .canonicalize()?;
    let mut files = Vec::new();
    collect(&root, Path::new("rules"), &mut files)?;
    files.sort();

    let out = env::var("OUT_DIR")?;
    let list: String = files
        .iter()
        .map(|file| {
            let path = root.join(file);
            format!("    ({file:?}, include_str!({path:?})),\n")
        })
        .collect();
    fs::write(
        Path::new(&out).join("builtin_rules.rs"),
        format!("&[\n{list}]\n"),
    )?;
    let rules = files
        .iter()
        .map(|file| parse(&root.join(file)))
        .collect::<Result<Vec<_>, _>>()?;
    let texts = rules.iter().map(|(_, text)| text);
    compress(texts, &Path::new(&out).join("builtin_texts"))?;
    let rules = files
        .iter()
        .zip(&rules)
        .map(|(file, (rule, _))| (file, rule));
    compress(rules, &Path::new(&out).join("builtin_rules"))?;
    Ok(())
}

/// Writes consecutive JSON values, compressed by zlib, and their uncompressed length in a second file.
fn compress(
    values: impl Iterator<Item = impl Serialize>,
    path: &Path,
) -> Result<(), Box<dyn Error>> {
    let mut encoder = ZlibEncoder::new(
        File::create(path.with_extension("json.zlib"))?,
        Compression::best(),
    );
    for value in values {
        serde_json::to_writer(&mut encoder, &value)?;
    }
    encoder.try_finish()?;
    fs::write(
        path.with_extension("length"),
        encoder.total_in().to_string(),
    )?;
    Ok(())
}

/// The text of a rule: description, response and deadline.
type RuleText = (Option<String>, Option<Value>, Option<Value>);

/// Parses the rule of a file, and removes what neither the engine nor an alert uses.
fn parse(path: &Path) -> Result<(IrRule, RuleText), Box<dyn Error>> {
    let mut collection = parse_sigma_yaml(&fs::read_to_string(path)?)?;
    if let Some(error) = collection.errors.first() {
        return Err(format!("{}: {error}", path.display()).into());
    }
    let rule = collection
        .rules
        .pop()
        .filter(|_| collection.rules.is_empty())
        .ok_or_else(|| format!("{}: expected exactly one Sigma rule", path.display()))?;
    let mut rule = lower_rule(&rule, &LowerOptions::default())?;
    rule.metadata.references = Vec::new();
    rule.metadata.falsepositives = Vec::new();
    rule.metadata.author = None;
    rule.metadata.date = None;
    rule.metadata.modified = None;
    let response = rule.metadata.custom_attributes.remove("response");
    let deadline = rule.metadata.custom_attributes.remove("deadline");
    rule.metadata.custom_attributes.clear();
    let text = (rule.metadata.description.take(), response, deadline);
    Ok((rule, text))
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<String>) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", root.join(folder).display());
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.path().is_dir() {
            collect(root, &path, files)?;
        } else if path.extension().is_some_and(|e| e == "yml") {
            files.push(path.to_string_lossy().into_owned());
        } else {
            return Err(format!(
                "{}: expected a rule file with the extension .yml",
                path.display()
            )
            .into());
        }
    }
    Ok(())
}
