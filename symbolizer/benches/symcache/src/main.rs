//! `symcache build OBJECT OUT`, `symcache lookup FILE BASE < addresses`: the peer that has an index too.

use std::io::{BufRead, BufWriter, Write};

use symbolic::common::ByteView;
use symbolic::debuginfo::Object;
use symbolic::symcache::{SymCache, SymCacheConverter};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["build", object, out] => build(object, out),
        ["lookup", file, base] => lookup(file, u64::from_str_radix(base.trim_start_matches("0x"), 16)?),
        _ => Err("usage: symcache build OBJECT OUT | symcache lookup FILE BASE".into()),
    }
}

fn build(object: &str, out: &str) -> Result<()> {
    let view = ByteView::open(object)?;
    let object = Object::parse(&view)?;
    let mut converter = SymCacheConverter::new();
    converter.process_object(&object)?;
    let mut file = BufWriter::new(std::fs::File::create(out)?);
    converter.serialize(&mut file)?;
    Ok(file.flush()?)
}

fn lookup(file: &str, base: u64) -> Result<()> {
    let view = ByteView::open(file)?;
    let cache = SymCache::parse(&view)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let address = u64::from_str_radix(line.trim().trim_start_matches("0x"), 16)?;
        write!(out, "{address:#x}")?;
        for at in cache.lookup(address.wrapping_sub(base)) {
            let file = at.file().map(|file| file.full_path()).unwrap_or_default();
            write!(out, " {} {}:{}", at.function().name(), file, at.line())?;
        }
        writeln!(out)?;
    }
    Ok(())
}
