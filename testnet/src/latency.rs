use std::path::PathBuf;
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[arg(long, default_value = "testnet-data-latency")]
    dir: PathBuf,
}
pub async fn run(options: &Options) -> anyhow::Result<()> { let _ = options; Ok(()) }
