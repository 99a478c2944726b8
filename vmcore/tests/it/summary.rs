//! The summary: what was read from a dump comes back from its document, and a stranger's document is refused
//! when it is too much.

use crate::builder::elf::elf;
use crate::builder::kernel::Fake;
use crate::builder::{AARCH64, X86_64};
use crate::reference::artifact;
use vmcore::{Dump, Error, Excerpt, Summary};

fn fake(machine: u16) -> Dump {
    let image = Fake::new(machine).image;
    vmcore::from_bytes(elf(&image.pages(), machine, &image.notes())).unwrap()
}

/// The document, for changing it.
fn document() -> serde_json::Value {
    serde_json::from_slice(&Summary::of(&fake(X86_64)).to_bytes().unwrap()).unwrap()
}

fn refusal(document: &serde_json::Value) -> String {
    Summary::read(&serde_json::to_vec(document).unwrap()).unwrap_err().to_string()
}

#[test]
fn it_is_read_back_as_it_was() {
    for machine in [X86_64, AARCH64] {
        let dump = fake(machine);
        let summary = Summary::of(&dump);
        assert_eq!((&summary.facts, &summary.tasks), (&dump.facts(), &dump.tasks()));
        assert_eq!(Summary::read(&summary.to_bytes().unwrap()).unwrap(), summary);
    }
}

#[test]
fn every_cpu_that_left_registers_has_them_in_it() {
    let summary = Summary::of(&fake(X86_64));
    let running = summary.tasks.tasks.iter().filter(|task| task.on_cpu);
    let at: Vec<_> = running.map(|task| task.registers.as_ref().unwrap().get("rip").unwrap()).collect();
    assert_eq!(at.len(), 2);
    assert_eq!(summary.facts.registers.unwrap().get("rip"), Some(at[1]));
}

#[test]
fn notes_of_damage_are_in_it() {
    let mut fake = Fake::new(X86_64);
    fake.image.put64(fake.module, fake.module);
    let dump = vmcore::from_bytes(elf(&fake.image.pages(), X86_64, &fake.image.notes())).unwrap();
    let summary = Summary::read(&Summary::of(&dump).to_bytes().unwrap()).unwrap();
    assert_eq!(summary.facts.notes[0].code, "modules");
    assert_eq!(summary.tasks.notes, dump.tasks().notes);
}

#[test]
fn another_version_is_refused_by_its_number() {
    let mut document = document();
    document["version"] = 2.into();
    // What else the document holds may have another form then.
    document["tasks"] = "none".into();
    assert_eq!(refusal(&document), "the summary of a dump is of version 2; we know 1");
}

#[test]
fn a_frame_that_is_not_in_the_table_is_refused() {
    let mut document = document();
    document["stacks"][2][0] = 1000.into();
    assert_eq!(refusal(&document), "a stack in the summary of a dump has a frame that is not in its table");
}

#[test]
fn more_than_a_machine_has_is_refused() {
    let mut frames = document();
    frames["stacks"][2] = vec![0; (1 << 20) + 1].into();
    assert_eq!(refusal(&frames), "the summary of a dump has more than 1048576 steps in its stacks");

    let mut name = document();
    name["facts"]["hostname"] = "x".repeat(200_000).into();
    assert_eq!(refusal(&name), "the summary of a dump has more than 131072 bytes in one string");
    // A quote in a string does not end it.
    name["facts"]["hostname"] = "\"".repeat(100_000).into();
    assert_eq!(refusal(&name), "the summary of a dump has more than 131072 bytes in one string");

    let large = vec![b' '; (32 << 20) + 1];
    assert!(matches!(Summary::read(&large), Err(Error::SummaryLimit { what: "bytes", .. })));
}

#[test]
fn what_is_no_summary_says_so() {
    for bytes in [&b""[..], b"\x7fELF", b"{}", b"{\"version\":1}", b"[[[[", b"\"\\"] {
        assert_eq!(Summary::read(bytes).unwrap_err().to_string(), "reading the summary of a dump");
    }
}

#[test]
fn a_later_agents_members_are_passed_over() {
    let mut document = document();
    document["facts"]["temperature"] = 40.into();
    document["facts"]["registers"]["xcr0"] = "0x7".into();
    let bytes = serde_json::to_vec(&document).unwrap();
    assert_eq!(Summary::read(&bytes).unwrap(), Summary::of(&fake(X86_64)));
}

#[test]
fn one_pass_gives_log_summary_and_small_dump() {
    let image = Fake::new(X86_64).image;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vmcore");
    std::fs::write(&path, elf(&image.pages(), X86_64, &image.notes())).unwrap();
    let mut small = Vec::new();
    let excerpt = Excerpt::of(&path, 1 << 20, Some((&mut small, 1 << 20))).unwrap();
    assert!(excerpt.log.text.ends_with("Kernel panic - not syncing: made up\n"));
    assert_eq!(excerpt.summary, Summary::of(&vmcore::open(&path).unwrap()));
    assert!(excerpt.extracted.unwrap().unwrap().pages > 0);
    assert_eq!(vmcore::from_bytes(small).unwrap().facts(), excerpt.summary.facts);

    let mut nothing = Vec::new();
    let excerpt = Excerpt::of(&path, 1 << 20, Some((&mut nothing, 1 << 12))).unwrap();
    assert!(matches!(excerpt.extracted, Some(Err(Error::Extract { most: 4096, .. }))));
    assert!(nothing.is_empty());
}

#[test]
fn summaries_of_real_dumps_are_small() {
    for dump in ["6.1.0-56-cloud-amd64-null_deref.zlib", "6.12.117+deb12-cloud-amd64-sysrq.zlib"] {
        let Some(path) = artifact(dump) else { continue };
        let summary = Summary::of(&vmcore::open(&path).unwrap());
        let bytes = summary.to_bytes().unwrap();
        let packed = zstd::bulk::compress(&bytes, 3).unwrap();
        println!("{dump}: {} bytes, {} packed", bytes.len(), packed.len());
        assert!(bytes.len() < 256 << 10, "{} bytes", bytes.len());
        assert_eq!(Summary::read(&bytes).unwrap(), summary);
    }
}
