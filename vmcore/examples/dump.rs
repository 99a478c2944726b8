//! Prints what a dump holds: `cargo run -p vmcore --example dump -- log|tasks|facts DUMP`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, path] = &arguments[..] else { return Err("usage: dump log|tasks|facts DUMP".into()) };
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
        other => return Err(format!("unknown: {other}").into()),
    }
    Ok(())
}
