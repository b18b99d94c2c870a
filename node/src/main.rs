use clap::Parser;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    node::cli::Cli::parse().run().await
}
