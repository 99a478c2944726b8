//! One line of a stack trace, with everything a kernel can put into it.
//!
//! `[<addr>] ? name+0xoff/0xsize [module buildid] (P) (file:line) (unreliable)`: all but the name may be missing.

use crate::kernel::BuildId;
use crate::shape::is_place;
use crate::trace::{Bpf, Context, Frame, KernelLine};

/// The longest symbol kallsyms prints (`KSYM_NAME_LEN` is 512 since 6.1).
const SYMBOL_MAX: usize = 512;

/// Reads a frame line; `line` is its index in the log. arm's `f from g+0x…` gives two frames, others one.
pub(crate) fn read(text: &str, line: usize, context: Context) -> Option<(Frame, Option<Frame>)> {
    let mut rest = text.trim_ascii_start();
    let mut frame = Frame {
        symbol: None,
        offset: 0,
        size: None,
        address: None,
        module: None,
        build_id: None,
        reliable: true,
        exact: false,
        context,
        line,
        kernel_line: None,
        bpf: None,
    };
    // s390 puts entries it doubts in parentheses.
    if rest.starts_with("([<") {
        frame.reliable = false;
        rest = &rest[1..];
    }
    for _ in 0..2 {
        let Some((address, behind)) = counter(rest) else { break };
        frame.address = Some(address);
        rest = behind.trim_ascii_start();
    }
    if let Some(doubted) = rest.strip_prefix("? ") {
        frame.reliable = false;
        rest = doubted.trim_ascii_start();
    }
    if let Some(pair) = arm(rest, &frame) {
        return Some(pair);
    }
    if let Some(behind) = bare(rest, &mut frame) {
        return behind.trim().is_empty().then_some((frame, None));
    }
    let rest = place(rest, &mut frame)?;
    tail(rest, &mut frame)?;
    Some((frame, None))
}

/// Reads what an instruction pointer line names: `0010:name+0xoff/0xsize [module]`, with addresses on old kernels.
/// None for user space and for jumps to nowhere.
pub(crate) fn pointer(text: &str, line: usize) -> Option<Frame> {
    let text = text.trim_ascii_start();
    let segment = text.bytes().take_while(u8::is_ascii_hexdigit).count();
    let (segment, rest) = match text[segment..].strip_prefix(':') {
        Some(rest) if segment == 4 => (&text[..segment], rest),
        _ => ("", text),
    };
    // The low two bits of the code segment are the privilege level; 3 is user space.
    if u16::from_str_radix(segment, 16).is_ok_and(|segment| segment & 3 == 3) {
        return None;
    }
    let (mut frame, _) = read(rest, line, Context::Unknown)?;
    frame.symbol.as_ref()?;
    frame.exact = true;
    Some(frame)
}

/// `[<ffff…>]` or `[ffff…]`: the value and what stands behind it.
fn counter(text: &str) -> Option<(u64, &str)> {
    let inner = text.strip_prefix('[')?;
    let inner = inner.strip_prefix('<').unwrap_or(inner);
    let inner = inner.strip_prefix("0x").unwrap_or(inner);
    let (value, rest) = hex(inner)?;
    // A module in brackets may look like hex; addresses have eight digits and more.
    if !(8..=16).contains(&(inner.len() - rest.len())) {
        return None;
    }
    Some((value, rest.strip_prefix('>').unwrap_or(rest).strip_prefix(']')?))
}

/// An address that no symbol covers: `0xffffffffc03ac000`.
fn bare<'a>(text: &'a str, frame: &mut Frame) -> Option<&'a str> {
    let (address, rest) = hex(text.strip_prefix("0x")?)?;
    frame.address = Some(address);
    Some(rest)
}

/// `name+0xoff/0xsize`; old kernels leave the size out.
fn place<'a>(text: &'a str, frame: &mut Frame) -> Option<&'a str> {
    let (name, rest) = symbol(text);
    if let Some(places) = rest.strip_prefix(" (").filter(|places| is_place(places.as_bytes())) {
        return decoded(name, places, frame);
    }
    let rest = rest.strip_prefix("+0x").filter(|_| !name.is_empty())?;
    let (offset, rest) = hex(rest)?;
    frame.offset = offset;
    let rest = match rest.strip_prefix("/0x") {
        Some(size) => {
            let (size, rest) = hex(size)?;
            frame.size = Some(size);
            rest
        }
        None => rest,
    };
    frame.bpf = bpf(name);
    frame.symbol = Some(name.to_owned());
    if frame.bpf.is_some() {
        frame.module = Some("bpf".to_owned());
    }
    Some(rest)
}

/// `name (file:line file:line) module`, as scripts/decode_stacktrace.sh writes it: the first place is the innermost
/// inlined call. Gives what stands behind the module.
fn decoded<'a>(name: &str, places: &'a str, frame: &mut Frame) -> Option<&'a str> {
    let mut depth = 1;
    let end = places.bytes().position(|byte| {
        depth += i32::from(byte == b'(') - i32::from(byte == b')');
        depth == 0
    })?;
    let (file, line) = places[..end].split(' ').next()?.rsplit_once(':')?;
    frame.kernel_line = Some(KernelLine { file: file.to_owned(), line: line.parse().unwrap_or(0) });
    frame.symbol = Some(name.to_owned()).filter(|name| !name.is_empty());
    frame.symbol.as_ref()?;
    let rest = places[end + 1..].trim_ascii_start();
    let module =
        rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')).count();
    if module > 0 {
        frame.module = Some(rest[..module].to_owned());
    }
    Some(&rest[module..])
}

/// The symbol at the start of `text`, and what stands behind it.
fn symbol(text: &str) -> (&str, &str) {
    let length = text.bytes().take(SYMBOL_MAX).take_while(|byte| IS_NAME[usize::from(*byte)]).count();
    text.split_at(length)
}

/// Rust's legacy names have `$`, compilers add `.suffix.N`. A table, because it is asked for every byte of a stack.
const IS_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let letter = byte as u8;
        table[byte] = letter.is_ascii_alphanumeric()
            || matches!(letter, b'_' | b'.' | b'$' | b':' | b'<' | b'>' | b',');
        byte += 1;
    }
    table
};

/// `[module buildid]`, arm64's marks, the kernel's own line, ppc's doubt. None when there is something else, so that
/// the line is no frame.
fn tail(text: &str, frame: &mut Frame) -> Option<()> {
    let mut rest = text.trim_start_matches(')').trim_ascii();
    while !rest.is_empty() {
        let (open, close) = if rest.starts_with('[') { ('[', ']') } else { ('(', ')') };
        let Some((inner, behind)) = rest.strip_prefix(open).and_then(|inner| inner.split_once(close)) else {
            // Some consoles glue words of other lines behind a frame; symbolized logs put a path there.
            return looks_like_path(rest).then_some(());
        };
        // s390 closes the parenthesis of an entry it doubts behind the module.
        rest = behind.trim_start_matches(')').trim_ascii_start();
        if open == '[' {
            module(inner, frame);
        } else if inner == "unreliable" {
            frame.reliable = false;
        } else if let Some((file, line)) = inner.rsplit_once(':') {
            let line = line.parse().ok();
            frame.kernel_line = line.map(|line| KernelLine { file: file.to_owned(), line });
        } else if inner.bytes().all(|byte| byte.is_ascii_uppercase()) {
            frame.exact |= inner.starts_with('P');
        }
    }
    Some(())
}

fn module(inner: &str, frame: &mut Frame) {
    let (name, id) = inner.split_once(' ').unwrap_or((inner, ""));
    if inner == "inline" || name.is_empty() {
        return;
    }
    frame.module = Some(name.to_owned());
    frame.build_id = id.trim().parse().ok();
}

fn looks_like_path(text: &str) -> bool {
    text.split_ascii_whitespace()
        .next()
        .is_some_and(|word| word.contains('/') || word.contains(".c:") || word.contains(".S:"))
}

/// `bpf_prog_<tag>_<name>`, `bpf_trampoline_<id>`, `bpf_dispatcher_<name>`.
fn bpf(name: &str) -> Option<Bpf> {
    const TAG: usize = 16;
    let rest = name.strip_prefix("bpf_")?;
    if let Some(rest) = rest.strip_prefix("prog_") {
        let tag = rest.get(..TAG).filter(|tag| tag.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        let name = match rest[TAG..].strip_prefix('_') {
            Some(name) => Some(name.to_owned()),
            None if rest.len() == TAG => None,
            None => return None,
        };
        return Some(Bpf::Program { tag: tag.to_owned(), name });
    }
    if let Some(id) =
        rest.strip_prefix("trampoline_").filter(|id| id.starts_with(|c: char| c.is_ascii_digit()))
    {
        return Some(Bpf::Trampoline { id: id.to_owned() });
    }
    // The dispatcher's own code ends in _func; its helpers are ordinary functions.
    let name = rest.strip_prefix("dispatcher_").filter(|name| !name.contains("change"))?;
    Some(Bpf::Dispatcher { name: name.to_owned() })
}

/// arm: `f from g+0x18/0x1c`, before 5.x `(f) from [<addr>] (g+0x18/0x1c)`. The first is where it was, the second where it returns to.
fn arm(text: &str, frame: &Frame) -> Option<(Frame, Option<Frame>)> {
    let (name, rest) = symbol(text.trim_start_matches('('));
    let (module, rest) = match rest.strip_prefix(" [").and_then(|rest| rest.split_once(']')) {
        Some((module, rest)) => (Some(module), rest),
        None => (None, rest),
    };
    let rest = rest.trim_start_matches(')').strip_prefix(" from ").filter(|_| !name.is_empty())?;
    let mut caller = frame.clone();
    let mut rest = rest;
    if let Some((address, behind)) = counter(rest) {
        caller.address = Some(address);
        rest = behind.trim_ascii_start();
    }
    let rest = place(rest.trim_start_matches('('), &mut caller)?;
    tail(rest, &mut caller)?;
    let module = module.map(str::to_owned);
    let top = Frame { symbol: Some(name.to_owned()), module, ..frame.clone() };
    Some((top, Some(caller)))
}

/// The hex digits at the start of `text`: their value and what stands behind them. None when there is none, or when
/// they do not fit.
pub(crate) fn hex(text: &str) -> Option<(u64, &str)> {
    let (mut value, mut digits) = (0u64, 0);
    for byte in text.bytes() {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => break,
        };
        if value >> 60 != 0 {
            return None;
        }
        value = value << 4 | u64::from(digit);
        digits += 1;
    }
    (digits > 0).then(|| (value, &text[digits..]))
}

impl Bpf {
    /// How the program is shown: `tag` or `tag_name`; trampolines and dispatchers by their own name.
    pub(crate) fn label(&self) -> String {
        match self {
            Bpf::Program { tag, name: Some(name) } => format!("{tag}_{name}"),
            Bpf::Program { tag, name: None } => tag.clone(),
            Bpf::Trampoline { id } => format!("trampoline {id}"),
            Bpf::Dispatcher { name } => format!("dispatcher {name}"),
        }
    }
}

impl BuildId {
    /// The last word of a line, when it is a build id (40 hex digits in every kernel so far).
    pub(crate) fn at_end(text: &str) -> Option<BuildId> {
        let word = text.trim_end().rsplit(' ').next()?;
        (word.len() == 40).then(|| word.parse().ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Frame {
        read(text, 0, Context::Task).unwrap_or_else(|| panic!("{text} is a frame")).0
    }

    #[test]
    fn a_frame_is_name_offset_and_size() {
        let frame = one(" crash_bug+0x5/0x10 [crashlab]");
        assert_eq!((frame.symbol.as_deref(), frame.offset, frame.size), (Some("crash_bug"), 5, Some(0x10)));
        assert_eq!(frame.module.as_deref(), Some("crashlab"));
        assert!(frame.reliable && !frame.exact);
    }

    #[test]
    fn doubt_is_kept_in_every_spelling() {
        assert!(!one(" ? foo+0x1/0x2").reliable);
        assert!(!one(" [<ffffffff81000000>] ? foo+0x1/0x2").reliable);
        assert!(!one("[c000000000001234] [c000000000005678] foo+0x1/0x2 (unreliable)").reliable);
        assert!(!one(" ([<0000000000123456>] foo+0x1/0x2)").reliable);
        assert_eq!(one(" [<ffffffff81000000>] foo+0x1/0x2").address, Some(0xffffffff81000000));
    }

    #[test]
    fn what_new_kernels_add_behind_a_frame_is_read() {
        let frame =
            one(" foo+0x30/0x100 [mod 00112233445566778899aabbccddeeff00112233] (P) (drivers/foo/bar.c:123)");
        assert_eq!(frame.build_id.unwrap().to_string(), "00112233445566778899aabbccddeeff00112233");
        assert_eq!(frame.kernel_line, Some(KernelLine { file: "drivers/foo/bar.c".into(), line: 123 }));
        assert!(frame.exact);
        assert!(!one(" foo+0x30/0x100 (C)").exact);
    }

    #[test]
    fn a_frame_that_was_decoded_keeps_its_place() {
        let frame = one(" foo (include/bar.h:34 (discriminator 3) drivers/foo/bar.c:12) gizmo");
        assert_eq!((frame.symbol.as_deref(), frame.module.as_deref()), (Some("foo"), Some("gizmo")));
        assert_eq!(frame.kernel_line, Some(KernelLine { file: "include/bar.h".into(), line: 34 }));
        assert!(frame.is_decoded() && one(" ? foo (??:?) ").is_decoded());
        assert!(!one(" foo+0x1/0x2 (a.c:1)").is_decoded());
        assert!(one(" foo (a.c:1) (P)").exact);
    }

    #[test]
    fn generated_code_is_never_a_kernel_function() {
        let frame = one(" bpf_prog_6deef7357e7b4530_sched_switch+0x1c/0x40");
        assert_eq!(
            frame.bpf,
            Some(Bpf::Program { tag: "6deef7357e7b4530".into(), name: Some("sched_switch".into()) })
        );
        assert_eq!(frame.module.as_deref(), Some("bpf"));
        assert_eq!(one(" bpf_prog_6deef7357e7b4530+0x1c/0x40").bpf.unwrap().label(), "6deef7357e7b4530");
        assert_eq!(one(" bpf_trampoline_6442549234+0x52/0xf1").bpf.unwrap().label(), "trampoline 6442549234");
        assert_eq!(one(" bpf_prog_run_xdp+0x1/0x2").bpf, None);
        assert_eq!(one(" bpf_trampoline_link_prog+0x1/0x2").bpf, None);
    }

    #[test]
    fn arm_names_two_functions_a_line() {
        for text in [" [<8000d7d4>] (top) from [<8000d7d8>] (caller+0x18/0x1c)", " top from caller+0x18/0x1c"]
        {
            let (top, caller) = read(text, 0, Context::Unknown).unwrap();
            assert_eq!(top.symbol.as_deref(), Some("top"));
            assert_eq!(caller.unwrap().symbol.as_deref(), Some("caller"));
        }
    }

    #[test]
    fn names_of_rust_functions_are_read_whole() {
        let legacy = "_ZN4core3ptr49drop_in_place$LT$kernel..sync..Arc$GT$17h0123456789abcdefE";
        assert_eq!(one(&format!(" {legacy}+0x1/0x2")).symbol.as_deref(), Some(legacy));
    }

    #[test]
    fn other_lines_are_no_frames() {
        for text in [
            "",
            "Code: 0f 0b",
            "RAX: 0000000000000000",
            "Modules linked in: a b",
            "foo",
            "x+0xzz",
            "a+0x1/0x2 b c d",
        ] {
            assert_eq!(read(text, 0, Context::Task), None, "{text}");
        }
        assert_eq!(one(" 0xffffffffc03ac000").address, Some(0xffffffffc03ac000));
    }

    #[test]
    fn an_instruction_pointer_is_exact_and_only_in_the_kernel() {
        let frame = pointer(" 0010:read_rpm+0x5/0x10 [crashlab]", 7).unwrap();
        assert!(frame.exact && frame.line == 7 && frame.module.as_deref() == Some("crashlab"));
        assert!(pointer(" 0010:[<ffffffff81000000>]  [<ffffffff81000000>] foo+0x1/0x2", 0).is_some());
        assert_eq!(pointer(" 0033:0x47fbe9", 0), None);
        assert_eq!(pointer(" 0010:0x0", 0), None);
    }
}
