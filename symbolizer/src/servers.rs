//! The debuginfod servers of the command line: with the settings that gdb and elfutils take from the environment.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use symbolizer::chain;
use symbolizer::debuginfod::{Client, Limits};

use crate::cli::Failure;

/// A client of these servers; `None` without any. The variables are those of debuginfod_find_debuginfo(3).
pub fn client(urls: &[String]) -> Result<Option<Client>, Failure> {
    // `ima:` words are elfutils' policies on signatures, which we do not check; the build-id is.
    let urls: Vec<String> =
        urls.iter().filter(|word| !word.is_empty() && !word.starts_with("ima:")).cloned().collect();
    if urls.is_empty() {
        return Ok(None);
    }
    let folder = cache().ok_or_else(|| Failure::Servers("neither $HOME nor a cache folder is set".into()))?;
    let mut limits = Limits::default();
    if let Some(seconds) = number("DEBUGINFOD_TIMEOUT")? {
        limits.stall = Duration::from_secs(seconds);
    }
    if let Some(seconds) = number("DEBUGINFOD_MAXTIME")? {
        limits.whole = Duration::from_secs(seconds);
    }
    if let Some(bytes) = number("DEBUGINFOD_MAXSIZE")? {
        limits.bytes = bytes;
    }
    let refused = |error| Failure::Servers(chain(&error));
    let say = |text: &str| eprintln!("lastwords-decode: debuginfod: {text}");
    let mut client = Client::new(&urls, &folder, limits, say).map_err(refused)?;
    if let Some(path) = env::var_os("DEBUGINFOD_HEADERS_FILE").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        let lines = fs::read_to_string(&path)
            .map_err(|e| Failure::Servers(format!("cannot read {}: {e}", path.display())))?;
        client.add_headers(&lines).map_err(refused)?;
    }
    Ok(Some(client))
}

/// The folder that elfutils' clients share.
fn cache() -> Option<PathBuf> {
    let folder = |name: &str| env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let below = || folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    folder("DEBUGINFOD_CACHE_PATH").or_else(|| Some(below()?.join("debuginfod_client")))
}

/// A limit from the environment; 0 stands for none.
fn number(name: &str) -> Result<Option<u64>, Failure> {
    let Some(text) = env::var(name).ok().filter(|text| !text.is_empty()) else { return Ok(None) };
    let number: u64 =
        text.parse().map_err(|_| Failure::Servers(format!("${name} is no number: {text:?}")))?;
    Ok((number > 0).then_some(number))
}
