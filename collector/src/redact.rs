//! Redaction: what names a machine or opens a door is replaced before anything leaves the node.
//!
//! The rules are data, `rules/redact.txt`. A value is replaced by a mark with a number, `‹ip:1›`, the same for the
//! same value within one piece of evidence, so that two addresses can still be told apart. Raw digests, by which
//! sources are known and erased, are of the bytes as found.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use handover::manifest::Redaction;
use regex::bytes::{Captures, Regex, RegexBuilder};

use crate::error::Error;

/// The rules of this version.
const RULES: &str = include_str!("../rules/redact.txt");

/// A host name shorter than this, or without a digit, dash or dot, may be a word of the kernel's.
const NAME: usize = 5;

/// Memory of a compiled rule. The largest of ours take some 100 KB.
const COMPILED: usize = 1 << 20;

/// The rules that are switched on.
#[derive(Debug)]
pub struct Rules {
    version: u32,
    rules: Vec<Rule>,
    off: Vec<String>,
}

#[derive(Debug)]
struct Rule {
    class: String,
    mark: String,
    pattern: Regex,
}

/// The redaction of one piece of evidence, across its pieces.
#[derive(Debug)]
pub struct Redactor<'a> {
    rules: &'a Rules,
    marks: HashMap<(String, Vec<u8>), usize>,
    numbers: HashMap<String, usize>,
    counts: BTreeMap<String, u64>,
}

impl Rules {
    /// The rules, without the classes in `off`; with one for this machine's own name.
    pub fn load(off: &BTreeSet<String>, host_name: Option<&str>) -> Result<Rules, Error> {
        let mut rules = Rules { version: 0, rules: Vec::new(), off: off.iter().cloned().collect() };
        let mut classes = BTreeSet::from(["hostname".to_owned()]);
        for line in RULES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(version) = line.strip_prefix("version ") {
                rules.version = version.parse().map_err(|_| broken(line))?;
                continue;
            }
            let mut fields = line.splitn(3, ' ');
            let (Some(class), Some(mark), Some(pattern)) = (fields.next(), fields.next(), fields.next())
            else {
                return Err(broken(line));
            };
            classes.insert(class.to_owned());
            rules.add(class, mark, pattern)?;
        }
        if let Some(name) = host_name.filter(|name| is_telling(name)) {
            rules.add("hostname", "host", &format!(r"(?i)\b{}\b", regex::escape(name)))?;
        }
        match off.iter().find(|class| !classes.contains(*class)) {
            Some(class) => Err(Error::Setting(format!("there is no class of redaction named {class:?}"))),
            None => Ok(rules),
        }
    }

    /// Begins with a piece of evidence.
    pub fn begin(&self) -> Redactor<'_> {
        Redactor { rules: self, marks: HashMap::new(), numbers: HashMap::new(), counts: BTreeMap::new() }
    }

    fn add(&mut self, class: &str, mark: &str, pattern: &str) -> Result<(), Error> {
        if self.off.iter().any(|off| off == class) {
            return Ok(());
        }
        let pattern = RegexBuilder::new(pattern)
            .unicode(false)
            .size_limit(COMPILED)
            .build()
            .map_err(|_| broken(pattern))?;
        self.rules.push(Rule { class: class.to_owned(), mark: mark.to_owned(), pattern });
        Ok(())
    }
}

impl Redactor<'_> {
    /// Replaces what the rules name in one piece.
    pub fn apply(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for rule in &self.rules.rules {
            let mut out = Vec::new();
            let mut end = 0;
            for captures in rule.pattern.captures_iter(&bytes) {
                let Some(found) = value(&captures) else { continue };
                out.extend_from_slice(&bytes[end..found.start]);
                let number = match self.marks.get(&(rule.mark.clone(), bytes[found.clone()].to_vec())) {
                    Some(number) => *number,
                    None => {
                        let number = self.numbers.entry(rule.mark.clone()).or_default();
                        *number += 1;
                        self.marks.insert((rule.mark.clone(), bytes[found.clone()].to_vec()), *number);
                        *number
                    }
                };
                out.extend_from_slice(format!("‹{}:{number}›", rule.mark).as_bytes());
                end = found.end;
                *self.counts.entry(rule.class.clone()).or_default() += 1;
            }
            if end > 0 {
                out.extend_from_slice(&bytes[end..]);
                bytes = out;
            }
        }
        bytes
    }

    /// Replaces what the rules name in a text that stands for itself.
    pub fn apply_to_text(&mut self, text: String) -> String {
        String::from_utf8_lossy(&self.apply(text.into_bytes())).into_owned()
    }

    /// What was done, for the manifest.
    pub fn finish(self) -> Redaction {
        Redaction {
            rules: self.rules.version,
            applied: self.counts.keys().cloned().collect(),
            counts: self.counts,
            off: self.rules.off.clone(),
        }
    }
}

/// What a match replaces: its group if it has one. A value that is a mark already stays.
fn value(captures: &Captures<'_>) -> Option<std::ops::Range<usize>> {
    let found = captures.get(1).or_else(|| captures.get(0))?;
    (!found.as_bytes().starts_with("‹".as_bytes())).then(|| found.range())
}

/// Whether a name can be replaced wherever it stands: `web-17` can, `linux` is in every log.
fn is_telling(name: &str) -> bool {
    name.len() >= NAME && name.contains(|c: char| c.is_ascii_digit() || c == '-' || c == '.')
}

fn broken(rule: &str) -> Error {
    Error::Setting(format!("the redaction rule {rule:?} cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let rules = Rules::load(&BTreeSet::new(), Some("web-17")).unwrap();
        let redacted = rules.begin().apply(text.as_bytes().to_vec());
        assert_eq!(String::from_utf8(redacted).unwrap(), expected);
    }

    #[test]
    fn each_class_is_replaced() {
        check("e1000: eth0 52:54:00:12:34:56 link", "e1000: eth0 ‹mac:1› link");
        check("BOOTIF=01-52-54-00-12-34-56 quiet", "BOOTIF=‹mac:1› quiet");
        check("from 10.0.2.15 to 10.0.2.2, 10.0.2.15", "from ‹ip:1› to ‹ip:2›, ‹ip:1›");
        check("src=fe80::5054:ff:fe12:3456 dst=fe80::1", "src=‹ip:1› dst=‹ip:2›");
        check("from 2001:db8::1", "from ‹ip:1›");
        check("at 2001:0db8:0:0:0:0:0:1", "at ‹ip:1›");
        check("root=UUID=d0e2a8b4-1111-4222-8333-123456789abc ro", "root=UUID=‹uuid:1› ro");
        check("usb 1-1: SerialNumber: 0123456789AB", "usb 1-1: SerialNumber: ‹serial:1›");
        check("systemd[1]: Set hostname to <db.example>.", "systemd[1]: Set hostname to <‹host:1›>.");
        check("login from web-17 on WEB-17.", "login from ‹host:1› on ‹host:2›.");
        check("luks.password=hunter2 quiet", "luks.password=‹secret:1› quiet");
        check("api_key=\"two words\" x", "api_key=‹secret:1› x");
        check("root=nbd://me:hunter2@10.1.2.3/x", "root=nbd://me:‹secret:1›@‹ip:1›/x");
    }

    #[test]
    fn what_names_nobody_stays() {
        for text in [
            "<4>[   27.100776] BUG: kernel NULL pointer dereference, address: 0000000000000008",
            "RIP: 0010:crash_null_deref+0xf/0x20 [crashlab]",
            "Code: 55 48 89 e5 0f 0b 5d c3 90 <8b> 04 25 00 00 00 00 48 c7",
            "RSP: 0018:ffffa2c5c0bafc88 EFLAGS: 00010246",
            "pci 0000:00:1f.2: [8086:2922] type 00 class 0x010601",
            "CPU: 0 PID: 115 Comm: insmod Tainted: G           OE      6.1.0-56-cloud-amd64 #1  Debian 6.1.192-2",
            "Hardware name: QEMU Standard PC, BIOS 1.16.3-debian-1.16.3-2 04/01/2014",
            "Serial: 8250/16550 driver, 4 ports, IRQ sharing enabled",
            "New USB device strings: Mfr=1, Product=2, SerialNumber=3",
            "at 12:34:56 listening on 127.0.0.1 and 0.0.0.0",
            "core::panicking::panic_fmt+0x10/0x20, a::b, dead::beef::cafe",
            "key=7 keyring, rcu: 0-...!: (1 GPs behind) idle=7f04/1/0x4000000000000000",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn redacting_twice_changes_nothing_more() {
        let rules = Rules::load(&BTreeSet::new(), None).unwrap();
        let text = b"token=abc 10.0.0.1 52:54:00:12:34:56 SerialNumber: x1".to_vec();
        let once = rules.begin().apply(text);
        assert_eq!(rules.begin().apply(once.clone()), once);
    }

    #[test]
    fn a_class_can_be_switched_off_and_the_manifest_says_so() {
        let off = BTreeSet::from(["ipv4".to_owned()]);
        let rules = Rules::load(&off, None).unwrap();
        let mut redactor = rules.begin();
        let text = redactor.apply(b"10.0.2.15 52:54:00:12:34:56 52:54:00:12:34:56".to_vec());
        assert_eq!(text, "10.0.2.15 ‹mac:1› ‹mac:1›".as_bytes());
        let told = redactor.finish();
        assert_eq!(
            (told.rules, told.applied, told.off),
            (1, vec!["mac".to_owned()], vec!["ipv4".to_owned()])
        );
        assert_eq!(told.counts, BTreeMap::from([("mac".to_owned(), 2)]));
        assert!(Rules::load(&BTreeSet::from(["ipv5".to_owned()]), None).is_err());
    }

    #[test]
    fn numbers_go_on_across_pieces() {
        let rules = Rules::load(&BTreeSet::new(), None).unwrap();
        let mut redactor = rules.begin();
        assert_eq!(redactor.apply(b"10.0.0.1".to_vec()), "‹ip:1›".as_bytes());
        assert_eq!(redactor.apply(b"10.0.0.2 10.0.0.1".to_vec()), "‹ip:2› ‹ip:1›".as_bytes());
    }
}
