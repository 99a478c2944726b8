//! What a dying kernel said: log bytes in, named reports out. No I/O, no clock.
//!
//! A **log** is the text of one crash, joined from its pieces. A **report** is one crash, warning or hang in it. Its
//! **title** is the signature; **alts** are further names under which the same bug may come; the **frame** is the
//! function in the title. **Corrupted** says that the text was damaged. The **cause** is the report that killed the
//! machine. **Notes** tell of damage and doubt; reading never fails.
//!
//! The way through the crate: [`pstore`] puts records together, `join` makes one log of the pieces, `wrapping`, `line` and
//! `source` take off what stands around the kernel's words, `scan` finds where reports start, `body` collects the text of
//! one, `name` and `recipe` name it by the rules in `rules/`, `facts` reads the rest of it, `assemble` puts it together,
//! `cause` tells which was the death, and `finding` reads what is no crash: hardware errors, out of memory, firmware.
//! [`guilty_file`] is for callers who know where frames stand in the source.

mod assemble;
mod blame;
mod body;
mod cause;
mod census;
mod chooser;
mod code;
mod corrupted;
mod demangle;
mod excerpt;
mod explain;
mod facts;
mod finding;
mod frame;
mod guilty_file;
mod join;
mod kernel;
mod kind;
mod line;
mod listing;
mod log;
mod modules;
mod name;
mod note;
mod profile;
pub mod pstore;
mod read;
mod recipe;
mod registers;
mod report;
mod rules;
mod scan;
mod shape;
mod source;
mod subsystem;
mod summary;
mod syscall;
mod taint;
mod title;
mod trace;
mod wrapping;

pub use census::TitleCount;
pub use code::Code;
pub use corrupted::Corrupted;
pub use explain::{Explanation, Ignored, Skipped, ignored};
pub use finding::{Family, Field, Finding};
pub use guilty_file::{GuiltyFile, Place, guilty_file};
pub use kernel::{Arch, BuildId, BuildIdError, Kernel};
pub use kind::{CrashType, Severity};
pub use log::{KernelTime, Line, Log};
pub use modules::Module;
pub use note::Note;
pub use profile::Profile;
pub use read::{Parsed, Piece, explain, parse, parse_with, read, read_with};
pub use registers::Register;
pub use report::{Function, Report};
pub use summary::{Summary, summary};
pub use taint::Taint;
pub use trace::{Bpf, Context, Frame, KernelLine, Trace};

/// Counts up with every change of the rules that can change a title. It is stored with each signature, so that a
/// service knows which crashes to name again.
pub const RULES_VERSION: u32 = 3;
