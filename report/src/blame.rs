//! Whom a report blames, and where in the kernel that is.

use crate::facts::Facts;
use crate::report::{Function, Report};
use crate::rules::{Rules, Token};
use crate::subsystem;
use crate::syscall;
use crate::trace::{Bpf, Frame};

/// Whom to blame: the function of the title; for a panic whoever called it; else the first that is not generic.
pub(crate) fn blame(report: &mut Report, facts: &Facts, token: &Token, rules: &Rules) {
    let frames = || facts.ip.iter().chain(facts.traces.iter().flat_map(|trace| &trace.frames));
    let function = |frame: &Frame| {
        let name = syscall::strip(frame.name()?).to_owned();
        Some(Function { name, module: frame.module.clone() })
    };
    let guilty = match &report.frame {
        Some(name) => {
            let named =
                |frame: &&Frame| frame.name().is_some_and(|own| own == name || syscall::strip(own) == name);
            Some(Function {
                name: name.clone(),
                module: frames().find(named).and_then(|frame| frame.module.clone()),
            })
        }
        None if token.id == "panic" => panicked(facts).and_then(function),
        None => None,
    };
    let counts = |frame: &&Frame| frame.reliable && frame.name().is_some_and(|name| !rules.is_generic(name));
    report.guilty = guilty.or_else(|| frames().find(counts).and_then(function));
    report.bpf = frames().filter(|frame| frame.reliable).find_map(|frame| match &frame.bpf {
        Some(program @ Bpf::Program { .. }) => Some(program.label()),
        _ => None,
    });
    let module = report.guilty.as_ref().and_then(|guilty| guilty.module.as_deref());
    let foreign =
        facts.modules.iter().any(|known| Some(known.name.as_str()) == module && known.flags.contains('O'));
    report.subsystem = subsystem::guess(report.source.as_deref(), report.guilty.as_ref(), foreign);
}

/// The caller of `panic`.
fn panicked(facts: &Facts) -> Option<&Frame> {
    let is_panic = |frame: &&Frame| matches!(frame.name(), Some("panic" | "vpanic" | "nmi_panic"));
    let trace = facts.traces.iter().find(|trace| trace.frames.iter().any(|frame| is_panic(&frame)))?;
    let mut sure = trace
        .frames
        .iter()
        .filter(|frame| frame.reliable)
        .skip_while(|frame| !is_panic(frame))
        .skip_while(is_panic);
    sure.next()
}

/// `file:line` in a header.
pub(crate) fn source(header: &str) -> Option<String> {
    let is_source = |word: &&str| {
        let (file, line) = word.rsplit_once(':').unwrap_or((word, ""));
        let line = line.trim_end_matches(['!', ',']);
        [".c", ".h", ".rs", ".S"].iter().any(|ending| file.ends_with(ending))
            && !line.is_empty()
            && line.bytes().all(|byte| byte.is_ascii_digit())
    };
    header.split_ascii_whitespace().find(is_source).map(|word| word.trim_end_matches(['!', ',']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_told_by_the_header() {
        for (header, expected) in [
            ("kernel BUG at mm/slub.c:123!", Some("mm/slub.c:123")),
            ("WARNING: CPU: 0 PID: 1 at net/core/dev.c:12 f+0x1/0x2", Some("net/core/dev.c:12")),
            ("WARNING: kernel/foo.c:9 at f+0x1/0x2, CPU#0: x/1", Some("kernel/foo.c:9")),
            ("BUG: soft lockup - CPU#0 stuck for 22s! [x:1]", None),
        ] {
            assert_eq!(source(header).as_deref(), expected);
        }
    }
}
