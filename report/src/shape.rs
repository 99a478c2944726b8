//! The shapes of lines in and around a stack, as far as a title needs them.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use regex::bytes::Regex;

use crate::profile::Profile;

/// The kinds of lines that begin a stack. The corruption checks look at the first of each kind.
pub(crate) const STACK_STARTS: usize = 9;
/// The last register line of riscv begins a stack too, but need not be followed by frames.
pub(crate) const RISCV_START: usize = 8;

/// Words one of which stands in every line that begins a stack; for the one search over the whole log.
pub(crate) const START_WORDS: [&str; 8] = [
    "Call Trace",
    "Call trace",
    "Allocated",
    "Freed",
    " backtrace",
    "Backtrace:",
    "Uninit was stored",
    "badaddr: ",
];

/// Stands in every stack of the fault injector.
pub(crate) const FAULT_INJECTION: &str = "should_fail";

/// Which kinds of stack starts `line` holds, as a bit set; 0 for most lines.
pub(crate) fn stack_starts(line: &[u8]) -> u16 {
    let has = |word: &str| memchr::memmem::find(line, word.as_bytes()).is_some();
    let mut kinds = 0;
    let mut set = |kind: usize, is: bool| kinds |= u16::from(is) << kind;
    set(0, has("Call Trace") || has("Call trace"));
    set(1, has("Allocated:"));
    set(2, numbered(line, b"Allocated by task "));
    set(3, has("Freed:"));
    set(4, numbered(line, b"Freed by task "));
    set(5, has(" backtrace") && backtrace(line));
    set(6, has("Backtrace:"));
    set(7, has("Uninit was stored to memory at"));
    set(RISCV_START, has("badaddr: ") && riscv(line));
    kinds
}

/// `word`, digits, colon.
fn numbered(line: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(line, word).is_some_and(|at| {
        let rest = &line[at + word.len()..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        digits > 0 && rest.get(digits) == Some(&b':')
    })
}

/// ` backtrace:`, but not `stack backtrace:`; kmemleak puts `(crc …)` before the colon.
fn backtrace(line: &[u8]) -> bool {
    const WORD: &[u8] = b" backtrace";
    memchr::memmem::find_iter(line, WORD).any(|at| {
        let rest = &line[at + WORD.len()..];
        let rest = match rest.strip_prefix(b" (crc ") {
            Some(crc) => {
                let digits = crc.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
                crc[digits..].strip_prefix(b")").unwrap_or(b"")
            }
            None => rest,
        };
        at > 0 && line[at - 1] != b'k' && rest.first() == Some(&b':')
    })
}

/// `status: <16 hex> badaddr: <16 hex> cause: <16 hex>`
fn riscv(line: &[u8]) -> bool {
    static FORM: LazyLock<Regex> =
        LazyLock::new(|| form("status: [0-9a-f]{16} badaddr: [0-9a-f]{16} cause: [0-9a-f]{16}"));
    FORM.is_match(line)
}

/// A line that announces a trace.
pub(crate) fn is_heading(line: &[u8]) -> bool {
    static END: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("race:"));
    END.find_iter(line).any(|at| {
        let before = &line[..at];
        [&b"Call T"[..], b"Call t", b"Backt"].iter().any(|word| before.ends_with(word))
    })
}

/// The function or functions of a frame line: `foo` of ` [<addr>] foo.isra.0+0x12/0x40`, or both of arm's
/// `[<addr>] (foo) from [<addr>] (bar+0x12/0x40)`. A fleet's kernels also print `foo from bar+0x12/0x40` (arm since
/// 5.18), and the module inside the parentheses.
pub(crate) fn frame(line: &[u8], profile: Profile) -> Option<(&str, Option<&str>)> {
    match profile {
        Profile::Production => match named_frame(line) {
            Some((name, b'+')) => Some((name, None)),
            // arm's newer form may have a compiler's suffix there.
            Some((name, _)) => arm_frame(line).or(Some((name, None))),
            None => arm_frame(line).or_else(|| decoded_frame(line)),
        },
        Profile::Scoring => match named_frame(line) {
            Some((name, _)) => Some((name, None)),
            None => old_arm_frame(line),
        },
    }
}

/// What follows a function's name: a compiler's suffix or the offset; where a log was decoded already, the place.
pub(crate) fn behind_name(profile: Profile) -> &'static str {
    match profile {
        Profile::Production => r"(?:\.|\+| \([^ ()]+:[0-9?])",
        Profile::Scoring => r"(?:\.|\+)",
    }
}

/// `foo (drivers/foo/bar.c:12 include/foo.h:34) module`, as scripts/decode_stacktrace.sh writes it.
fn decoded_frame(line: &[u8]) -> Option<(&str, Option<&str>)> {
    let start = skip_blanks(line);
    let start = counter(start).map_or(start, skip_blanks);
    let name = word(start);
    let place = start[name.len()..].strip_prefix(b" (").filter(|_| !name.is_empty())?;
    is_place(place).then_some((name, None))
}

/// Does `text` begin with `file.c:12`? addr2line writes `??:?` for what it does not know.
pub(crate) fn is_place(text: &[u8]) -> bool {
    let word = text.split(|byte| matches!(byte, b' ' | b')')).next().unwrap_or(text);
    let Some(colon) = memchr::memrchr(b':', word) else { return false };
    let (file, line) = (&word[..colon], &word[colon + 1..]);
    let is_source = [&b"??"[..], b".c", b".h", b".S", b".rs"].iter().any(|ending| file.ends_with(ending));
    is_source && !line.is_empty() && line.iter().all(|byte| byte.is_ascii_digit() || *byte == b'?')
}

fn arm_frame(line: &[u8]) -> Option<(&str, Option<&str>)> {
    let at = memchr::memmem::find(line, b" from ")?;
    let start = skip_blanks(line);
    let start = counter(start).map_or(start, skip_blanks);
    let start = start.strip_prefix(b"(").unwrap_or(start);
    let top = word(start);
    line.get(line.len() - start.len() + top.len()..at).filter(|rest| is_tail(rest))?;
    let rest = skip_blanks(&line[at + b" from ".len()..]);
    let rest = counter(rest).map_or(rest, skip_blanks);
    let rest = rest.strip_prefix(b"(").unwrap_or(rest);
    let caller = word(rest);
    let is_frame =
        !top.is_empty() && !caller.is_empty() && matches!(rest.get(caller.len()), Some(b'+' | b'.'));
    is_frame.then_some((top, Some(caller)))
}

/// What may stand behind the name in arm's parentheses: `.isra.0`, ` [module]`, the closing one.
fn is_tail(rest: &[u8]) -> bool {
    let rest = rest.strip_suffix(b")").unwrap_or(rest);
    let suffix = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"._".contains(byte)).count();
    let module = &rest[suffix..];
    (suffix == 0 || rest[0] == b'.')
        && (module.is_empty()
            || module.starts_with(b" [") && memchr::memchr(b']', module) == Some(module.len() - 1))
}

/// ` [<addr>] foo+0x12/0x40`: the name, and the `+` or `.` behind it.
fn named_frame(line: &[u8]) -> Option<(&str, u8)> {
    let mut rest = skip_blanks(line);
    for _ in 0..2 {
        match counter(rest).and_then(|behind| behind.strip_prefix(b" ")) {
            Some(behind) => rest = behind,
            None => break,
        }
    }
    let name = word(rest);
    let behind = *rest.get(name.len())?;
    (!name.is_empty() && matches!(behind, b'+' | b'.')).then_some((name, behind))
}

/// `[<addr>] (foo) from [<addr>] (bar+0x12/0x40)`: arm's top frame is only in the link register. The convention keeps the
/// suffix of its name.
fn old_arm_frame(line: &[u8]) -> Option<(&str, Option<&str>)> {
    let rest = counter(skip_blanks(line))?.strip_prefix(b" (")?;
    let end = memchr::memchr(b')', rest)?;
    let top = std::str::from_utf8(&rest[..end]).ok()?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    let rest =
        rest[end..].strip_prefix(b") from ").filter(|_| !top.is_empty() && top.bytes().all(is_name))?;
    let rest = counter(rest)?.strip_prefix(b" (")?;
    let caller = word(rest);
    (!caller.is_empty() && matches!(rest.get(caller.len()), Some(b'+' | b'.'))).then_some((top, Some(caller)))
}

/// `[<ffff…>]`, with or without the angle brackets and `0x`: what stands behind it.
fn counter(text: &[u8]) -> Option<&[u8]> {
    let rest = text.strip_prefix(b"[")?;
    let rest = rest.strip_prefix(b"<").unwrap_or(rest);
    let rest = rest.strip_prefix(b"0x").unwrap_or(rest);
    let digits = rest.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).count();
    let rest = &rest[digits..];
    let rest = rest.strip_prefix(b">").unwrap_or(rest);
    rest.strip_prefix(b"]").filter(|_| digits > 0)
}

/// The identifier at the start of `text`.
fn word(text: &[u8]) -> &str {
    let length = text.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    std::str::from_utf8(&text[..length]).unwrap_or("")
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|byte| **byte == b' ').count()..]
}

/// An instruction pointer line: what it names. `Some(None)` for lines that name no function: user space, a jump to
/// nowhere.
pub(crate) fn pointer(line: &[u8], profile: Profile) -> Option<Option<&str>> {
    static PRODUCTION: LazyLock<Regex> = LazyLock::new(|| form(&pointer_form(Profile::Production)));
    static SCORING: LazyLock<Regex> = LazyLock::new(|| form(&pointer_form(Profile::Scoring)));
    match profile {
        Profile::Production => find(&PRODUCTION, line).or_else(|| other_pointer(line)),
        Profile::Scoring => find(&SCORING, line),
    }
}

/// The pointers of s390 (`Krnl PSW : 0704… 0000… (f+0x1/0x2)`), loongarch (`  ERA: 9000… f+0x1/0x2`) and mips
/// (`epc   : 8000… f+0x1/0x2`), and ppc's to nowhere (`NIP [0000…] 0x0`).
fn other_pointer(line: &[u8]) -> Option<Option<&str>> {
    static FORM: LazyLock<Regex> = LazyLock::new(|| {
        form(concat!(
            r"(?:Krnl PSW : [0-9a-f]+ [0-9a-f]+ \(|(?:ERA|epc +): [0-9a-f]+ |NIP \[[0-9a-f]+\] )",
            r"(?:([a-zA-Z0-9_]+)(?:\.|\+| \()|0x[0-9a-f]+)"
        ))
    });
    let candidate = ["Krnl PSW", "ERA: ", "epc ", "NIP ["]
        .iter()
        .any(|word| memchr::memmem::find(&line[..line.len().min(24)], word.as_bytes()).is_some());
    if candidate { find(&FORM, line) } else { None }
}

/// [`pointer`], or ppc's `--- interrupt: N at f`, which stands where other architectures print the pointer again.
pub(crate) fn interrupt(line: &[u8], profile: Profile) -> Option<Option<&str>> {
    static PRODUCTION: LazyLock<Regex> = LazyLock::new(|| form(&interrupt_form(Profile::Production)));
    static SCORING: LazyLock<Regex> = LazyLock::new(|| form(&interrupt_form(Profile::Scoring)));
    match profile {
        Profile::Production => find(&PRODUCTION, line),
        Profile::Scoring => find(&SCORING, line),
    }
}

fn interrupt_form(profile: Profile) -> String {
    let (pointer, end) = (pointer_form(profile), behind_name(profile));
    format!("{pointer}|--- interrupt: [0-9]+ at ([a-zA-Z0-9_]+){end}")
}

fn pointer_form(profile: Profile) -> String {
    let end = behind_name(profile);
    let counter = r"\[<?(?:0x)?[0-9a-f]+>?\]";
    let forms = [
        format!("(?:[0-9]+:)?(?:{counter} +){{0,2}}([a-zA-Z0-9_]+){end}"),
        "(?:[0-9]+:)?0x[0-9a-f]+".to_owned(),
        format!(r"(?:[0-9]+:)?{counter} +\[< *\(null\)>\] +\(null\)"),
        r"[0-9]+: +\(null\)".to_owned(),
    ];
    format!("(?:IP|NIP|pc |PC is at):? (?:{})", forms.join("|"))
}

fn find<'a>(form: &Regex, line: &'a [u8]) -> Option<Option<&'a str>> {
    let found = form.captures(line)?;
    let name = found.iter().skip(1).flatten().next();
    Some(name.and_then(|name| std::str::from_utf8(name.as_bytes()).ok()))
}

/// A stack of the fault injector, printed into the middle of another.
pub(crate) fn is_fault_injection(line: &[u8]) -> bool {
    static FORM: LazyLock<Regex> =
        LazyLock::new(|| form(r"\A *(?:\[<?(?:0x)?[0-9a-f]+>?\] )?should_fail(?:slab)?(?:\.[a-z0-9]+)*\+0x"));
    FORM.is_match(line)
}

fn form(source: &str) -> Regex {
    regex::bytes::RegexBuilder::new(source)
        .unicode(false)
        .build()
        .expect("a constant pattern, used by the tests")
}

/// x86 marks entries it only found by scanning the stack with `? `, ppc with ` (unreliable)`.
pub(crate) fn is_questionable(message: &[u8]) -> bool {
    let marked = memchr::memchr_iter(b'?', message)
        .any(|at| at > 0 && message[at - 1] == b' ' && message.get(at + 1) == Some(&b' '));
    (marked || message.ends_with(b" (unreliable)")) && memchr::memmem::find(message, b"<EOI>").is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_form_give_their_function() {
        for (line, expected) in [
            (" foo+0x12/0x40", Some(("foo", None))),
            ("  foo.isra.0+0x12/0x40 [mod]", Some(("foo", None))),
            (" [<ffffffff81000000>] foo+0x12/0x40", Some(("foo", None))),
            (" [c0000000] [c0000001] foo+0x12/0x40", Some(("foo", None))),
            (" [<8000d7d4>] (top) from [<8000d7d8>] (caller+0x18/0x1c)", Some(("top", Some("caller")))),
            (
                "[<8000d7d4>] (top.part.0) from [<8000d7d8>] (caller.isra.1+0x18/0x1c)",
                Some(("top.part.0", Some("caller"))),
            ),
            (" foo file.c:12 [inline]", None),
            ("RAX: 0000000000000000", None),
            ("", None),
        ] {
            assert_eq!(frame(line.as_bytes(), Profile::Scoring), expected, "{line}");
        }
    }

    #[test]
    fn a_fleet_has_newer_arm_kernels() {
        for line in [
            " top from caller+0x18/0x1c",
            " top.part.0 from caller.isra.1+0x18/0x1c",
            "[<8000d7d4>] (top.part.0) from [<8000d7d8>] (caller+0x18/0x1c)",
            " [<8000d7d4>] (top [mod]) from [<8000d7d8>] (caller+0x18/0x1c [mod])",
        ] {
            assert_eq!(frame(line.as_bytes(), Profile::Production), Some(("top", Some("caller"))), "{line}");
        }
    }

    #[test]
    fn an_instruction_pointer_may_name_nothing() {
        for (line, expected) in [
            ("RIP: 0010:foo+0x5/0x10 [mod]", Some(Some("foo"))),
            ("RIP: 0010:[<ffffffff8100>]  [<ffffffff8100>] foo+0x5/0x10", Some(Some("foo"))),
            ("EIP: foo+0x5/0x10", Some(Some("foo"))),
            ("pc : foo+0x5/0x10", Some(Some("foo"))),
            ("PC is at foo+0x5/0x10", Some(Some("foo"))),
            ("NIP [c0000000] foo+0x5/0x10", Some(Some("foo"))),
            ("RIP: 0033:0x47b7a0", Some(None)),
            ("IP: [<0000000000000000>] [<          (null)>]           (null)", Some(None)),
            ("RSP: 0018:ffffc90000000000", None),
        ] {
            assert_eq!(pointer(line.as_bytes(), Profile::Scoring), expected, "{line}");
        }
        assert_eq!(interrupt(b"--- interrupt: 700 at foo+0x5/0x10", Profile::Scoring), Some(Some("foo")));
    }

    #[test]
    fn other_architectures_have_other_pointers() {
        for line in [
            "Krnl PSW : 0704c00180000000 000003ff800a0120 (foo+0x20/0x50 [mod])",
            "  ERA: 9000000000a40120 foo+0x20/0x50 [mod]",
            "epc   : 80a40120 foo+0x20/0x50 [mod]",
        ] {
            assert_eq!(pointer(line.as_bytes(), Profile::Production), Some(Some("foo")), "{line}");
            assert_eq!(pointer(line.as_bytes(), Profile::Scoring), None, "{line}");
        }
    }

    #[test]
    fn a_log_that_was_decoded_has_the_same_frames() {
        for line in [
            " foo (drivers/foo/bar.c:12)",
            " foo (drivers/foo/bar.c:12 (discriminator 3) include/foo.h:34) module",
            "[<ffffffff81000000>] foo (??:?)",
        ] {
            assert_eq!(frame(line.as_bytes(), Profile::Production), Some(("foo", None)), "{line}");
            assert_eq!(frame(line.as_bytes(), Profile::Scoring), None, "{line}");
        }
        for line in [" foo drivers/foo/bar.c:12 [inline]", " foo (12 bytes)", "Tainted (see x:12)"] {
            assert_eq!(frame(line.as_bytes(), Profile::Production), None, "{line}");
        }
        let line = b"RIP: 0010:foo (drivers/foo/bar.c:12) module";
        assert_eq!(pointer(line, Profile::Production), Some(Some("foo")));
        assert_eq!(pointer(line, Profile::Scoring), None);
    }

    #[test]
    fn a_backtrace_of_the_lock_validator_starts_no_stack() {
        assert_eq!(stack_starts(b"stack backtrace:"), 0);
        assert_eq!(stack_starts(b"  backtrace (crc 12ab34cd):"), 1 << 5);
        assert_eq!(stack_starts(b"Call Trace:"), 1);
        assert_eq!(stack_starts(b"Freed by task 12:"), 1 << 4);
        assert_eq!(stack_starts(b"Freed by task x:"), 0);
    }

    #[test]
    fn frames_with_a_question_mark_are_doubted() {
        assert!(is_questionable(b" ? foo+0x1/0x2"));
        assert!(is_questionable(b" [<ffffffff8100>] ? foo+0x1/0x2"));
        assert!(is_questionable(b"[c000] foo+0x1/0x2 (unreliable)"));
        assert!(!is_questionable(b" <EOI>  ? foo+0x1/0x2"));
        assert!(!is_questionable(b"really?"));
    }

    #[test]
    fn a_stack_of_the_fault_injector_is_known() {
        assert!(is_fault_injection(b" should_fail.isra.3+0x10/0x20"));
        assert!(is_fault_injection(b" [<ffffffff8100>] should_failslab+0x10/0x20"));
        assert!(!is_fault_injection(b" why should_fail+0x10/0x20"));
    }
}
