//! Any log is read, in both profiles, with reports inside it and titles that hold nothing unprintable; reading again
//! from where a report starts finds it again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use report::{Piece, Profile, explain, ignored, parse_with, summary};

fuzz_target!(|log: &[u8]| {
    for profile in [Profile::Production, Profile::Scoring] {
        let (parsed, stories) = explain(&[Piece { name: "", bytes: log }], profile);
        assert_eq!(stories.len(), parsed.reports.len());
        assert_eq!(summary(&parsed).len(), parsed.reports.len());
        ignored(&parsed.log, profile);
        let lines = parsed.log.lines().len();
        for report in &parsed.reports {
            assert!(report.lines.start < report.lines.end && report.lines.end <= lines);
            assert!(report.title.len() <= 120 && report.title.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            assert!(!report.alts.contains(&report.title));
            report.variant_names();
        }
        if profile == Profile::Scoring
            && let Some(first) = parsed.reports.first()
        {
            let start = parsed.log.lines()[first.lines.start].span().start;
            let again = parse_with(&parsed.log.text()[start..], profile);
            assert_eq!(again.reports.first().map(|report| &report.title), Some(&first.title));
        }
    }
});
