//! `completions`: shell completions and manual pages, made from the definitions of the options, so that they cannot
//! disagree with `--help`.

use std::{io, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::terminal::print;

#[derive(Args)]
#[command(after_help = "\
Examples:
  cloudhsm-alerts completions bash > ~/.local/share/bash-completion/completions/cloudhsm-alerts
  cloudhsm-alerts completions --man ~/.local/share/man/man1")]
pub struct Arguments {
    /// The shell whose completions to print
    #[arg(value_enum, required_unless_present = "man")]
    shell: Option<Shell>,
    /// Write the manual pages into this folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "shell")]
    man: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut command = crate::Arguments::command();
    if let Some(folder) = &arguments.man {
        std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(command, folder))
            .map_err(|error: io::Error| format!("{}: {error}", folder.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(shell) = arguments.shell {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command, "cloudhsm-alerts", &mut text);
        print(&String::from_utf8_lossy(&text))?;
    }
    Ok(ExitCode::SUCCESS)
}
