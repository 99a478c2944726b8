//! The same dump through this crate, drgn and makedumpfile, in the same run: wall time, peak memory, ratios.
//!
//! `cargo bench -p vmcore` with, for drgn, `DRGN_PYTHON` (a Python that has drgn) and `VMLINUX` (with debug
//! information, of the 6.1 dump). What is absent is left out, and said so. Each program runs as a process of
//! its own, several times, and its best time counts.

use std::error::Error;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;
const CASE: &str = "6.1.0-56-cloud-amd64-null_deref";
/// What the project promises: of drgn's time and of drgn's memory.
const TIME: f64 = 1.0 / 4.0;
const MEMORY: f64 = 1.0 / 6.0;

/// The best of several runs.
struct Measured {
    wall: Duration,
    /// Peak resident memory; none where the program does not tell.
    peak_kb: Option<u64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [what, path] = &arguments[..] {
        return child(what, path.as_ref());
    }
    let dumps = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/artifacts/vmcore"));
    for format in ["zlib", "lzo", "flat"] {
        let dump = dumps.join(format!("{CASE}.{format}"));
        if !dump.exists() {
            println!("left out: {} is not here", dump.display());
            continue;
        }
        println!("\n{format}");
        let tasks = ours("tasks", &dump)?;
        println!("  all stacks   vmcore        {tasks}");
        // drgn does not read the flattened format.
        match drgn(&dump).filter(|_| format != "flat") {
            Some(drgn) => println!("               drgn          {drgn}\n{}", verdict(&tasks, &drgn)),
            None => println!("               drgn          left out (DRGN_PYTHON, VMLINUX)"),
        }
        let log = ours("log", &dump)?;
        println!("  log          vmcore        {log}");
        match makedumpfile(&dump).filter(|_| format != "flat") {
            Some(peer) => {
                let ratio = log.wall.as_secs_f64() / peer.wall.as_secs_f64();
                println!(
                    "               makedumpfile  {peer}\n               ratio {ratio:.2} (promised: at most 1)"
                );
            }
            None => println!("               makedumpfile  left out"),
        }
    }
    Ok(())
}

/// Does one thing and tells the memory it took.
fn child(what: &str, path: &Path) -> Result<(), Box<dyn Error>> {
    let dump = vmcore::open(path)?;
    match what {
        "log" => assert!(dump.log().text.len() > 10_000, "the log is too short"),
        _ => assert!(dump.tasks().tasks.iter().all(|task| task.stack.is_some()), "a stack is missing"),
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    println!("{}", peak.trim().trim_end_matches(" kB"));
    Ok(())
}

fn ours(what: &str, dump: &Path) -> Result<Measured, Box<dyn Error>> {
    let program = std::env::current_exe()?;
    best(|| with(Command::new(&program), &[what.as_ref(), dump.as_ref()]))
        .ok_or_else(|| "our own run failed".into())
}

fn drgn(dump: &Path) -> Option<Measured> {
    let (python, vmlinux) = (std::env::var_os("DRGN_PYTHON")?, std::env::var_os("VMLINUX")?);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/drgn_stacks.py");
    best(|| with(Command::new(&python), &[script.as_ref(), dump.as_ref(), &vmlinux]))
}

fn makedumpfile(dump: &Path) -> Option<Measured> {
    let folder = tempfile::tempdir().ok()?;
    let out = folder.path().join("dmesg");
    let arguments = ["--dump-dmesg".as_ref(), "-f".as_ref(), dump.as_os_str(), out.as_os_str()];
    best(|| with(Command::new("makedumpfile"), &arguments))
}

fn with(mut command: Command, arguments: &[&OsStr]) -> Command {
    command.args(arguments);
    command
}

/// Runs a program several times; its last line of output is its peak memory in KB, if it is a number.
fn best(mut command: impl FnMut() -> Command) -> Option<Measured> {
    let mut best: Option<Measured> = None;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let output =
            command().stderr(Stdio::null()).output().ok().filter(|output| output.status.success())?;
        let wall = start.elapsed();
        let peak_kb =
            String::from_utf8_lossy(&output.stdout).lines().last().and_then(|line| line.trim().parse().ok());
        if best.as_ref().is_none_or(|best| wall < best.wall) {
            best = Some(Measured { wall, peak_kb });
        }
    }
    best
}

fn verdict(ours: &Measured, drgn: &Measured) -> String {
    let time = ours.wall.as_secs_f64() / drgn.wall.as_secs_f64();
    let mut text = format!("               time 1/{:.1} (promised: at most 1/{:.0})", 1.0 / time, 1.0 / TIME);
    if let (Some(ours), Some(drgn)) = (ours.peak_kb, drgn.peak_kb) {
        let memory = drgn as f64 / ours as f64;
        text += &format!(", memory 1/{memory:.1} (promised: at most 1/{:.0})", 1.0 / MEMORY);
    }
    text
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:7.1} ms", self.wall.as_secs_f64() * 1000.0)?;
        self.peak_kb.map_or(Ok(()), |kb| write!(f, "  {:6.1} MB", kb as f64 / 1024.0))
    }
}
