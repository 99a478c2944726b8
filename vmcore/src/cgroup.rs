//! The cgroup of a task: which container or pod it ran in.

use crate::kernel::{Absent, Kernel};

/// cgroups nest a dozen deep under Kubernetes; the kernel's default limit is none.
const MAX_DEPTH: usize = 64;
/// `NAME_MAX`.
const NAME: usize = 256;

/// The path in the unified hierarchy, as `/proc/PID/cgroup` gives it.
pub(crate) fn path(kernel: &Kernel, task: u64) -> Result<String, Absent> {
    let set = kernel.kernel_pointer(task, "task_struct", "cgroups")?;
    let group = kernel.kernel_pointer(set, "css_set", "dfl_cgrp")?;
    let mut node = kernel.kernel_pointer(group, "cgroup", "kn")?;
    // Renamed in 6.15.
    let parent = if kernel.offset("kernfs_node", "__parent").is_ok() { "__parent" } else { "parent" };
    let mut names = Vec::new();
    loop {
        let above = kernel.pointer(node, "kernfs_node", parent)?;
        if above == 0 {
            break;
        }
        if names.len() == MAX_DEPTH {
            return Err(Absent::Odd(format!("its cgroup is deeper than {MAX_DEPTH}")));
        }
        names.push(kernel.memory.string(kernel.kernel_pointer(node, "kernfs_node", "name")?, NAME)?);
        node = above;
    }
    names.reverse();
    Ok(format!("/{}", names.join("/")))
}
