//! `lastwords symbols`: debug files by hand, on the service's data folder, whether the service runs or not.
//!
//! Beside a running service this is safe: files come by rename, rows by transactions that wait for each other, and the
//! service finds the work in its table.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::Data;
use crate::api::symbols::Lacking;
use crate::clock::now_us;
use crate::pages::words;
use crate::problem::{Chain, Error};
use crate::store::image::{self, Identity};
use crate::store::image_file::Origin;
use crate::store::{Store, job, wanted};
use crate::symbols::enter::{self, Entered, Found};
use crate::symbols::prune::{self, Pruned, Rules};
use crate::symbols::{self as files, Settings, walk};
use crate::text::Text;

/// Rows of a list that is shown; more than a fleet's kernels with their modules have.
const ROWS: u32 = 100_000;
const DAY: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Subcommand)]
pub enum Symbols {
    /// Put debug files in: vmlinux, modules, their separate debug files, also compressed; of a folder all below it.
    Add(Add),
    /// What is at hand.
    List(Show),
    /// What crashes wait for, most waited for first, and the package that it is in.
    Missing(Show),
    /// Remove files that no crash uses. Lines that were found with them stay.
    Prune(Prune),
}

/// What bounds the folder, and where else to look.
#[derive(Debug, Args)]
pub struct Options {
    /// The most bytes of debug files that are kept, as 256G.
    #[arg(long, env = "LASTWORDS_SYMBOLS_MAX", value_name = "SIZE", value_parser = size)]
    symbols_max: Option<u64>,
    /// The most bytes of indexes; those not used for longest go first and are built again when needed.
    #[arg(long, env = "LASTWORDS_INDEXES_MAX", value_name = "SIZE", value_parser = size)]
    indexes_max: Option<u64>,
    /// A folder that is looked through for debug files every minute, which are used where they lie; may be given
    /// more than once.
    #[arg(long, env = "LASTWORDS_WATCH_SYMBOLS", value_name = "DIR", value_delimiter = ':')]
    watch_symbols: Vec<PathBuf>,
    /// A folder of sources, in which each kernel release has a folder of its name: crashes show the lines around the
    /// fault from it, and /buildid gives them to others.
    #[arg(long, env = "LASTWORDS_SOURCES", value_name = "DIR")]
    sources: Option<PathBuf>,
    /// A debuginfod server that is asked for what crashes wait for; may be given more than once. Without it nobody is
    /// asked, whatever $DEBUGINFOD_URLS says.
    #[arg(long, env = "LASTWORDS_DEBUGINFOD", value_name = "URL", value_delimiter = ' ')]
    debuginfod: Vec<String>,
}

impl Options {
    /// As the service wants them.
    pub fn settings(self) -> Settings {
        let Options { symbols_max, indexes_max, watch_symbols, sources, debuginfod } = self;
        let usual = Settings::default();
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        Settings {
            most_bytes: symbols_max.unwrap_or(usual.most_bytes),
            most_index_bytes: indexes_max.unwrap_or(usual.most_index_bytes),
            watched: watch_symbols.into_iter().map(absolute).collect(),
            watch: usual.watch,
            sources: sources.map(absolute),
            servers: debuginfod.into_iter().filter(|url| !url.is_empty()).collect(),
        }
    }
}

#[derive(Debug, Args)]
pub struct Add {
    #[command(flatten)]
    data: Data,
    /// The most bytes of debug files that are kept, as 256G; as the service has it.
    #[arg(long, env = "LASTWORDS_SYMBOLS_MAX", value_name = "SIZE", value_parser = size)]
    symbols_max: Option<u64>,
    /// Print one line of JSON for each file.
    #[arg(long)]
    json: bool,
    /// Files, and folders with all below them.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    data: Data,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true, args = ["unused", "days", "down_to"])]
pub struct Prune {
    #[command(flatten)]
    data: Data,
    /// All that no crash was located with.
    #[arg(long)]
    unused: bool,
    /// Those that were not used for so many days.
    #[arg(long, value_name = "DAYS")]
    days: Option<u32>,
    /// As many as it takes until this is left, as 100G; not used for longest first.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    down_to: Option<u64>,
    /// Also files that crashes were located with. Their lines stay; what is new of such a build waits for the file.
    #[arg(long)]
    used_too: bool,
    /// Say what would go, and remove nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Symbols {
    pub async fn run(self) -> anyhow::Result<()> {
        let data = match &self {
            Symbols::Add(Add { data, .. }) | Symbols::Prune(Prune { data, .. }) => data,
            Symbols::List(Show { data, .. }) | Symbols::Missing(Show { data, .. }) => data,
        };
        let data = data.data.clone();
        let store = join(&data).await?;
        let done = match self {
            Symbols::Add(add) => add.run(&store).await,
            Symbols::List(show) => show.list(&store).await,
            Symbols::Missing(show) => show.missing(&store).await,
            Symbols::Prune(prune) => prune.run(&store).await,
        };
        store.close().await;
        done
    }
}

async fn join(data: &Path) -> anyhow::Result<Store> {
    ensure!(data.join("lastwords.db").exists(), "there is no service in {}", data.display());
    let joined =
        Store::join(data).await.with_context(|| format!("opening the tables in {}", data.display()))?;
    joined.context("the tables are of another version: start the service of this version once")
}

/// What came of one file, for programs.
#[derive(Serialize)]
struct Added<'a> {
    path: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<&'a str>,
    new: bool,
    crashes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What came of the files so far.
#[derive(Default)]
struct Tally {
    added: i64,
    there: i64,
    refused: i64,
    crashes: usize,
    /// A file that was named, and not found below a folder, was not taken.
    named_refused: bool,
}

impl Add {
    async fn run(self, store: &Store) -> anyhow::Result<()> {
        let Add { data, symbols_max, json, paths } = self;
        let mut settings = Settings::default();
        settings.most_bytes = symbols_max.unwrap_or(settings.most_bytes);
        let symbols =
            files::Symbols::open(&data.data, settings).context("opening the folder of debug files")?;
        let mut tally = Tally::default();
        let mut batch = Batch::default();
        for path in &paths {
            let meta = std::fs::metadata(path).with_context(|| format!("looking at {}", path.display()))?;
            let named = !meta.is_dir();
            let listed = if named {
                vec![path.clone()]
            } else {
                let listing = walk::below(path);
                listing.unread.iter().for_each(|why| eprintln!("not looked through whole: {why}"));
                listing.files.into_iter().map(|seen| seen.path).collect()
            };
            for path in listed {
                batch.write(store, &symbols, path, named).await;
                if batch.is_full() {
                    std::mem::take(&mut batch).enter(store, &symbols, &mut tally, json).await?;
                }
            }
        }
        batch.enter(store, &symbols, &mut tally, json).await?;
        let Tally { added, there, refused, crashes, named_refused } = tally;
        if !json {
            say(&format!(
                "{}: {added} added, {there} at hand before, {refused} not taken; {} to be located again\n",
                words::plural(added + there + refused, "file", "files"),
                words::plural(i64::try_from(crashes).unwrap_or(i64::MAX), "crash", "crashes"),
            ));
        }
        ensure!(!named_refused && added + there > 0, "not everything was taken");
        Ok(())
    }
}

/// Files that are synced and entered together. One by one each would wait for the disk three times.
#[derive(Default)]
struct Batch {
    files: Vec<Written>,
    bytes: u64,
}

struct Written {
    path: PathBuf,
    /// On the command line, and not found below a folder.
    named: bool,
    part: Result<(files::Read, files::Part), Error>,
}

impl Batch {
    /// Each is open until it is entered, and programs may have 1,024 files open unless they are told otherwise.
    const FILES: usize = 256;
    /// What waits to be written to the disk is in memory until then.
    const BYTES: u64 = 1 << 30;

    fn is_full(&self) -> bool {
        let last = self.files.last().and_then(|file| file.part.as_ref().err());
        self.files.len() >= Self::FILES || self.bytes >= Self::BYTES || last.is_some_and(is_no_room)
    }

    /// Copies a file into the folder, under a name for now.
    async fn write(&mut self, store: &Store, symbols: &files::Symbols, path: PathBuf, named: bool) {
        let part = match enter::room(store.read(), symbols, self.bytes).await {
            Ok(()) => copied(symbols, &path),
            Err(error) => Err(error),
        };
        if let Ok((_, part)) = &part {
            self.bytes += part.file.metadata().map_or(0, |meta| meta.len());
        }
        self.files.push(Written { path, named, part });
    }

    /// Makes all durable, enters them, and says what came of each.
    async fn enter(
        self,
        store: &Store,
        symbols: &files::Symbols,
        tally: &mut Tally,
        json: bool,
    ) -> anyhow::Result<()> {
        symbols.sync(self.files.iter().filter_map(|file| Some(&file.part.as_ref().ok()?.1)))?;
        let (mut parts, mut told) = (Vec::new(), Vec::new());
        for Written { path, named, part } in self.files {
            let refused = part.map(|(read, part)| parts.push((read, Found::Part(part, Origin::Put)))).err();
            told.push((path, named, refused));
        }
        let mut entered = enter::enter_all(store, symbols, parts).await?.into_iter();
        let mut no_room = None;
        for (path, named, refused) in told {
            let entered = match refused {
                Some(error) => Err(error),
                None => entered.next().context("a debug file was not entered")?,
            };
            match &entered {
                Ok(entered) if entered.new => tally.added += 1,
                Ok(_) => tally.there += 1,
                Err(_) => tally.refused += 1,
            }
            tally.crashes += entered.as_ref().map_or(0, |entered| entered.crashes);
            tally.named_refused |= named && entered.is_err();
            tell(&path, &entered, json)?;
            no_room = no_room.or(entered.err().filter(is_no_room));
        }
        // A full folder is full for all.
        no_room.map_or(Ok(()), |error| bail!("{}", reason(&error)))
    }
}

fn is_no_room(error: &Error) -> bool {
    matches!(error, Error::Problem(problem) if problem.code == "symbols-full")
}

fn reason(error: &Error) -> String {
    match error {
        Error::Problem(problem) => format!("{}: {}", problem.title, problem.detail),
        error => Chain(error).to_string(),
    }
}

fn copied(symbols: &files::Symbols, path: &Path) -> Result<(files::Read, files::Part), Error> {
    // Who it is stands in what it is called where it lies, too.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let read = files::read(&path, &path)?;
    let mut part = symbols.begin()?;
    let disk = |error| Error::disk("copying", &path)(error);
    let copied = symbolizer::decompress(&path, &mut part.file, files::LARGEST)
        .map_err(|error| disk(std::io::Error::other(Chain(&error).to_string())))?;
    if copied.is_none() {
        let mut from = std::fs::File::open(&path).map_err(disk)?;
        // The kernel copies within a file system, by reference where that can.
        std::io::copy(&mut from, &mut part.file).map_err(disk)?;
    }
    Ok((read, part))
}

fn tell(path: &Path, entered: &Result<Entered, Error>, json: bool) -> anyhow::Result<()> {
    if json {
        let line = match entered {
            Ok(Entered { identity: Identity { build_id, name, kernel }, new, crashes }) => Added {
                path,
                build_id: Some(hex::encode(build_id)),
                name: Some(name),
                kernel: Some(kernel),
                new: *new,
                crashes: *crashes,
                error: None,
            },
            Err(error) => Added {
                path,
                build_id: None,
                name: None,
                kernel: None,
                new: false,
                crashes: 0,
                error: Some(reason(error)),
            },
        };
        say(&format!("{}\n", serde_json::to_string(&line)?));
        return Ok(());
    }
    let mut text = Text::default();
    match entered {
        Err(error) => text.item("not taken: ", &format!("{}: {}", path.display(), reason(error))),
        Ok(Entered { identity: Identity { build_id, name, kernel }, new, crashes }) => {
            let kernel = if kernel.is_empty() { "release not said" } else { kernel };
            let what = match (new, crashes) {
                (true, 0) => "added".to_owned(),
                (true, n) => {
                    format!("added, {} to be located again", words::plural(*n as i64, "crash", "crashes"))
                }
                (false, _) => "at hand before".to_owned(),
            };
            text.line(&format!("{}  {name}  {kernel}", hex::encode(build_id)));
            text.item("    ", &what);
        }
    }
    say(&text.finish());
    Ok(())
}

/// Whoever reads only the head of it closes the pipe.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

#[derive(Serialize)]
struct Items<T> {
    items: Vec<T>,
}

impl Show {
    async fn list(self, store: &Store) -> anyhow::Result<()> {
        let items = image::list(store.read(), ROWS).await?;
        if self.json {
            say(&format!("{}\n", serde_json::to_string_pretty(&Items { items })?));
            return Ok(());
        }
        let mut of_kernel: BTreeMap<&str, Vec<Vec<String>>> = BTreeMap::new();
        for image in &items {
            of_kernel.entry(&image.kernel).or_default().push(vec![
                image.name.clone(),
                image.has().to_owned(),
                words::bytes(image.bytes),
                words::count(image.crashes),
                words::short(&hex::encode(&image.build_id)),
            ]);
        }
        let mut text = Text::default();
        for (kernel, rows) in of_kernel {
            text.section(if kernel.is_empty() { "release not said" } else { kernel });
            text.table(&["image", "has", ">size", ">crashes", "build-id"], &rows);
        }
        if items.is_empty() {
            text.line("No debug file is at hand.");
        }
        say(&text.finish());
        Ok(())
    }

    async fn missing(self, store: &Store) -> anyhow::Result<()> {
        let missing = wanted::missing(store.read(), ROWS).await?;
        let items: Vec<Lacking> = missing.into_iter().map(Lacking::from).collect();
        if self.json {
            say(&format!("{}\n", serde_json::to_string_pretty(&Items { items })?));
            return Ok(());
        }
        let mut text = Text::default();
        if items.is_empty() {
            text.line("Nothing is missing.");
        }
        for Lacking { missing, package } in &items {
            let crashes = words::plural(missing.crashes, "crash", "crashes");
            text.line(&format!("{crashes}: {} of {}", missing.name, missing.kernel));
            if !missing.build_id.is_empty() {
                text.line(&format!("    build-id {}", hex::encode(&missing.build_id)));
            }
            if let Some(package) = package {
                text.line(&format!("    {}", package.command));
            }
            if !missing.answer.is_empty() {
                text.item("    ", &format!("debuginfod: {}", missing.answer));
            }
        }
        let (due, _) = job::count(store.read()).await?;
        if due > 0 {
            text.gap();
            text.line(&format!("{} being located.", words::plural(due, "crash is", "crashes are")));
        }
        say(&text.finish());
        Ok(())
    }
}

impl Prune {
    async fn run(self, store: &Store) -> anyhow::Result<()> {
        let Prune { data, unused: _, days, down_to, used_too, dry_run } = self;
        let symbols = files::Symbols::open(&data.data, Settings::default())
            .context("opening the folder of debug files")?;
        let age_us = |days: u32| i64::try_from((DAY * days).as_micros()).unwrap_or(i64::MAX);
        let before_us = days.map(|days| now_us().saturating_sub(age_us(days)));
        let rules = Rules { before_us, down_to, used_too, dry_run };
        let Pruned { files, strays, in_use, left } = prune::prune(store, &symbols, &rules).await?;
        let mut text = Text::default();
        let now = now_us();
        let rows = files.iter().map(|file| {
            vec![
                words::bytes(file.bytes),
                words::since(file.last_us, now),
                words::short(&hex::encode(&file.build_id)),
                format!("{} {}", file.name, file.kernel),
            ]
        });
        let rows: Vec<_> = rows.collect();
        if !rows.is_empty() {
            text.table(&[">size", ">last used", "build-id", "image"], &rows);
            text.gap();
        }
        let freed: i64 = files.iter().map(|file| file.bytes).sum();
        let done = if dry_run { "would be removed" } else { "removed" };
        text.prose(&format!(
            "{} {done} ({}), {} left.",
            words::plural(files.len() as i64, "file", "files"),
            words::bytes(freed),
            words::bytes(i64::try_from(left).unwrap_or(i64::MAX))
        ));
        if in_use > 0 {
            let stay = words::plural(in_use as i64, "file stays", "files stay");
            text.prose(&format!("{stay} because crashes were located with them (--used-too)."));
        }
        if !strays.is_empty() {
            let which = words::plural(strays.len() as i64, "file", "files");
            text.prose(&format!("{which} of no known build {done}."));
        }
        say(&text.finish());
        if let Some(most) = down_to
            && left > most
        {
            bail!("{left} bytes are left, more than {most}: what stays is used");
        }
        Ok(())
    }
}

/// `100G`, `512M`, `4096`.
fn size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit.trim_end_matches("iB").trim_end_matches('B') {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        other => return Err(format!("{other:?} is no unit: K, M, G or T")),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is no size"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("{text:?} is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, expected) in [
            ("4096", Ok(4096)),
            ("512M", Ok(512 << 20)),
            ("100G", Ok(100 << 30)),
            ("2TiB", Ok(2 << 40)),
            ("0", Ok(0)),
            ("", Err(())),
            ("G", Err(())),
            ("-1", Err(())),
            ("10X", Err(())),
            ("99999999999T", Err(())),
        ] {
            assert_eq!(size(text).map_err(drop), expected, "{text}");
        }
    }
}
