//! `lastwords-decode`: what a crash log says, in the terminal.

mod cli;
mod lookup_cli;
mod patience;
mod servers;
mod symbols_cli;
mod vmcore_cli;
mod why;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
