//! Prints what a dump holds: `cargo run -p vmcore --example dump -- log|tasks|facts|text DUMP`, or `extract DUMP OUT`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, path, rest @ ..] = &arguments[..] else {
        return Err("usage: dump log|tasks|facts|text DUMP, dump extract DUMP OUT".into());
    };
    let dump = vmcore::open(path.as_ref())?;
    match what.as_str() {
        "log" => {
            let log = dump.log();
            print!("{}", log.text);
            for note in dump.notes().iter().chain(&log.notes) {
                eprintln!("note: {}: {}", note.code, note.text);
            }
        }
        "tasks" => println!("{}", serde_json::to_string_pretty(&dump.tasks())?),
        "facts" => println!("{}", serde_json::to_string_pretty(&dump.facts())?),
        "text" => println!("{}", dump.facts()),
        "extract" => {
            let out = rest.first().ok_or("extract needs a file to write")?;
            let mut out = std::io::BufWriter::new(std::fs::File::create(out)?);
            println!("{}", serde_json::to_string(&dump.extract(&mut out)?)?);
            std::io::Write::flush(&mut out)?;
        }
        other => return Err(format!("unknown: {other}").into()),
    }
    Ok(())
}
