//! The types of the made-up kernel, as BTF.

use super::image::Image;
use super::tasks::{STACK, task};

/// Name, offset and type of each member.
type Members = &'static [(&'static str, u64, u64)];

/// Types: u64 is 1, u32 is 2, the structures follow. A member's type is its size, 8 or 4, or the id of a
/// structure.
pub fn types(image: &mut Image, symbols: &mut Vec<(u64, String)>) {
    const NAMED: u64 = 1000;
    /// The array behind all structures.
    const SLOTS: u64 = NAMED + 24;
    let structures: &[(&str, u64, Members)] = &[
        ("list_head", 16, &[("next", 0, 8), ("prev", 8, 8)]),
        ("thread_struct", 32, &[("sp", 0, 8), ("cpu_context", 8, NAMED + 16)]),
        (
            "task_struct",
            task::SIZE,
            &[
                ("__state", task::STATE, 4),
                ("pid", task::PID, 4),
                ("tgid", task::TGID, 4),
                ("comm", task::COMM, 8),
                ("stack", task::STACK, 8),
                ("tasks", task::TASKS, NAMED + 3),
                ("thread_node", task::THREAD_NODE, NAMED + 3),
                ("signal", task::SIGNAL, 8),
                ("real_parent", task::REAL_PARENT, 8),
                ("mm", task::MM, 8),
                ("cpu", task::CPU, 4),
                ("thread", task::THREAD, NAMED + 4),
                ("cgroups", task::CGROUPS, 8),
                ("children", task::CHILDREN, NAMED + 3),
                ("sibling", task::SIBLING, NAMED + 3),
                ("group_leader", task::GROUP_LEADER, 8),
                ("pid_links", task::PID_LINKS, 8),
            ],
        ),
        ("signal_struct", 16, &[("thread_head", 0, NAMED + 3)]),
        ("inactive_task_frame", 56, &[("r13", 16, 8), ("bp", 40, 8), ("ret_addr", 48, 8)]),
        ("rq", 16, &[("curr", 0, 8), ("idle", 8, 8)]),
        ("thread_union", STACK, &[]),
        ("css_set", 8, &[("dfl_cgrp", 0, 8)]),
        ("cgroup", 8, &[("kn", 0, 8)]),
        ("kernfs_node", 16, &[("parent", 0, 8), ("name", 8, 8)]),
        ("module_memory", 16, &[("base", 0, 8), ("size", 8, 4)]),
        (
            "module",
            256,
            &[
                ("list", 0, NAMED + 3),
                ("name", 16, 8),
                ("mem", 80, 8),
                ("state", 72, 4),
                ("kallsyms", 208, 8),
                ("build_id", 220, 8),
            ],
        ),
        ("mod_kallsyms", 24, &[("symtab", 0, 8), ("strtab", 8, 8), ("num_symtab", 16, 4)]),
        ("cpu_context", 24, &[("fp", 0, 8), ("sp", 8, 8), ("pc", 16, 8)]),
        ("bpf_ksym", 160, &[("start", 0, 8), ("end", 8, 8), ("name", 16, 8), ("lnode", 144, NAMED + 3)]),
        ("pt_regs", 336, &[("sp", 248, 8), ("pc", 256, 8), ("stackframe", 304, 8)]),
        ("pid_namespace", 8, &[("idr", 0, NAMED + 20)]),
        ("idr", 8, &[("idr_rt", 0, NAMED + 21)]),
        ("xarray", 8, &[("xa_head", 0, 8)]),
        ("xa_node", 520, &[("slots", 8, SLOTS)]),
        ("pid", 16, &[("tasks", 8, 8)]),
    ];
    let mut strings = vec![0];
    let mut name = |text: &str| {
        strings.extend(text.as_bytes());
        strings.push(0);
        (strings.len() - text.len() - 1) as u32
    };
    let mut types: Vec<u32> = Vec::new();
    types.extend([name("u64"), 1 << 24, 8, 64, name("u32"), 1 << 24, 4, 32]);
    for (structure, size, members) in structures {
        types.extend([name(structure), 4 << 24 | members.len() as u32, *size as u32]);
        for &(member, offset, kind) in *members {
            let id = match kind {
                8 => 1,
                4 => 2,
                named => (named - NAMED) as u32,
            };
            types.extend([name(member), id, offset as u32 * 8]);
        }
    }
    // Of 64 words.
    types.extend([0, 3 << 24, 0, 1, 1, 64]);
    let types: Vec<u8> = types.into_iter().flat_map(u32::to_le_bytes).collect();
    let mut section = vec![0x9f, 0xeb, 1, 0];
    for word in [24, 0, types.len(), types.len(), strings.len()] {
        section.extend((word as u32).to_le_bytes());
    }
    section.extend(types);
    section.extend(strings);
    let at = image.store(&section);
    symbols.push((at, "__start_BTF".into()));
    symbols.push((at + section.len() as u64, "__stop_BTF".into()));
}
