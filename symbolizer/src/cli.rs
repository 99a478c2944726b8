//! The command line: arguments, output forms, exit codes.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::patience::Patience;
use crate::servers;
use crate::symbols_cli::{self, Symbols};
use crate::vmcore_cli::{self, Vmcore};
use crate::why::Why;
use clap::{Args, Parser, Subcommand, ValueEnum};
use report::{Parsed, Piece, Profile, Report};
use serde::Serialize;
use symbolizer::decode::{Style, annotate};
use symbolizer::dump::annotate_tasks;
use symbolizer::input::{self, Case};
use symbolizer::terminal::shown;
use symbolizer::{Error, Library, ResolvedReport, chain, resolve_report};
use terminal_size::{Width, terminal_size_of};

/// Reads kernel crash logs and says what happened, and where in the source.
#[derive(Debug, Parser)]
#[command(
    name = "lastwords-decode",
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(flatten)]
    decode: Decode,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Work with symbol indexes.
    #[command(subcommand)]
    Symbols(Symbols),
    /// Read a dump of memory.
    #[command(subcommand)]
    Vmcore(Vmcore),
}

#[derive(Debug, Args)]
struct Decode {
    /// Log files, folders (of logs, or of pstore records), or `-` for standard input.
    #[arg(value_name = "FILE|DIR|-", required = true)]
    inputs: Vec<PathBuf>,
    /// A kernel, a module or an index with debug information; may be given more than once.
    #[arg(long, value_name = "FILE")]
    vmlinux: Vec<PathBuf>,
    /// A folder to search for kernels and modules, also as Debian, Fedora and gdb lay them out.
    #[arg(long, value_name = "DIR")]
    debug_dir: Vec<PathBuf>,
    /// A debuginfod server that is asked for what is in none of these, and for the source of the instruction that
    /// faulted; may be given more than once. Without it those in $DEBUGINFOD_URLS are asked, if it is set. Each request
    /// is said on standard error.
    #[arg(long, value_name = "URL", env = "DEBUGINFOD_URLS", value_delimiter = ' ')]
    debuginfod: Vec<String>,
    /// A folder of sources: the lines around the instruction that faulted are shown from it.
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Also say why each report got its name, and what looked like a report and is none.
    #[arg(long, conflicts_with = "json_lines")]
    explain: bool,
    /// Print one JSON document.
    #[arg(long, conflicts_with = "json_lines")]
    json: bool,
    /// Print one line of JSON a log: file, and title, type and frame of its reports.
    #[arg(long)]
    json_lines: bool,
    /// Whose rules name the reports; `scoring` is the default for plain logs with --json-lines.
    #[arg(long, value_enum)]
    profile: Option<Rules>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Rules {
    /// For a fleet of machines.
    Production,
    /// syzkaller's conventions to the letter.
    Scoring,
}

/// Exit codes, as in <sysexits.h>; clap itself uses 2 for a wrong command line.
mod exit {
    pub const USAGE: u8 = 64;
    pub const DATA: u8 = 65;
    pub const NO_INPUT: u8 = 66;
    pub const IO: u8 = 74;
}

pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let done = match &cli.command {
        Some(Command::Symbols(command)) => symbols_cli::run(command, &mut out),
        Some(Command::Vmcore(command)) => vmcore_cli::run(command, &mut out),
        None => decode(&cli.decode, &mut out),
    };
    let done = done.and_then(|()| out.flush().map_err(Failure::Output));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Somebody closed the pipe (`| head`): they have what they wanted.
        Err(Failure::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            let (text, code) = failure.explain();
            eprintln!("lastwords-decode: {text}");
            ExitCode::from(code)
        }
    }
}

pub enum Failure {
    Input(Error),
    Output(io::Error),
    Stdin(io::Error),
    /// A dump cannot be opened.
    Dump(PathBuf, vmcore::Error),
    /// A file of our own making.
    Write(PathBuf, io::Error),
    /// The debuginfod servers, or what goes with the requests to them.
    Servers(String),
    /// The number of the line, and what stood there.
    NotAnAddress(u64, String),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        Failure::Input(e)
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Failure {
        Failure::Output(e)
    }
}

impl Failure {
    fn explain(&self) -> (String, u8) {
        match self {
            Failure::Output(e) => (format!("cannot write the output: {e}"), exit::IO),
            Failure::Stdin(e) => (format!("cannot read standard input: {e}"), exit::IO),
            Failure::Dump(path, e) => {
                let code = if path.exists() { exit::DATA } else { exit::NO_INPUT };
                let named = matches!(e, vmcore::Error::Read { .. });
                let text = if named { chain(e) } else { format!("{}: {}", path.display(), chain(e)) };
                (text, code)
            }
            Failure::Write(path, e) => (format!("cannot write {}: {e}", path.display()), exit::IO),
            Failure::Servers(reason) => (format!("debuginfod: {reason}"), exit::USAGE),
            Failure::NotAnAddress(line, text) => {
                (format!("standard input, line {line}: not an address in hex: {text:?}"), exit::DATA)
            }
            Failure::Input(e) => {
                let mut cause = e;
                while let Error::In { source, .. } = cause {
                    cause = source;
                }
                let code = match cause {
                    Error::Io { doing: "write", .. } => exit::IO,
                    Error::Io { .. } => exit::NO_INPUT,
                    _ => exit::DATA,
                };
                (chain(e), code)
            }
        }
    }
}

fn decode(args: &Decode, out: &mut impl Write) -> Result<(), Failure> {
    let mut library = Library::new();
    args.vmlinux.iter().try_for_each(|file| library.add_file(file))?;
    args.debug_dir.iter().try_for_each(|folder| library.add_folder(folder))?;
    if let Some(client) = servers::client(&args.debuginfod)? {
        library.ask_servers(client);
    }
    let profile = match args.profile {
        Some(Rules::Scoring) => Profile::Scoring,
        Some(Rules::Production) | None => Profile::Production,
    };
    let mut cases = Vec::new();
    let mut dumps = Vec::new();
    for path in &args.inputs {
        if path == Path::new("-") {
            cases.push(input::standard_input()?);
        } else if !args.json_lines && input::is_dump(path) {
            dumps.push(path);
        } else {
            cases.extend(input::path(path)?);
        }
    }
    for case in cases.iter().filter(|case| case.cut) {
        eprintln!("lastwords-decode: {}: only the beginning was read, it is too long", case.name);
    }
    if args.json_lines {
        // The corpus' logs are a fuzzer's, and its titles are by the letter; records are of a fleet's machines.
        let by_letter = |case: &Case| args.profile.is_none() && !case.records;
        return cases.iter().try_for_each(|case| {
            let profile = if by_letter(case) { Profile::Scoring } else { profile };
            json_line(case, profile, out)
        });
    }
    if args.json {
        let crash = |case| {
            let why = args.explain.then(|| Why::of(case, profile).1);
            Crash { why, ..Crash::of(case, profile, &library) }
        };
        let mut crashes: Vec<Crash> = cases.iter().map(crash).collect();
        for path in dumps {
            crashes.push(Crash::of_dump(path, profile, &library)?);
        }
        serde_json::to_writer_pretty(&mut *out, &Document { crashes }).map_err(io::Error::from)?;
        return Ok(writeln!(out)?);
    }
    let several = cases.len() + dumps.len() > 1;
    let heading = |out: &mut dyn Write, number: usize, name: &str| match several {
        true => writeln!(out, "{}==> {name} <==", if number > 0 { "\n" } else { "" }),
        false => Ok(()),
    };
    for (number, case) in cases.iter().enumerate() {
        heading(out, number, &case.name)?;
        let style = Style { source: args.source.as_deref(), ..style() };
        if args.explain {
            let (parsed, why) = Why::of(case, profile);
            let text = annotate(&parsed, &library, style) + &why.text(&parsed);
            out.write_all(shown(&text, style.colour).as_bytes())?;
        } else {
            let text = annotate(&case.parse(profile), &library, style);
            out.write_all(shown(&text, style.colour).as_bytes())?;
        }
    }
    for (number, path) in dumps.iter().enumerate() {
        heading(out, cases.len() + number, &path.to_string_lossy())?;
        dump(path, profile, &library, out)?;
    }
    for (path, reason) in library.failures() {
        eprintln!("lastwords-decode: not used: {reason} ({})", path.display());
    }
    Ok(())
}

/// Columns of a terminal that are used: narrower than a register nothing fits, and a wider line is hard to read.
const NARROW: usize = 26;
const WIDE: usize = 120;

/// As wide as the terminal; colours on one, unless <https://no-color.org>.
pub fn style() -> Style<'static> {
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let width =
        terminal_size_of(io::stdout()).map(|(Width(width), _)| usize::from(width).clamp(NARROW, WIDE));
    Style { colour, width: width.unwrap_or(Style::default().width), source: None }
}

/// A dump for people: what its log says, then what every task was doing.
fn dump(path: &Path, profile: Profile, library: &Library, out: &mut impl Write) -> Result<(), Failure> {
    let dump = vmcore_cli::open(path)?;
    let log = dump.log();
    let name = path.to_string_lossy();
    let mut parsed = report::read_with(&[Piece { name: &name, bytes: log.text.as_bytes() }], profile);
    let facts = Patience::during(path, dump.progress(), || dump.facts());
    told_by_memory(&mut parsed, &facts);
    let style = style();
    let log = annotate(&parsed, library, style);
    out.write_all(shown(&log, style.colour).as_bytes())?;
    let tasks = Patience::during(path, dump.progress(), || dump.tasks());
    let mut text = format!("\n{}", annotate_tasks(&facts, &tasks, library, style));
    for note in dump.notes().iter().chain(&facts.notes) {
        text += &format!("note: {}\n", note.text);
    }
    Ok(out.write_all(shown(&text, style.colour).as_bytes())?)
}

/// A log seldom says which builds were running; the kernel's memory does.
fn told_by_memory(parsed: &mut Parsed, facts: &vmcore::Facts) {
    parsed.kernel.build_id = parsed.kernel.build_id.take().or_else(|| facts.build_id.clone());
    for module in &mut parsed.modules {
        let loaded = facts.modules.iter().find(|loaded| loaded.name == module.name);
        module.build_id = module.build_id.take().or_else(|| loaded?.build_id.clone());
    }
}

/// The form that the corpus' scoring program reads.
#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    reports: Vec<Summary<'a>>,
}

#[derive(Serialize)]
struct Summary<'a> {
    title: &'a str,
    alts: &'a [String],
    r#type: &'a str,
    frame: Option<&'a str>,
    corrupted: bool,
    fatal: bool,
}

fn json_line(case: &Case, profile: Profile, out: &mut impl Write) -> Result<(), Failure> {
    let parsed = case.parse(profile);
    let reports = parsed.reports.iter().map(|report| Summary {
        title: &report.title,
        alts: &report.alts,
        r#type: report.kind.as_str(),
        frame: report.frame.as_deref(),
        corrupted: report.corrupted.is_some(),
        fatal: report.fatal,
    });
    let line = Line { file: &case.name, reports: reports.collect() };
    serde_json::to_writer(&mut *out, &line).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}

#[derive(Serialize)]
struct Document {
    crashes: Vec<Crash>,
}

/// One crash with everything that was found out about it.
#[derive(Serialize)]
struct Crash {
    file: String,
    kernel: report::Kernel,
    modules: Vec<report::Module>,
    notes: Vec<report::Note>,
    /// Index of the report that killed the machine.
    cause: Option<usize>,
    reports: Vec<Decoded>,
    /// Why the reports got their names, with --explain.
    #[serde(flatten)]
    why: Option<Why>,
    /// What a dump holds besides its log.
    #[serde(skip_serializing_if = "Option::is_none")]
    dump: Option<Memory>,
}

#[derive(Serialize)]
struct Memory {
    facts: vmcore::Facts,
    tasks: Vec<vmcore::Task>,
}

#[derive(Serialize)]
struct Decoded {
    #[serde(flatten)]
    report: Report,
    resolved: ResolvedReport,
}

impl Crash {
    fn of(case: &Case, profile: Profile, library: &Library) -> Crash {
        Crash::read(case.name.clone(), case.parse(profile), library)
    }

    fn of_dump(path: &Path, profile: Profile, library: &Library) -> Result<Crash, Failure> {
        let dump = vmcore_cli::open(path)?;
        let name = path.to_string_lossy();
        let text = dump.log().text;
        let mut parsed = report::read_with(&[Piece { name: &name, bytes: text.as_bytes() }], profile);
        let memory = Memory { facts: dump.facts(), tasks: dump.tasks().tasks };
        told_by_memory(&mut parsed, &memory.facts);
        Ok(Crash { dump: Some(memory), ..Crash::read(name.into_owned(), parsed, library) })
    }

    fn read(file: String, parsed: Parsed, library: &Library) -> Crash {
        let reports = parsed.reports.iter().map(|report| Decoded {
            report: report.clone(),
            resolved: resolve_report(&parsed, report, library),
        });
        Crash {
            file,
            reports: reports.collect(),
            why: None,
            dump: None,
            cause: parsed.cause(),
            kernel: parsed.kernel,
            modules: parsed.modules,
            notes: parsed.notes,
        }
    }
}
