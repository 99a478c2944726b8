//! The command line: `lastwords serve`, `lastwords symbols`, `lastwords token`, `lastwords reindex`,
//! `lastwords demo`.

mod symbols;
mod token;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{self, Setup};
use crate::symbols::Settings;
use crate::{dump, reindex};

/// Hears what a dying Linux kernel said, keeps it, names it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Takes evidence from agents, names it and shows it.
    Serve(Serve),
    /// Debug files: what is at hand, what is missing, and how it comes in.
    #[command(subcommand)]
    Symbols(symbols::Symbols),
    /// Tokens: who may hand over, read, put debug files in, decide.
    #[command(subcommand)]
    Token(token::Token),
    /// Names evidence again after the rules changed; the service must be stopped.
    Reindex(Reindex),
    /// Reads a dump of memory within limits, for the service.
    #[command(hide = true)]
    ReadDump {
        /// The dump.
        path: PathBuf,
    },
    /// Shows the whole way of a crash, on records of real ones.
    #[cfg(feature = "demo")]
    Demo(crate::demo::Demo),
}

/// What a command that works beside the service needs.
#[derive(Debug, clap::Args)]
struct Data {
    /// The service's folder.
    #[arg(long, env = "LASTWORDS_DATA")]
    data: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Reindex {
    #[command(flatten)]
    data: Data,
    /// Say which titles would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Also what the rules of now have named.
    #[arg(long)]
    all: bool,
}

impl Reindex {
    async fn run(self) -> anyhow::Result<()> {
        let Reindex { data: Data { data }, dry_run, all } = self;
        anyhow::ensure!(data.join("custody.db").exists(), "there is no service in {}", data.display());
        let setup = Setup {
            data,
            open_to_local_readers: false,
            symbols: Settings::default(),
            dump_reader: ourselves()?,
        };
        let app = app::open(&setup).await.context("opening the data folder")?;
        let outcome = reindex::run(&app, all, dry_run).await.context("naming evidence again")?;
        let mut table = String::new();
        for (reindex::Change { old, new }, crashes) in &outcome.changes {
            let word = |title: &Option<String>| title.clone().unwrap_or_else(|| "(no report)".to_owned());
            table += &format!("{crashes}\t{}\t{}\n", word(old), word(new));
        }
        // Whoever reads only the head of it closes the pipe.
        let _ = std::io::stdout().write_all(table.as_bytes());
        let changed: u64 = outcome.changes.values().sum();
        let done = if dry_run { "would change" } else { "changed" };
        if outcome.dumps > 0 {
            eprintln!("{} dumps of an older reader read again", outcome.dumps);
        }
        eprintln!("{} pieces of evidence read; the titles of {changed} crashes {done}", outcome.read);
        app.store.close().await;
        Ok(())
    }
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Folder of everything the service keeps; made at the first start.
    #[arg(long, env = "LASTWORDS_DATA")]
    data: PathBuf,
    /// Address to listen on.
    #[arg(long, env = "LASTWORDS_LISTEN", default_value = "127.0.0.1:8440")]
    listen: SocketAddr,
    /// Ask for a token to read even where only this machine can connect.
    #[arg(long, env = "LASTWORDS_ALWAYS_ASK")]
    always_ask: bool,
    #[command(flatten)]
    symbols: symbols::Options,
}

/// Reads the command line and does what it says.
pub fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    log();
    match arguments.command {
        Command::Serve(serve) => in_runtime(serve.run()),
        Command::Symbols(symbols) => in_runtime(symbols.run()),
        Command::Token(token) => in_runtime(token.run()),
        Command::Reindex(reindex) => in_runtime(reindex.run()),
        Command::ReadDump { path } => dump::read_here(&path),
        #[cfg(feature = "demo")]
        Command::Demo(demo) => in_runtime(demo.run()),
    }
}

fn in_runtime(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new().context("starting the runtime")?.block_on(work)
}

impl Serve {
    async fn run(self) -> anyhow::Result<()> {
        let Serve { data, listen, always_ask, symbols } = self;
        let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
        let address = listener.local_addr().context("asking for the address")?;
        let setup = Setup {
            data: data.clone(),
            open_to_local_readers: !always_ask && address.ip().is_loopback(),
            symbols: symbols.settings(),
            dump_reader: ourselves()?,
        };
        let app =
            app::open(&setup).await.with_context(|| format!("opening the data folder {}", data.display()))?;
        let mut greeting = format!("lastwords listens on http://{address}\n");
        for token in &app.new_tokens {
            greeting += &format!("new token in {}\n", token.display());
        }
        if !setup.open_to_local_readers {
            greeting += "reading needs a token with scope read\n";
        }
        // A service goes on when nobody reads what it says.
        let _ = std::io::stdout().write_all(greeting.as_bytes());
        app::run(listener, app, stop()).await.context("serving")
    }
}

/// This program, to be started once more.
pub(crate) fn ourselves() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("asking where this program is")
}

/// Completes when somebody asks the program to end.
pub(crate) async fn stop() {
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be caught");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// Logs to standard error, as much as `LASTWORDS_LOG` asks for (`warn` if it does not).
fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("LASTWORDS_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
