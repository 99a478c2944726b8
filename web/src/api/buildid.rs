//! `/buildid`: the debug files at hand as a debuginfod server gives them (debuginfod(8), "webapi"), so that gdb, drgn,
//! perf, crash and `debuginfod-find` use what crashes are located with.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use symbolizer::Image;

use super::stream;
use crate::app::{App, AppState};
use crate::auth::Reader;
use crate::problem::{Chain, Error, not_found};
use crate::store::image;
use crate::store::image_file::{self, ImageFile, Origin};
use crate::symbols::enter::changed_us;
use crate::symbols::{KERNEL, LARGEST, Symbols, sources};

const SIZE: HeaderName = HeaderName::from_static("x-debuginfod-size");
const FILE: HeaderName = HeaderName::from_static("x-debuginfod-file");

/// `GET /buildid/{build_id}/debuginfo`: the file with the debug information.
pub async fn debuginfo(
    State(app): State<AppState>,
    _: Reader,
    Path(build_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    whole(&app, &build_id, "debuginfo", |file| file.lines, &headers).await
}

/// `GET /buildid/{build_id}/executable`: the file with the code.
pub async fn executable(
    State(app): State<AppState>,
    _: Reader,
    Path(build_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    whole(&app, &build_id, "executable", |file| file.text, &headers).await
}

/// `GET /buildid/{build_id}/section/{name}`: one section as it lies in the file, from the one with the debug
/// information or, where that lacks its bytes, from the one with the code.
pub async fn section(
    State(app): State<AppState>,
    _: Reader,
    Path((build_id, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let (image, mut files) = find(&app, &build_id).await?;
    files.sort_by_key(|file| !file.lines);
    let symbols = Arc::clone(&app.symbols);
    let (owner, wanted) = (image.clone(), name.clone());
    let reading = tokio::task::spawn_blocking(move || {
        files.iter().find_map(|file| {
            let path = symbols.path(&file.path);
            let open = Image::open_alone(&path, &path)
                .inspect_err(|error| tracing::warn!(error = %Chain(error), "a debug file is not served"))
                .ok()
                .filter(|open| open.build_id().is_some_and(|found| found.as_bytes() == owner.build_id))?;
            open.section(&wanted).map(<[u8]>::to_vec)
        })
    });
    let bytes = reading.await.map_err(|_| Error::Inside("reading a section ended badly"))?;
    let bytes = bytes.ok_or_else(|| not_found(format!("no section {name:?} of build-id {build_id}")))?;
    let served = Served {
        name: format!("{}{name}", image.name),
        size: bytes.len() as u64,
        tag: format!("{build_id}-{name}"),
    };
    answer(&served, &headers, Cursor::new(bytes))
}

/// `GET /buildid/{build_id}/source/{path}`: a file that it was compiled from, where the owner keeps the sources of its
/// release. Clients go on to the next server where not.
pub async fn source(
    State(app): State<AppState>,
    _: Reader,
    Path((build_id, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let (image, _) = find(&app, &build_id).await?;
    let missing = || not_found(format!("no source /{path} of build-id {build_id}"));
    let opening = |path: &FilePath| -> std::io::Result<(File, u64, i64)> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        Ok((file, meta.len(), changed_us(&meta)))
    };
    let (symbols, wanted, release) = (Arc::clone(&app.symbols), path.clone(), image.kernel);
    let reading = tokio::task::spawn_blocking(move || {
        let found = sources::file(symbols.settings.sources.as_deref(), &release, &wanted)?;
        Some(opening(&found).map_err(Error::disk("opening a source", &found)))
    });
    let found = reading.await.map_err(|_| Error::Inside("looking for a source ended badly"))?;
    let (opened, size, changed) = found.ok_or_else(missing)??;
    let tag = format!("{build_id}-source-{size}-{changed}");
    answer(&Served { name: format!("/{path}"), size, tag }, &headers, opened)
}

/// A build of which something is at hand.
async fn find(app: &App, text: &str) -> Result<(image::Image, Vec<ImageFile>), Error> {
    let unknown = || not_found(format!("no debug file of build-id {text:?}"));
    let build_id = hex::decode(text).map_err(|_| unknown())?;
    let image = image::by_build_id(app.store.read(), &build_id).await?.ok_or_else(unknown)?;
    let files = image_file::of_image(app.store.read(), image.id).await?;
    Ok((image, files))
}

/// The first file of a build that is `what` was asked for.
async fn whole(
    app: &App,
    build_id: &str,
    what: &str,
    is: impl Fn(&ImageFile) -> bool,
    headers: &HeaderMap,
) -> Result<Response, Error> {
    let (image, files) = find(app, build_id).await?;
    let build_id = hex::encode(&image.build_id);
    let file = files.into_iter().find(is);
    let file = file.ok_or_else(|| not_found(format!("no {what} of build-id {build_id} is at hand")))?;
    let symbols = Arc::clone(&app.symbols);
    let known = file.clone();
    let opening = tokio::task::spawn_blocking(move || plain(&symbols, &known));
    let (opened, size) = opening.await.map_err(|_| Error::Inside("opening a debug file ended badly"))??;
    let ending = if image.name == KERNEL { "" } else { ".ko" };
    let name = match file.origin {
        Origin::Watched => {
            FilePath::new(&file.path).file_name().unwrap_or_default().to_string_lossy().into_owned()
        }
        Origin::Put | Origin::Fetched => format!("{}{ending}", image.name),
    };
    let served = Served { name, size, tag: format!("{build_id}-{what}-{size}-{}", file.changed_us) };
    answer(&served, headers, opened)
}

/// Opens a file as it is served: what lies compressed in a watched folder is decompressed into a file without a name.
fn plain(symbols: &Symbols, file: &ImageFile) -> Result<(File, u64), Error> {
    let path = symbols.path(&file.path);
    let mut plain = File::open(&path).map_err(Error::disk("opening", &path))?;
    let mut magic = [0; 4];
    plain.read_exact(&mut magic).map_err(Error::disk("reading", &path))?;
    if magic != *b"\x7fELF" {
        let mut part = symbols.begin()?;
        symbolizer::decompress(&path, &mut part.file, LARGEST).map_err(|error| {
            Error::disk("decompressing", &path)(std::io::Error::other(Chain(&error).to_string()))
        })?;
        plain = part.file.try_clone().map_err(Error::disk("opening", &part.path))?;
    }
    let size = plain.seek(SeekFrom::End(0)).map_err(Error::disk("reading", &path))?;
    Ok((plain, size))
}

/// What is said of the bytes that are served.
struct Served {
    name: String,
    size: u64,
    /// Of these very bytes.
    tag: String,
}

/// Answers with all of it, with one range of it (RFC 9110, section 14), or that it has not changed.
fn answer(
    served: &Served,
    asked: &HeaderMap,
    mut from: impl Read + Seek + Send + 'static,
) -> Result<Response, Error> {
    let Served { name, size, tag } = served;
    let tag = format!("\"{tag}\"");
    let ascii = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("?"));
    let mut headers = HeaderMap::new();
    headers.insert(header::ETAG, ascii(&tag));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let is_tag = |name: HeaderName| {
        asked
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(|value| value.contains(&tag) || value == "*")
    };
    if is_tag(header::IF_NONE_MATCH) == Some(true) {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(SIZE, HeaderValue::from(*size));
    headers.insert(FILE, ascii(name));
    // A range of what has changed since is no part of what the client has.
    let range = asked.get(header::RANGE).filter(|_| is_tag(header::IF_RANGE) != Some(false));
    let (status, first, length) = match range.and_then(|range| of_range(range.to_str().ok()?, *size)) {
        None => (StatusCode::OK, 0, *size),
        Some(None) => {
            headers.insert(header::CONTENT_RANGE, ascii(&format!("bytes */{size}")));
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response());
        }
        Some(Some((first, last))) => {
            headers.insert(header::CONTENT_RANGE, ascii(&format!("bytes {first}-{last}/{size}")));
            (StatusCode::PARTIAL_CONTENT, first, last - first + 1)
        }
    };
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    from.seek(SeekFrom::Start(first)).map_err(Error::disk("reading", FilePath::new(name)))?;
    let body: Body = stream(Box::new(from.take(length)));
    Ok((status, headers, body).into_response())
}

/// The first and the last byte of `bytes=…`; the inner `None`: none of it is there. Several ranges, or another unit,
/// are no range to us: the whole is an answer to that too.
fn of_range(text: &str, size: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (first.trim(), last.trim()) {
        ("", suffix) => {
            let suffix: u64 = suffix.parse().ok()?;
            (size.saturating_sub(suffix), size.checked_sub(1).filter(|_| suffix > 0))
        }
        (first, "") => (first.parse().ok()?, size.checked_sub(1)),
        (first, last) => {
            let last: u64 = last.parse().ok()?;
            (first.parse().ok()?, size.checked_sub(1).map(|end| end.min(last)))
        }
    };
    Some(match range {
        (first, Some(last)) if first <= last => Some((first, last)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_held_within_the_file() {
        for (text, expected) in [
            ("bytes=0-3", Some(Some((0, 3)))),
            ("bytes=4-", Some(Some((4, 9)))),
            ("bytes=-2", Some(Some((8, 9)))),
            ("bytes=-20", Some(Some((0, 9)))),
            ("bytes=5-500", Some(Some((5, 9)))),
            ("bytes=10-", Some(None)),
            ("bytes=7-3", Some(None)),
            ("bytes=-0", Some(None)),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
            ("bytes=a-b", None),
        ] {
            assert_eq!(of_range(text, 10), expected, "{text}");
        }
        assert_eq!(of_range("bytes=0-", 0), Some(None));
    }
}
