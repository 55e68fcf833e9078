//! `windlass completions` and `windlass man`: what a shell and `man` know of the command line, made of the command line itself.

use super::output;
use clap::CommandFactory as _;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Completions {
    /// Whose: bash, elvish, fish, powershell or zsh
    shell: clap_complete::Shell,
}

/// To standard output, for the shell's own folder of completions.
pub fn completions(args: &Completions) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "windlass", &mut text);
    Ok(output::print(&String::from_utf8_lossy(&text))?)
}

#[derive(Debug, clap::Args)]
pub struct Man {
    /// Write a page for each command into this folder, such as /usr/local/share/man/man1, instead of printing the first
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

pub fn man(args: &Man) -> anyhow::Result<()> {
    let command = super::Cli::command();
    if let Some(folder) = &args.folder {
        std::fs::create_dir_all(folder)?;
        clap_mangen::generate_to(command, folder)?;
        return Ok(());
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(output::print(&String::from_utf8_lossy(&page))?)
}
