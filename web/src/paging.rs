//! Keyset paging: an opaque cursor says after which row to go on, and of which list.
//!
//! The cursor is base64url of version, hash of the list's sort and filters, last key, last row id. A cursor of
//! another list is refused and not silently misread.

use std::hash::{DefaultHasher, Hash, Hasher};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::problem::{Error, malformed};

/// Rows of a page unless asked otherwise.
pub const PAGE: u32 = 50;
/// The most rows of a page.
const MOST: u32 = 500;

const VERSION: u8 = 1;

/// Where a page goes on: after the row with this sort key and row id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct After {
    /// Value of the column that the list is sorted by.
    pub key: i64,
    /// Row id, which breaks ties.
    pub id: i64,
}

/// A page of a list.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    /// Its rows.
    pub items: Vec<T>,
    /// What to pass as `after` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Cuts a page from rows of which one more than `size` was asked for. `list` is what the list is: sort and
    /// filters.
    pub fn of(mut rows: Vec<T>, size: u32, list: &impl Hash, position: impl Fn(&T) -> After) -> Page<T> {
        let more = rows.len() > size as usize;
        rows.truncate(size as usize);
        let next = rows.last().filter(|_| more).map(|row| encode(list, position(row)));
        Page { items: rows, next }
    }
}

/// Rows on a page, from the request.
pub fn size(asked: Option<u32>) -> u32 {
    asked.unwrap_or(PAGE).clamp(1, MOST)
}

/// Reads the cursor of a request.
pub fn after(cursor: Option<&str>, list: &impl Hash) -> Result<Option<After>, Error> {
    let Some(text) = cursor.filter(|text| !text.is_empty()) else { return Ok(None) };
    let foreign = || malformed("after: not a cursor of this list with these filters");
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| foreign())?;
    let (head, rest) = bytes.split_first_chunk::<9>().ok_or_else(foreign)?;
    let (key, id) = rest.split_first_chunk::<8>().ok_or_else(foreign)?;
    if *head != header(list) {
        return Err(foreign());
    }
    let id = <[u8; 8]>::try_from(id).map_err(|_| foreign())?;
    Ok(Some(After { key: i64::from_be_bytes(*key), id: i64::from_be_bytes(id) }))
}

fn encode(list: &impl Hash, after: After) -> String {
    let mut bytes = header(list).to_vec();
    bytes.extend(after.key.to_be_bytes());
    bytes.extend(after.id.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Version and hash of the list. `DefaultHasher` may change with the compiler: then old cursors are refused,
/// and a reader starts again at the first page.
fn header(list: &impl Hash) -> [u8; 9] {
    let mut hasher = DefaultHasher::new();
    list.hash(&mut hasher);
    let mut header = [VERSION; 9];
    header[1..].copy_from_slice(&hasher.finish().to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_on_in_its_own_list_only() {
        let page = Page::of(vec![9, 8, 7], 2, &"crashes", |&row| After { key: row, id: -row });
        assert_eq!(page.items, [9, 8]);
        let cursor = page.next.as_deref();
        assert_eq!(after(cursor, &"crashes").unwrap(), Some(After { key: 8, id: -8 }));
        assert!(after(cursor, &"nodes").is_err());
        assert!(after(Some("?"), &"crashes").is_err());
        assert!(after(Some("AAAA"), &"crashes").is_err());
    }

    #[test]
    fn the_last_page_has_no_next() {
        let page = Page::of(vec![9, 8], 2, &0, |&row| After { key: row, id: 0 });
        assert_eq!(page.next, None);
    }
}
