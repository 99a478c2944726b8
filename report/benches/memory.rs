//! How much memory reading takes, by an allocator that counts: the corpus one hundred times in a row when it is beside
//! the project, and logs that were made to take much.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// Counts the bytes that are held, and the most that were.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed to the system's allocator unchanged; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(held, Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`, and `alloc` gave it what the system gave.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Reads `log` and prints what it took; fails when that is more than `factor` times the log and 32 MB.
fn measure(name: &str, log: &[u8], factor: usize) {
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    let start = Instant::now();
    let parsed = report::parse(log);
    let seconds = start.elapsed().as_secs_f64();
    let extra = PEAK.load(Relaxed) - before;
    let counted: usize = parsed.counts.iter().map(|count| count.reports).sum();
    println!(
        "{name}: {:.1} MB, {} reports in full, {counted} counted, {:.0} MB/s, {:.1} MB beside the log",
        log.len() as f64 / 1e6,
        parsed.reports.len(),
        log.len() as f64 / seconds / 1e6,
        extra as f64 / 1e6,
    );
    assert!(extra <= factor * log.len() + (32 << 20), "{name}: {extra} bytes for {}", log.len());
}

fn corpus() -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/oops");
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths.iter().filter_map(|path| fs::read(path).ok()).collect::<Vec<_>>().concat()
}

fn main() {
    // The rules are read once.
    report::parse(b"BUG: none\n");
    match corpus() {
        corpus if corpus.is_empty() => println!("the corpus is not here: skipped"),
        corpus => measure("the corpus one hundred times", &corpus.repeat(100), 0),
    }
    measure("one line without end", &vec![b'x'; 64 << 20], 0);
    measure("four MiB of empty lines", &vec![b'\n'; 4 << 20], 0);
}
