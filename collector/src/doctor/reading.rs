//! Whether this program reads what it is there to read: names of records, times of lines, what is to be replaced. What
//! the records tell is read by the service.

use std::collections::BTreeSet;

use report::pstore;

use super::{Finding, Patient, fail, pass};
use crate::ledger::last_kernel_us;
use crate::redact::Rules;

/// What is tried, and what must come of it.
const TABLE: &str = include_str!("../../rules/self-test.txt");

pub(super) fn self_test(_: &Patient<'_>) -> Finding {
    match try_all(TABLE) {
        Ok(count) => pass(format!("{count} of {count} samples are read right")),
        Err(wrong) => fail(wrong, "reinstall the agent"),
    }
}

/// How many samples were read right, or the first that was not.
fn try_all(table: &str) -> Result<usize, String> {
    let rules = Rules::load(&BTreeSet::new(), None).map_err(|error| error.to_string())?;
    let mut count = 0;
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let sample = line.split_once(' ').and_then(|(what, rest)| Some((what, rest.split_once(" → ")?)));
        let (what, (given, expected)) = sample.ok_or_else(|| format!("the sample {line:?} is none"))?;
        let found = match what {
            "name" => name(given),
            "time" => last_kernel_us(given.as_bytes()).map_or_else(|| "none".to_owned(), |us| us.to_string()),
            _ => rules.begin().apply_to_text(given.to_owned()),
        };
        if found != expected {
            return Err(format!("{given:?} is read as {found:?}, not as {expected:?}"));
        }
        count += 1;
    }
    Ok(count)
}

fn name(given: &str) -> String {
    match pstore::parse_name(given) {
        Some(name) => format!("{:?} {}", name.kind, name.backend).to_lowercase(),
        None => "no record".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_read_right_and_a_wrong_one_is_told() {
        assert_eq!(try_all(TABLE), Ok(22));
        for (right, wrong) in [("dmesg ramoops", "dmesg efi"), ("27101902", "1"), ("‹mac:1›", "‹mac:2›")]
        {
            let told = try_all(&TABLE.replacen(right, wrong, 1)).unwrap_err();
            assert!(told.contains(wrong), "{told}");
        }
        assert!(try_all("name without an arrow").is_err());
    }
}
