//! The taint letters: what had happened to the kernel before.

use serde::{Serialize, Serializer, ser::SerializeStruct};

/// What the `Tainted:` or `Not tainted` of a report says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taint {
    /// The letters that are set, in the kernel's order; empty for `Not tainted`. A `G` (only GPL modules) is not one.
    pub letters: String,
}

/// `kernel/panic.c`, `taint_flags[]`: the letter, its name there, and what it tells.
const FLAGS: &[(char, &str, &str)] = &[
    ('P', "PROPRIETARY_MODULE", "a proprietary module was loaded"),
    ('F', "FORCED_MODULE", "a module was loaded by force"),
    ('S', "CPU_OUT_OF_SPEC", "the processor or system is out of specification"),
    ('R', "FORCED_RMMOD", "a module was removed by force"),
    ('M', "MACHINE_CHECK", "a machine check happened earlier"),
    ('B', "BAD_PAGE", "a bad page was found earlier"),
    ('U', "USER", "user space asked for the taint"),
    ('D', "DIE", "an oops or BUG happened earlier"),
    ('A', "OVERRIDDEN_ACPI_TABLE", "an ACPI table was overridden"),
    ('W', "WARN", "a warning was printed earlier"),
    ('C', "CRAP", "a staging driver was loaded"),
    ('I', "FIRMWARE_WORKAROUND", "a severe firmware bug was worked around"),
    ('O', "OOT_MODULE", "an out-of-tree module was loaded"),
    ('E', "UNSIGNED_MODULE", "an unsigned module was loaded"),
    ('L', "SOFTLOCKUP", "a soft lockup or stall happened earlier"),
    ('K', "LIVEPATCH", "the kernel was live patched"),
    ('X', "AUX", "auxiliary taint, set by the distribution"),
    ('T', "RANDSTRUCT", "structure layouts are randomised"),
    ('N', "TEST", "an in-kernel test was run"),
    ('J', "FWCTL", "a firmware control device was used"),
];

impl Taint {
    /// Reads what stands behind `Comm: name ` in a report: `Not tainted 6.1…` or `Tainted: G           OE      6.1…`.
    pub(crate) fn read(text: &str) -> Option<(Taint, &str)> {
        if let Some(rest) = text.strip_prefix("Not tainted") {
            return Some((Taint::default(), rest.trim_start()));
        }
        let rest = text.strip_prefix("Tainted:")?;
        // The letters stand in fixed columns, one a flag; the first of them is `P` or `G`. Behind them comes the
        // release, which begins with a digit.
        let end = rest.find(|c: char| !(c == ' ' || c.is_ascii_uppercase())).unwrap_or(rest.len());
        let letters = rest[..end].chars().filter(|c| FLAGS.iter().any(|flag| flag.0 == *c)).collect();
        Some((Taint { letters }, &rest[end..]))
    }

    /// Is this letter set?
    pub fn has(&self, letter: char) -> bool {
        self.letters.contains(letter)
    }

    /// The letters with the kernel's name for each and what it means.
    pub fn meanings(&self) -> impl Iterator<Item = (char, &'static str, &'static str)> {
        self.letters.chars().filter_map(|letter| FLAGS.iter().find(|flag| flag.0 == letter).copied())
    }
}

impl Serialize for Taint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Taint", 2)?;
        out.serialize_field("letters", &self.letters)?;
        out.serialize_field("meanings", &self.meanings().map(|(_, _, meaning)| meaning).collect::<Vec<_>>())?;
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_told_from_the_columns() {
        let (taint, rest) = Taint::read("Tainted: G        W  OE      6.1.0-56 #1").unwrap();
        assert_eq!((taint.letters.as_str(), rest), ("WOE", "6.1.0-56 #1"));
        assert!(taint.has('W') && !taint.has('D'));
        let (taint, rest) = Taint::read("Not tainted 6.12.1 #1").unwrap();
        assert_eq!((taint.letters.as_str(), rest), ("", "6.12.1 #1"));
        assert_eq!(Taint::read("6.1.0"), None);
    }
}
