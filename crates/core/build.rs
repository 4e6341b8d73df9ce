//! Puts every `rules/**/*.yml` into the program: a rule is added by adding its file, and no list can forget
//! one.
//!
//! It does so twice: as they are written, for whoever wants to read, check or test them, and as the rule
//! engine has parsed them, without what no alert needs. The function starts with the latter, because reading
//! YAML is most of what a start would take. What they say to people is apart: most starts do not end with an
//! alert. Both are packed: a start reads the program from storage.

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
    reason = "cargo tells a build script by variables"
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
        .map(|file| parsed(&root.join(file)))
        .collect::<Result<Vec<_>, _>>()?;
    let words = rules.iter().map(|(_, words)| words);
    pack(words, &Path::new(&out).join("builtin_words"))?;
    let rules = files
        .iter()
        .zip(&rules)
        .map(|(file, (rule, _))| (file, rule));
    pack(rules, &Path::new(&out).join("builtin_rules"))?;
    Ok(())
}

/// Writes values as JSON, one after the other, packed by zlib, and, beside them, their length before that.
fn pack(values: impl Iterator<Item = impl Serialize>, path: &Path) -> Result<(), Box<dyn Error>> {
    let mut packed = ZlibEncoder::new(
        File::create(path.with_extension("json.zlib"))?,
        Compression::best(),
    );
    for value in values {
        serde_json::to_writer(&mut packed, &value)?;
    }
    packed.try_finish()?;
    fs::write(path.with_extension("length"), packed.total_in().to_string())?;
    Ok(())
}

/// What a rule says to people: its description and its response.
type Words = (Option<String>, Option<Value>);

/// The one rule of a file, without what neither the engine nor an alert needs.
fn parsed(path: &Path) -> Result<(IrRule, Words), Box<dyn Error>> {
    let mut collection = parse_sigma_yaml(&fs::read_to_string(path)?)?;
    if let Some(error) = collection.errors.first() {
        return Err(format!("{}: {error}", path.display()).into());
    }
    let rule = collection
        .rules
        .pop()
        .filter(|_| collection.rules.is_empty())
        .ok_or_else(|| format!("{}: expected one Sigma rule", path.display()))?;
    let mut rule = lower_rule(&rule, &LowerOptions::default())?;
    rule.metadata.references = Vec::new();
    rule.metadata.falsepositives = Vec::new();
    rule.metadata.author = None;
    rule.metadata.date = None;
    rule.metadata.modified = None;
    let response = rule.metadata.custom_attributes.remove("response");
    rule.metadata.custom_attributes.clear();
    let words = (rule.metadata.description.take(), response);
    Ok((rule, words))
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
                "{} is no rule: expected a name ending in .yml",
                path.display()
            )
            .into());
        }
    }
    Ok(())
}
