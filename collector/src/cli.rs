//! The command line of `lastwords-agent`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use collector::agent::{self, Config, Ground, Summary};
use collector::doctor;
use collector::exit::Exit;
use collector::receipts::verify::Findings;
use collector::trust::Trust;
use collector::{Error, disk, receipts};
use handover::key::{Keyring, PublicKey};
use handover::readiness::{Readiness, Verdict};

/// Hears what a dying kernel said, keeps it, hands it over.
#[derive(Parser)]
#[command(name = "lastwords-agent", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find crash records, keep them in the spool, hand over what waits, and forget what was handed over.
    ///
    /// Exit codes: 0 all handed over, 65 some evidence is held, 74 a source or the spool failed, 75 the service is
    /// away (everything is kept), 76 a receipt or TLS is not to be trusted, 77 the token is not accepted.
    Collect(Collect),
    /// Say whether a crash of this machine would be kept and told. Exit code 0: yes, 74: no, 75: it cannot be seen.
    Doctor {
        /// The spool's folder
        #[arg(long, value_name = "DIR", default_value = "/var/spool/lastwords")]
        spool: PathBuf,
        /// Where /proc, /sys and /etc lie
        #[arg(long, value_name = "DIR", default_value = "/")]
        root: PathBuf,
        /// The agent is run with --forget
        #[arg(long)]
        forget: bool,
        /// Print the readiness document
        #[arg(long)]
        json: bool,
    },
    /// Prove the way of a crash to the service.
    Drill {
        /// Hand over a made-up record; the machine goes on
        #[arg(long, required_unless_present = "really_panic_this_machine")]
        synthetic: bool,
        /// Make this machine panic, now. The next boot's collect notes what became of it
        #[arg(long, conflicts_with = "synthetic")]
        really_panic_this_machine: bool,
        #[command(flatten)]
        collect: Collect,
    },
    /// Enter the running boot in the ledger, or mark that it ends in order; run by lastwords-boot.service.
    Boot {
        /// The spool's folder
        #[arg(long, value_name = "DIR", default_value = "/var/spool/lastwords")]
        spool: PathBuf,
        /// Where /proc, /sys and /etc lie
        #[arg(long, value_name = "DIR", default_value = "/")]
        root: PathBuf,
        /// Mark that this boot ends in order
        #[arg(long)]
        ending: bool,
    },
    /// The receipts that this node holds
    #[command(subcommand)]
    Receipts(Receipts),
}

#[derive(Subcommand)]
enum Receipts {
    /// Verify checksums, signatures and the chain offline, and hold them against the spool. Exit code 76 if
    /// something is wrong.
    Verify {
        /// The spool's folder
        #[arg(long, value_name = "DIR", default_value = "/var/spool/lastwords")]
        spool: PathBuf,
        /// The service's public key in hex, instead of the pinned ones
        #[arg(long, value_name = "HEX")]
        key: Option<String>,
        /// Print the findings as one JSON document
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
struct Collect {
    /// Folder of pstore records; may be given several times. Without any source named, the usual ones are looked
    /// through: /sys/fs/pstore, /var/lib/systemd/pstore, /var/crash
    #[arg(long, value_name = "DIR")]
    pstore_dir: Vec<PathBuf>,
    /// systemd's archive of such records
    #[arg(long, value_name = "DIR")]
    archive_dir: Vec<PathBuf>,
    /// Folder in which crash kernels leave a folder for each crash
    #[arg(long, value_name = "DIR")]
    crash_dir: Vec<PathBuf>,
    /// Folder in which evidence is kept until the service has it
    #[arg(long, value_name = "DIR", default_value = "/var/spool/lastwords")]
    spool: PathBuf,
    /// The service; several are replicas of one. Without it, evidence is only kept
    #[arg(long, value_name = "URL")]
    server: Vec<String>,
    /// File that holds the token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificates (PEM) to trust instead of the public roots
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The service's public key; without it the first one met is pinned
    #[arg(long, value_name = "HEX")]
    pin: Option<String>,
    /// Allow plain HTTP to other machines
    #[arg(long)]
    insecure: bool,
    /// Erase records once a verified receipt says that the service has them
    #[arg(long)]
    forget: bool,
    /// Offer again what the service did not take before
    #[arg(long)]
    retry_held: bool,
    /// Seconds to go on trying when the service is away
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    deadline: u64,
    /// Where /proc, /sys and /etc lie
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Print the summary as one JSON document
    #[arg(long)]
    json: bool,
}

/// Runs the program.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no misuse.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            error.print().ok();
            return exit.into();
        }
    };
    match cli.command {
        Command::Collect(collect) => {
            let (config, json) = config(collect);
            told(agent::collect(&config).map(|summary| print_summary(&summary, json)))
        }
        Command::Doctor { spool, root, forget, json } => {
            let config = Config { root, forget, ..Config::new(spool) };
            let readiness = agent::examine(&config, &Ground::system());
            print_readiness(&readiness, json);
            doctor::exit(&readiness).into()
        }
        Command::Drill { synthetic, collect, .. } => {
            let (config, json) = config(collect);
            told(
                agent::drill(&config, synthetic, &Ground::system())
                    .map(|summary| print_summary(&summary, json)),
            )
        }
        Command::Boot { spool, root, ending } => {
            let config = Config { root, ..Config::new(spool) };
            told(agent::mark(&config, ending, &Ground::system()).map(|()| Exit::Done))
        }
        Command::Receipts(Receipts::Verify { spool, key, json }) => {
            told(verify(&spool, key.as_deref()).map(|findings| print_findings(&findings, json)))
        }
    }
}

/// The process's end; an error is told in one line.
fn told(result: Result<Exit, Error>) -> ExitCode {
    let exit = result.unwrap_or_else(|error| {
        eprintln!("lastwords-agent: {}", agent::chain(&error));
        error.exit()
    });
    exit.into()
}

fn verify(spool: &Path, key: Option<&str>) -> Result<Findings, Error> {
    let keys = match key {
        Some(key) => {
            let mut keys = Keyring::default();
            keys.pin(PublicKey::from_hex(key).map_err(|error| Error::Setting(error.to_string()))?);
            keys
        }
        None => {
            Trust::load(&disk::System, spool)?
                .ok_or_else(|| {
                    Error::Setting("no service is pinned in this spool; give its key by --key".to_owned())
                })?
                .keys
        }
    };
    receipts::verify::verify(&disk::System, spool, &keys)
}

fn print_findings(findings: &Findings, json: bool) -> Exit {
    if json {
        println!("{}", serde_json::to_string_pretty(findings).expect("findings are texts and numbers"));
    } else {
        println!("{} receipts verified", findings.verified);
        findings.gaps.iter().for_each(|gap| println!("gap: {gap}"));
        findings.faults.iter().for_each(|fault| eprintln!("lastwords-agent: {fault}"));
    }
    if findings.faults.is_empty() { Exit::Done } else { Exit::Distrusted }
}

fn print_readiness(readiness: &Readiness, json: bool) {
    if json {
        println!(
            "{}",
            serde_json::to_string_pretty(readiness).expect("a readiness document is texts and numbers")
        );
        return;
    }
    for check in &readiness.checks {
        println!("{:<8}{:<18} {}", word(check.verdict), check.id, check.evidence);
        if !check.fix.is_empty() {
            println!("        {:<18} mend: {}", "", check.fix);
        }
    }
    println!("{}", word(readiness.summary));
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Unknown => "UNKNOWN",
        Verdict::Fail => "FAIL",
    }
}

fn config(arguments: Collect) -> (Config, bool) {
    let Collect {
        pstore_dir,
        archive_dir,
        crash_dir,
        spool,
        server,
        token_file,
        ca_file,
        pin,
        insecure,
        forget,
        retry_held,
        deadline,
        root,
        json,
    } = arguments;
    let named = pstore_dir.len() + archive_dir.len() + crash_dir.len() > 0;
    let config = Config {
        root,
        pstore: pstore_dir,
        systemd_archive: archive_dir,
        crash: crash_dir,
        servers: server,
        token_file,
        ca_file,
        pin,
        insecure,
        forget,
        deadline: Duration::from_secs(deadline),
        retry_held,
        tell_boot: true,
        journalctl: (!named).then(|| PathBuf::from("journalctl")),
        ..Config::new(spool)
    };
    (if named { config } else { config.with_usual_sources() }, json)
}

fn print_summary(summary: &Summary, json: bool) -> Exit {
    if json {
        println!("{}", serde_json::to_string_pretty(summary).expect("a summary is texts and numbers"));
    } else {
        print(summary);
    }
    summary.exit
}
fn print(summary: &Summary) {
    for seen in &summary.found {
        let age = if seen.new { "new" } else { "known" };
        let state = serde_json::to_value(seen.state).unwrap_or_default();
        println!("{} {age} {} {}", seen.evidence, state.as_str().unwrap_or_default(), seen.records.join(" "));
    }
    for receipt in &summary.receipts {
        println!("receipt {} {} for {}", receipt.seq, receipt.disposition, receipt.evidence_id);
    }
    for (id, why) in &summary.held {
        eprintln!("lastwords-agent: {id} is held: {why}");
    }
    for trouble in &summary.troubles {
        eprintln!("lastwords-agent: {trouble}");
    }
    let (found, new) = (summary.found.len(), summary.found.iter().filter(|seen| seen.new).count());
    println!(
        "{found} found, {new} new, {} receipts, {} waiting, {} held, {} erased",
        summary.receipts.len(),
        summary.waiting,
        summary.held.len(),
        summary.erased
    );
}
