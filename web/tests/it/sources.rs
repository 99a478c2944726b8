//! The same death through several sources is one crash with several pieces of evidence; different ones stay apart.

use handover::BootId;
use handover::manifest::{CrashTime, DeadBoot, Manifest};
use serde_json::Value;

use crate::harness::{Service, manifest, oops, parcel};

/// A service, and machine 1 as its records tell of it.
struct Case(Service);

/// When the machine died, µs since 1970.
const DIED: i64 = 1_795_376_500_000_000;

impl Case {
    fn new() -> Case {
        Case(Service::start())
    }

    /// Hands over a log that was found in some source.
    fn hand_over(&self, source: &str, log: &[u8], say: impl FnOnce(&mut Manifest)) {
        let mut said = manifest(1, log);
        source.clone_into(&mut said.source.kind);
        said.crash_time = Some(CrashTime { us: DIED, basis: "file-mtime".to_owned() });
        say(&mut said);
        let (path, body) = parcel(said, log);
        let kept = self.0.send("PUT", &path, &self.0.token("ingest"), &body);
        assert_eq!(kept.status, 201, "{}", kept.text());
        self.0.settle();
    }

    fn crashes(&self) -> Vec<Value> {
        let app = self.0.app.as_ref().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let differences = runtime.block_on(web::store::rollup::differences(app.store.read())).unwrap();
        assert_eq!(differences, [], "the counts are exact");
        self.0.json("/api/v1/crashes")["items"].as_array().unwrap().clone()
    }

    /// The one crash there is, with all that is known of it.
    fn only(&self) -> Value {
        let crashes = self.crashes();
        assert_eq!(crashes.len(), 1, "{crashes:#?}");
        self.0.json(&format!("/api/v1/crashes/{}", crashes[0]["crash_id"].as_str().unwrap()))
    }

    fn sources(&self) -> usize {
        self.only()["evidence"].as_array().unwrap().len()
    }

    fn boots(&self) -> usize {
        let node = self.0.json("/api/v1/nodes")["items"][0]["node_id"].as_str().unwrap().to_owned();
        self.0.json(&format!("/api/v1/nodes/{node}/boots"))["items"].as_array().unwrap().len()
    }
}

fn derived(seed: u8) -> DeadBoot {
    DeadBoot { id: BootId::new([seed; 16]), basis: "derived".to_owned() }
}

fn known() -> DeadBoot {
    DeadBoot { id: BootId::new([7; 16]), basis: "ledger".to_owned() }
}

/// The log as a crash kernel writes it: without levels, and with what came before.
fn as_kdump_writes_it(log: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(log.to_vec()).unwrap();
    let lines = text.lines().map(|line| format!("{}\n", line.split_once('>').unwrap().1));
    std::iter::once("[    0.000000] Linux version 6.12.117+deb12-cloud-amd64 (x@y) #1 SMP\n".to_owned())
        .chain(lines)
        .collect::<String>()
        .into_bytes()
}

#[test]
fn a_death_in_pstore_in_kdump_and_in_the_journal_is_one_crash() {
    let case = Case::new();
    case.hand_over("pstore", &oops(27), |said| said.dead_boot = known());
    case.hand_over("kdump", &as_kdump_writes_it(&oops(27)), |said| said.dead_boot = known());
    let journal = String::from_utf8(oops(27)).unwrap();
    let journal: String = journal.lines().take(9).map(|line| format!("{line}\n")).collect();
    case.hand_over("journal", journal.as_bytes(), |said| said.dead_boot = known());
    assert_eq!((case.sources(), case.boots()), (3, 1));
    assert_eq!(case.only()["fatal"], true);
}

#[test]
fn a_boot_that_nobody_knew_is_told_by_what_its_sources_share() {
    for (first, second) in [(derived(1), derived(2)), (derived(1), known()), (known(), derived(2))] {
        let case = Case::new();
        case.hand_over("pstore", &oops(27), |said| said.dead_boot = first.clone());
        case.hand_over("kdump", &as_kdump_writes_it(&oops(27)), |said| said.dead_boot = second.clone());
        assert_eq!((case.sources(), case.boots()), (2, 1), "{first:?} {second:?}");
        let expected = if second == known() { &second.id } else { &first.id };
        assert_eq!(case.only()["boot_id"], expected.to_string(), "what is known stays");
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let app = case.0.app.as_ref().unwrap();
        runtime.block_on(web::reindex::run(app, true, false)).unwrap();
        assert_eq!((case.sources(), case.boots()), (2, 1), "a reindex does not part them");
    }
}

#[test]
fn two_boots_that_the_ledger_tells_apart_stay_two_whatever_they_share() {
    let case = Case::new();
    case.hand_over("pstore", &oops(27), |said| said.dead_boot = known());
    case.hand_over("kdump", &as_kdump_writes_it(&oops(27)), |said| {
        said.dead_boot = DeadBoot { id: BootId::new([8; 16]), ..known() };
    });
    assert_eq!((case.crashes().len(), case.boots()), (2, 2));
}

#[test]
fn deaths_of_one_kind_at_other_moments_are_two() {
    let case = Case::new();
    case.hand_over("pstore", &oops(27), |said| said.dead_boot = derived(1));
    case.hand_over("pstore", &oops(28), |said| said.dead_boot = derived(2));
    assert_eq!((case.crashes().len(), case.boots()), (2, 2));
    let signatures = case.0.json("/api/v1/signatures");
    assert_eq!(signatures["items"].as_array().unwrap().len(), 1, "of one signature");
}

#[test]
fn an_oops_and_the_panic_it_led_to_in_two_records_are_one_crash_that_was_fatal() {
    let whole = String::from_utf8(oops(27)).unwrap();
    let (oops, panic) = whole.split_at(whole.find("<0>").unwrap());
    let ended = "<4>[ 27.100787] ---[ end trace 0000000000000000 ]---\n";
    let record = format!("{oops}{ended}<6>[ 27.500000] usb 1-1: new high-speed USB device\n");
    let whole = format!("{record}{}", panic.replace("27.101902", "28.101902"));
    let case = Case::new();
    case.hand_over("pstore", record.as_bytes(), |said| said.dead_boot = known());
    assert_eq!(case.only()["fatal"], false, "the machine went on, as far as the record tells");
    case.hand_over("pstore", whole.as_bytes(), |said| said.dead_boot = known());
    assert_eq!((case.sources(), &case.only()["fatal"]), (2, &true.into()));
    let signature = &case.0.json("/api/v1/signatures?fatal=true")["items"][0];
    assert_eq!(signature["crashes"], 1);
}

#[test]
fn an_oops_that_was_survived_and_a_later_death_are_two() {
    let survived = String::from_utf8(oops(27)).unwrap();
    let survived: String = survived.lines().take(9).map(|line| format!("{line}\n")).collect();
    let death = String::from_utf8(super::decisions::oops_in("brake", "stop", 90)).unwrap();
    let case = Case::new();
    case.hand_over("pstore", format!("{survived}{death}").as_bytes(), |said| said.dead_boot = known());
    let crashes = case.crashes();
    let fatal: Vec<_> = crashes.iter().map(|c| (c["fatal"].clone(), c["title"].clone())).collect();
    assert_eq!(fatal.len(), 2, "{fatal:?}");
    assert_eq!((&fatal[0].0, &fatal[1].0), (&true.into(), &false.into()), "{fatal:?}");
    assert!(fatal[0].1.as_str().unwrap().ends_with("in brake"), "{fatal:?}");
}

/// The record as it looks when its end was overwritten: the header and nothing that names a place.
fn torn(log: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(log.to_vec()).unwrap();
    text.lines().take(3).map(|line| format!("{line}\n")).collect::<String>().into_bytes()
}

#[test]
fn torn_records_never_glue_machines_together() {
    let case = Case::new();
    let log = torn(&oops(27));
    let token = case.0.token("ingest");
    for machine in 1..=2 {
        let (path, body) = parcel(manifest(machine, &log), &log);
        assert_eq!(case.0.send("PUT", &path, &token, &body).status, 201);
    }
    case.0.settle();
    let crashes = case.crashes();
    assert_eq!(crashes.len(), 2);
    assert_ne!(crashes[0]["corrupted"], "", "{crashes:#?}");
    assert_ne!(crashes[0]["signature_id"], crashes[1]["signature_id"]);
    let id = crashes[0]["crash_id"].as_str().unwrap();
    let page = case.0.get(&format!("/crashes/{id}")).text();
    assert!(page.contains("Its text is damaged"), "the page says how sure it is");
}

#[test]
fn a_whole_source_names_what_a_torn_one_could_not() {
    for torn_first in [true, false] {
        let case = Case::new();
        let mut logs = [torn(&oops(27)), as_kdump_writes_it(&oops(27))];
        if !torn_first {
            logs.reverse();
        }
        for log in &logs {
            case.hand_over("pstore", log, |said| said.dead_boot = known());
        }
        let crash = case.only();
        let title = crash["title"].as_str().unwrap();
        assert!(title.ends_with("in start_engine"), "torn first: {torn_first}: {title}");
        assert_eq!((&crash["corrupted"], &crash["fatal"]), (&"".into(), &true.into()));
        assert_eq!(crash["report"]["title"], title, "the page is made from the whole one");
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let app = case.0.app.as_ref().unwrap();
        runtime.block_on(web::reindex::run(app, true, false)).unwrap();
        assert_eq!(case.only()["title"], title, "after a reindex too");
        let signatures = case.0.json("/api/v1/signatures");
        assert_eq!(signatures["items"].as_array().unwrap().len(), 1, "the torn name is gone: {signatures}");
    }
}
