//! The program `lastwords`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match web::cli::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lastwords: {error:#}");
            ExitCode::FAILURE
        }
    }
}
