//! Records of the kernel's pstore: names, part headers, grouping, joining, compression.

pub mod decompress;
pub mod group;
pub mod header;
pub mod lzo;
pub mod name;
pub(crate) mod nvram;
mod sw842;

pub use decompress::{Decompressed, decompress};
pub use group::{Found, Group, group};
pub use header::{PartHeader, Reason};
pub use name::{Backend, RecordKind, RecordName, parse_name};
