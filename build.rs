//! Lists the rule files, so that every `rules/**/*.yml` is compiled into the binary: a rule is added
//! by adding its file, and no list can forget one.

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
    )
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
