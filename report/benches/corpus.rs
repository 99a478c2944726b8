//! How fast logs are read: the corpus beside the project when it is there, else the fixtures.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use report::{Profile, parse_with};

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.file_name().is_some_and(|name| name != "truth.json") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn logs() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = files(&root.join("../../shared/corpus/oops"));
    let paths = if corpus.is_empty() { files(&root.join("../fixtures/pstore")) } else { corpus };
    paths.iter().filter_map(|path| fs::read(path).ok()).collect()
}

fn bench(criterion: &mut Criterion) {
    let logs = logs();
    let bytes: usize = logs.iter().map(Vec::len).sum();
    for (name, profile) in [("production", Profile::Production), ("scoring", Profile::Scoring)] {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function("each log", |bencher| {
            bencher.iter(|| {
                logs.iter().map(|log| parse_with(black_box(log), profile).reports.len()).sum::<usize>()
            });
        });
        let whole = logs.concat().repeat(20);
        group.throughput(Throughput::Bytes(whole.len() as u64));
        group.bench_function("one log", |bencher| {
            bencher.iter(|| parse_with(black_box(&whole), profile).reports.len());
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
