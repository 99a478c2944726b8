//! The protocol's caps: what a reader refuses unread.

/// A manifest, written canonically.
pub const MANIFEST: usize = 16 * 1024;
/// The body of an offer.
pub const OFFER: usize = 1024 * 1024;
/// Items in one offer.
pub const OFFER_ITEMS: usize = 100;
/// A small upload as coded on the wire.
pub const SMALL_CODED: u64 = 1024 * 1024;
/// A small upload decoded.
pub const SMALL_DECODED: u64 = 16 * 1024 * 1024;
/// One part of a large upload.
pub const PART: u64 = 8 * 1024 * 1024;
/// A large upload as coded.
pub const LARGE_CODED: u64 = 4 * 1024 * 1024 * 1024;
/// A large upload decoded.
pub const LARGE_DECODED: u64 = 64 * 1024 * 1024 * 1024;
/// A boot record or a readiness document.
pub const STATE: usize = 64 * 1024;
/// Pieces of one evidence.
pub const PIECES: usize = 128;
/// Notes in one manifest.
pub const NOTES: usize = 64;
/// Labels of one node.
pub const LABELS: usize = 64;
/// Bytes of a label's key and value.
pub const LABEL: (usize, usize) = (63, 255);
/// Receipts in one answer.
pub const RECEIPTS: usize = 500;
/// One receipt envelope; a receipt is 641 bytes in the protocol's example.
pub const ENVELOPE: usize = 8 * 1024;
/// Nesting of any JSON document.
pub const DEPTH: usize = 16;
/// The largest integer that every JSON reader keeps exactly (2^53 − 1, RFC 8785 section 3.2.2.3).
pub const INTEGER: i64 = (1 << 53) - 1;
/// A zstd window, as its logarithm: 8 MiB, so that a hostile frame cannot claim more memory.
pub const ZSTD_WINDOW_LOG: u32 = 23;
