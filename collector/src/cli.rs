//! The command line of `lastwords-agent`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use collector::agent::{self, Config, Ground};
use collector::config::Forget;
use collector::doctor;
use collector::exit::Exit;
use collector::memory::Core;
use collector::receipts::verify::Findings;
use collector::trust::Trust;
use collector::{Error, disk, receipts};
use handover::key::{Keyring, PublicKey};

mod print;
mod rounds;

/// Hears what a dying kernel said, keeps it, hands it over.
///
/// After a crash the kernel's last words lie in pstore, in systemd's archive of it, in a folder below /var/crash, or in
/// the journal. `collect` finds them, replaces what names the machine, and makes them durable in the spool; with a
/// server it also hands them over. A record is erased only if that is wanted, and only once the service's signed
/// receipt for exactly these bytes was verified.
#[derive(Parser)]
#[command(name = "lastwords-agent", version, arg_required_else_help = true, after_long_help = AFTER)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
Exit codes:
  0   all is handed over, or there was nothing
  64  a setting is wrong; nothing was done
  65  some evidence was not taken and is held in the spool
  74  a source or the spool failed; for doctor: a check failed
  75  the service is away or another agent is at work, everything is kept; for doctor: something cannot be seen
  76  a receipt or TLS is not to be trusted
  77  the token is not accepted

Files:
  /etc/lastwords/agent.toml  settings; the command line goes before them
  /var/spool/lastwords       what waits, what was handed over, the receipts, the boots";

#[derive(Subcommand)]
enum Command {
    /// Find crash records, keep them in the spool, hand over what waits, and forget what was handed over.
    ///
    /// Exit codes: 0 all handed over, 64 a setting is wrong, 65 some evidence is held, 74 a source or the spool
    /// failed, 75 the service is away (everything is kept), 76 a receipt or TLS is not to be trusted, 77 the token
    /// is not accepted.
    Collect {
        /// Do it again every so many seconds, where no timer does, until told to end; and twice an hour tell the
        /// service what the doctor finds
        #[arg(long, value_name = "SECONDS")]
        every: Option<u64>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Hand over what waits in the spool, and look for nothing: the half that needs the network and no privilege.
    Deliver(Settings),
    /// Say whether a crash of this machine would be kept and told. Exit code 0: yes, 74: no, 75: it cannot be seen.
    Doctor {
        /// Tell the service what was found
        #[arg(long)]
        tell: bool,
        /// Note what was found in the spool; the next `deliver` tells it
        #[arg(long)]
        note: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Prove the way of a crash to the service.
    Drill {
        #[command(flatten)]
        how: How,
        #[command(flatten)]
        settings: Settings,
    },
    /// Enter the running boot in the ledger, or mark that it ends in order; run by lastwords-boot.service.
    Boot {
        /// Mark that this boot ends in order
        #[arg(long)]
        ending: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// The receipts that this node holds.
    #[command(subcommand)]
    Receipts(Receipts),
}

#[derive(Subcommand)]
enum Receipts {
    /// Verify checksums, signatures and the chain offline, and hold them against the spool. Exit code 76 if
    /// something is wrong.
    Verify {
        /// The service's public key in hex, instead of the pinned ones
        #[arg(long, value_name = "HEX")]
        key: Option<String>,
        #[command(flatten)]
        settings: Settings,
    },
}

/// How a drill begins.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct How {
    /// Hand over a made-up record; the machine goes on
    #[arg(long)]
    synthetic: bool,
    /// Make this machine panic, now. The next boot's collect notes what became of it
    #[arg(long)]
    really_panic_this_machine: bool,
}

#[derive(Args, Clone)]
struct Settings {
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
    /// Settings; what the command line says goes before them [default: /etc/lastwords/agent.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder in which evidence is kept until the service has it [default: /var/spool/lastwords]
    #[arg(long, value_name = "DIR", env = "LASTWORDS_SPOOL")]
    spool: Option<PathBuf>,
    /// The service; several are replicas of one. Without it, evidence is only kept
    #[arg(long, value_name = "URL", env = "LASTWORDS_SERVER")]
    server: Vec<String>,
    /// File that holds the token
    #[arg(long, value_name = "FILE", env = "LASTWORDS_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// A label for this node; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
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
    /// What of a dump of memory is handed over: none, summary, extract or full [default: summary]
    #[arg(long, value_name = "WHAT")]
    core: Option<Core>,
    /// Offer again what the service did not take before
    #[arg(long)]
    retry_held: bool,
    /// Seconds to go on trying when the service is away [default: 60]
    #[arg(long, value_name = "SECONDS")]
    deadline: Option<u64>,
    /// Where /proc, /sys and /etc lie
    #[arg(long, value_name = "DIR", default_value = "/", env = "LASTWORDS_ROOT")]
    root: PathBuf,
    /// Keep evidence and hand over nothing, whatever server the settings name
    #[arg(long)]
    keep_only: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Runs the program.
pub fn run() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => obey(cli.command)
            .unwrap_or_else(|error| {
                print::trouble(&agent::chain(&error));
                error.exit()
            })
            .into(),
        Err(error) => {
            // Help and version are no misuse.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            error.print().ok();
            exit.into()
        }
    }
}

fn obey(command: Command) -> Result<Exit, Error> {
    let ground = Ground::system();
    match command {
        Command::Collect { settings, every } => {
            if let Some(seconds) = every {
                return rounds::go(&settings, Duration::from_secs(seconds), &ground);
            }
            let json = settings.json;
            Ok(print::summary(&agent::collect(&config(settings)?)?, json))
        }
        Command::Deliver(settings) => {
            let json = settings.json;
            Ok(print::summary(&agent::collect(&config(settings)?.without_sources())?, json))
        }
        Command::Doctor { settings, tell, note } => {
            let json = settings.json;
            let config = config(settings)?;
            let readiness = agent::examine(&config, &ground);
            print::readiness(&readiness, json);
            if note {
                agent::note_readiness(&config, &readiness, &ground)?;
            }
            if tell {
                agent::tell_readiness(&config, &readiness, &ground)?;
            }
            Ok(doctor::exit(&readiness))
        }
        Command::Drill { how, settings } => {
            let json = settings.json;
            Ok(print::summary(&agent::drill(&config(settings)?, how.synthetic, &ground)?, json))
        }
        Command::Boot { settings, ending } => {
            agent::mark(&config(settings)?, ending, &ground).map(|()| Exit::Done)
        }
        Command::Receipts(Receipts::Verify { settings, key }) => {
            let json = settings.json;
            Ok(print::findings(&verify(&config(settings)?.spool, key.as_deref())?, json))
        }
    }
}

/// The settings of the file, and over them those of the command line. Sources named here are the only ones.
fn config(settings: Settings) -> Result<Config, Error> {
    let Settings {
        pstore_dir,
        archive_dir,
        crash_dir,
        config,
        spool,
        server,
        token_file,
        label,
        ca_file,
        pin,
        insecure,
        forget,
        core,
        retry_held,
        deadline,
        root,
        keep_only,
        json: _,
    } = settings;
    let (path, text) = file(config, &root)?;
    let mut config = Config::of_node(&root, text.as_deref()).map_err(|error| {
        Error::Setting(format!("the settings {} cannot be read: {error}", path.display()))
    })?;
    if pstore_dir.len() + archive_dir.len() + crash_dir.len() > 0 {
        config = Config {
            pstore: pstore_dir,
            systemd_archive: archive_dir,
            crash: crash_dir,
            must_exist: true,
            ..config.without_sources()
        };
    }
    config.labels.extend(label);
    // Paths are kept in the spool, and the next run may start elsewhere.
    for path in config.pstore.iter_mut().chain(&mut config.systemd_archive).chain(&mut config.crash) {
        *path = absolute(path)?;
    }
    Ok(Config {
        spool: absolute(&spool.unwrap_or(config.spool))?,
        servers: match (keep_only, server.is_empty()) {
            (true, _) => Vec::new(),
            (false, true) => config.servers,
            (false, false) => server,
        },
        token_file: token_file.or(config.token_file),
        ca_file: ca_file.or(config.ca_file),
        pin: pin.or(config.pin),
        insecure: insecure || config.insecure,
        forget: if forget { config.forget.max(Forget::Receipted) } else { config.forget },
        core: core.unwrap_or(config.core),
        retry_held: retry_held || config.retry_held,
        deadline: deadline.map_or(config.deadline, Duration::from_secs),
        ..config
    })
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| Error::Setting(format!("the path {}: {error}", path.display())))
}

/// The settings' file and its text. Only one that was named must be there.
fn file(named: Option<PathBuf>, root: &Path) -> Result<(PathBuf, Option<String>), Error> {
    let must_exist = named.is_some();
    let path = named.unwrap_or_else(|| root.join("etc/lastwords/agent.toml"));
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path, Some(text))),
        Err(error) if !must_exist && error.kind() == std::io::ErrorKind::NotFound => Ok((path, None)),
        Err(error) => Err(Error::Setting(format!("reading the settings {}: {error}", path.display()))),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a label is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn verify(spool: &Path, key: Option<&str>) -> Result<Findings, Error> {
    let keys = match key {
        Some(key) => {
            let mut keys = Keyring::default();
            keys.pin(PublicKey::from_hex(key).map_err(|error| Error::Setting(error.to_string()))?);
            keys
        }
        None => {
            let trust = Trust::load(&disk::System, spool)?;
            let none =
                || Error::Setting("no service is pinned in this spool; give its key by --key".to_owned());
            trust.ok_or_else(none)?.keys
        }
    };
    receipts::verify::verify(&disk::System, spool, &keys)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// The pages and completions that are installed are those of this command line. With `UPDATE_PAGES=1` they are
    /// written.
    #[test]
    fn pages_and_completions_are_those_of_this_program() {
        let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist");
        let stale: Vec<PathBuf> = pages()
            .into_iter()
            .map(|(name, text)| (dist.join(name), text))
            .filter(|(path, text)| std::fs::read(path).ok().as_ref() != Some(text))
            .map(|(path, text)| {
                if std::env::var_os("UPDATE_PAGES").is_some() {
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(&path, text).unwrap();
                }
                path
            })
            .collect();
        assert!(stale.is_empty(), "not of this command line; UPDATE_PAGES=1 writes them: {stale:?}");
    }

    fn pages() -> Vec<(String, Vec<u8>)> {
        let mut pages = Vec::new();
        for (shell, name) in [
            (Shell::Bash, "lastwords-agent.bash"),
            (Shell::Fish, "lastwords-agent.fish"),
            (Shell::Zsh, "_lastwords-agent"),
        ] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "lastwords-agent", &mut text);
            pages.push((format!("completions/{name}"), text));
        }
        let mut program = Cli::command().disable_help_subcommand(true);
        program.build();
        let commands = program.get_subcommands().filter(|command| command.get_name() != "help");
        for (command, name) in std::iter::once((&program, "lastwords-agent".to_owned()))
            .chain(commands.map(|command| (command, format!("lastwords-agent-{}", command.get_name()))))
        {
            let mut text = Vec::new();
            let page = clap_mangen::Man::new(command.clone()).title(name.as_str()).section("8");
            page.source("lastwords").render(&mut text).unwrap();
            pages.push((format!("man/{name}.8"), text));
        }
        pages
    }
}
