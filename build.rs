//! Lists the rule files, so that every `rules/**/*.yml` is compiled into the binary: a rule is added
//! by adding its file, and no list can forget one.
//!
//! They are listed twice: as they are, for whoever wants to read, check or test them, and without what no
//! alert needs, which is more than half of their text, for the function, which reads them at each start.

use std::{env, fs, io, path::Path};

#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells a build script by variables"
)]
fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=rules");
    let mut files = Vec::new();
    collect(Path::new("rules"), &mut files)?;
    files.sort();

    let root = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    let list: String = files
        .iter()
        .map(|file| {
            let path = Path::new(&root).join(file);
            format!("    ({file:?}, include_str!({path:?})),\n")
        })
        .collect();
    fs::write(
        Path::new(&out).join("builtin_rules.rs"),
        format!("&[\n{list}]\n"),
    )?;
    let mut bare = String::new();
    for file in &files {
        let text = without(&fs::read_to_string(file)?, NOT_IN_ALERTS);
        bare += &format!("    ({file:?}, {text:?}),\n");
    }
    fs::write(
        Path::new(&out).join("bare_rules.rs"),
        format!("&[\n{bare}]\n"),
    )
}

/// Members of a rule that neither the engine nor an alert needs.
const NOT_IN_ALERTS: &[&str] = &["tests", "references", "falsepositives"];

/// The text without some members of its top level: their lines are left empty, so that all others stay where
/// they are.
fn without(text: &str, members: &[&str]) -> String {
    let mut is_left_out = false;
    let mut kept = String::new();
    for line in text.lines() {
        let begins_member = line.starts_with(|c: char| c.is_ascii_alphabetic());
        if begins_member || line.starts_with("---") {
            let name = line.split(':').next().unwrap_or_default();
            is_left_out = members.contains(&name);
        }
        if !is_left_out {
            kept += line;
        }
        kept.push('\n');
    }
    kept
}

fn collect(folder: &Path, files: &mut Vec<String>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "yml") {
            files.push(path.to_string_lossy().into_owned());
        } else {
            let message = format!(
                "{} is no rule: expected a name ending in .yml",
                path.display()
            );
            return Err(io::Error::other(message));
        }
    }
    Ok(())
}
