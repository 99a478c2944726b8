//! `lastwords-decode`: what a crash log says, in the terminal.

mod cli;
mod symbols_cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
