//! Functions of the kernel and what the rules make of them; lines that look like a header.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use report::{Explanation, Piece, Profile, explain, ignored, parse_with};

const PROFILES: [Profile; 2] = [Profile::Production, Profile::Scoring];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The rows of a file that hold for `profile`, without their mark.
fn rows(path: &str, profile: Profile) -> Vec<String> {
    read(path)
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|line| match line.split_once(' ') {
            Some(("production", rest)) => (profile == Profile::Production).then_some(rest),
            Some(("scoring", rest)) => (profile == Profile::Scoring).then_some(rest),
            _ => Some(line),
        })
        .map(str::to_owned)
        .collect()
}

fn words(path: &str, profile: Profile) -> Vec<String> {
    rows(path, profile).iter().flat_map(|row| row.split(' ')).map(str::to_owned).collect()
}

fn ids(path: &str, profile: Profile) -> BTreeSet<String> {
    rows(path, profile).iter().filter_map(|row| Some(row.split_once(' ')?.0.to_owned())).collect()
}

fn story(log: &str, profile: Profile) -> (String, Explanation) {
    let (mut parsed, mut stories) = explain(&[Piece { name: "", bytes: log.as_bytes() }], profile);
    (parsed.reports.remove(0).title, stories.remove(0))
}

/// A stack of `names`, below a header whose function is the first that counts.
fn stack(header: &str, names: &[&str]) -> String {
    let frames: String = names.iter().map(|name| format!("[    1.000000]  {name}+0x1/0x2\n")).collect();
    format!("[    1.000000] {header}\n[    1.000000] Call Trace:\n{frames}")
}

#[test]
fn functions_that_name_no_bug_are_passed_over() {
    for profile in PROFILES {
        let mut used = BTreeSet::new();
        for name in words("tests/names/skipped.txt", profile) {
            let log = stack(
                "BUG: sleeping function called from invalid context at x.c:1",
                &[&name.replace(':', "_"), "gizmo_turn", "gizmo_fly"],
            );
            // Rust's paths come out of the demangler.
            let log = match name.as_str() {
                "core::panicking::panic_fmt" => {
                    log.replace("core__panicking__panic_fmt", "_RNvNtCs1a_4core5slice5index")
                }
                _ => log,
            };
            let (title, story) = story(&log, profile);
            assert_eq!(title, "BUG: sleeping function called from invalid context in gizmo_turn", "{name}");
            used.insert(story.skipped[0].rule.to_owned());
        }
        let rules = ids("rules/skip.txt", profile);
        assert_eq!(rules.difference(&used).collect::<Vec<_>>(), Vec::<&String>::new(), "{profile:?}");
    }
}

#[test]
fn functions_that_name_a_bug_stay() {
    for profile in PROFILES {
        for name in words("tests/names/kept.txt", profile) {
            let log = stack(
                "BUG: sleeping function called from invalid context at x.c:1",
                &["dump_stack", &name, "gizmo_fly"],
            );
            let expected = format!("BUG: sleeping function called from invalid context in {name}");
            assert_eq!(story(&log, profile).0, expected, "{profile:?}");
        }
    }
}

#[test]
fn the_stack_of_a_stall_ends_at_the_first_dispatcher() {
    for profile in PROFILES {
        let names = words("tests/names/anchors.txt", profile);
        for name in &names {
            let log = stack(
                "Kernel panic - not syncing: corrupted stack end detected inside scheduler",
                &["gizmo_spin", "gizmo_turn", name, "gizmo_outside", "vfs_read"],
            );
            let parsed = parse_with(log.as_bytes(), profile);
            let report = &parsed.reports[0];
            let outer = if name.contains("smp_call_function") { "smp_call_function" } else { "gizmo_turn" };
            let wanted = format!("stack-overflow in {outer}");
            assert!(report.alts.contains(&wanted), "{profile:?} {name}: {} {:?}", report.title, report.alts);
        }
        let rules = rows("rules/anchors.txt", profile);
        for rule in &rules {
            let (id, pattern) = rule.split_once(' ').unwrap();
            let pattern = regex::Regex::new(pattern).unwrap();
            // The chooser sees names without the prefixes of system calls.
            let matches = |name: &String| {
                let bare = ["__sys_", "__se_sys_"].iter().find_map(|prefix| name.strip_prefix(prefix));
                pattern.is_match(name) || bare.is_some_and(|bare| pattern.is_match(bare))
            };
            assert!(names.iter().any(matches), "{profile:?}: {id} is needed by none");
        }
    }
}

#[test]
fn look_alikes_are_no_reports() {
    for profile in PROFILES {
        let mut used = BTreeSet::new();
        for row in rows("tests/names/look-alikes.txt", profile) {
            let (rule, line) = row.split_once(' ').unwrap();
            let parsed = parse_with(format!("[    1.000000] {line}\n").as_bytes(), profile);
            assert!(parsed.reports.is_empty(), "{profile:?}: {line}: {}", parsed.reports[0].title);
            let rules: Vec<_> = ignored(&parsed.log, profile).into_iter().map(|known| known.rule).collect();
            assert!(rules.contains(&rule), "{line}: {rules:?}");
            used.insert(rule.to_owned());
        }
        let all: BTreeSet<String> = rows("rules/tokens.txt", profile)
            .iter()
            .filter_map(|row| Some(row.strip_prefix("ignore ")?.split_once(' ')?.0.to_owned()))
            .collect();
        assert_eq!(all.difference(&used).collect::<Vec<_>>(), Vec::<&String>::new());
    }
}

#[test]
fn other_look_alikes_hold_no_token_at_all() {
    for line in [
        "BUG UNIX (Not tainted): details",
        "reader[431]: segfault at 8 ip 000055e0 sp 00007ffd error 4 in reader[55e0+1000]",
        "*** stack smashing detected ***: terminated",
        "traps: reader[431] trap invalid opcode ip:55e0 sp:7ffd error:0 in reader[55e0+1000]",
    ] {
        for profile in PROFILES {
            let parsed = parse_with(format!("[    1.000000] {line}\n").as_bytes(), profile);
            assert!(parsed.reports.is_empty(), "{line}");
        }
    }
}

#[test]
fn a_replayed_header_does_not_count() {
    let log = "[    1.000000] BUG: it happened\n[    1.000000] ** replaying previous printk message **\n";
    for profile in PROFILES {
        assert!(parse_with(log.as_bytes(), profile).reports.is_empty());
    }
}

#[test]
fn what_only_a_fleet_passes_over_is_better_than_nothing() {
    let header = "BUG: sleeping function called from invalid context at x.c:1";
    let log = stack(header, &["dump_stack", "remove_wait_queue", "strim", "__mutex_lock"]);
    assert!(story(&log, Profile::Production).0.ends_with(" in remove_wait_queue"));
    let log = stack(header, &["dump_stack", "__mutex_lock", "kfree"]);
    assert!(story(&log, Profile::Production).0.ends_with(" in corrupted"));
}
