use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    match node::cli::Cli::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The whole chain on one line: what went wrong, and why.
            eprintln!("mebuku: {error:#}");
            ExitCode::FAILURE
        }
    }
}
