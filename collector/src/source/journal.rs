//! The kernel's lines of an earlier boot from the journal, for a boot that ended without an artifact.
//!
//! `journalctl` is asked, since the journal's files are a moving format. Its JSON lines become lines as a pstore
//! record has them, `<priority>[seconds.micros] text`, so that one reader reads both.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use handover::BootId;
use serde_json::Value;

use crate::source::PIECE;

/// The kernel's log of a boot; empty when the journal below `root` does not have that boot.
pub fn kernel_log(journalctl: &Path, root: &Path, boot: &BootId) -> io::Result<Vec<u8>> {
    let mut command = Command::new(journalctl);
    if root != Path::new("/") {
        command.arg("--root").arg(root);
    }
    let mut child = command
        .args(["--dmesg", "--boot", &boot.to_string(), "--output=json", "--quiet", "--no-pager"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut text = String::new();
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).split(b'\n') {
            append(&mut text, &line?);
            // The end tells how it died; what is before the cap is let go.
            if text.len() as u64 > 2 * PIECE {
                shorten(&mut text);
            }
        }
    }
    child.wait()?;
    if text.len() as u64 > PIECE {
        shorten(&mut text);
    }
    Ok(text.into_bytes())
}

/// Keeps whole lines at the end, at most the cap.
fn shorten(text: &mut String) {
    let excess = text.len().saturating_sub(usize::try_from(PIECE).unwrap_or(usize::MAX));
    let bytes = text.as_bytes();
    let cut =
        bytes[excess..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| excess + at + 1);
    text.drain(..cut);
}

fn append(text: &mut String, line: &[u8]) {
    let Ok(Value::Object(fields)) = serde_json::from_slice(line) else { return };
    let number = |key: &str| fields.get(key)?.as_str()?.parse::<u64>().ok();
    // Lines that were not UTF-8 are given as an array of bytes.
    let message = match fields.get("MESSAGE") {
        Some(Value::String(message)) => message.clone(),
        Some(Value::Array(bytes)) => {
            let bytes: Vec<u8> = bytes.iter().filter_map(|b| u8::try_from(b.as_u64()?).ok()).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        _ => return,
    };
    let micros =
        number("_SOURCE_MONOTONIC_TIMESTAMP").or_else(|| number("__MONOTONIC_TIMESTAMP")).unwrap_or(0);
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let priority = number("PRIORITY").unwrap_or(6);
    // Writing to a String does not fail.
    let _ = writeln!(text, "<{priority}>[{seconds:5}.{micros:06}] {message}");
}
