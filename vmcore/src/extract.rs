//! A small dump of only what matters: an ELF core from which the same log, facts and stacks are read.
//!
//! What matters is found by reading: every page that [`Dump::facts`] looked at on its way is kept, page
//! tables too, and beside them the tables as a whole and what other tools look at.

use crate::dump::{ElfNote, write_elf};
use crate::error::Error;
use crate::progress::Step;
use crate::{Dump, Task};
use serde::Serialize;
use std::io::Write;

/// Code kept around each frame of a task on a CPU, so that the instructions can be shown.
const CODE: u64 = 256;
/// Tasks whose whole `task_struct` and stack are kept; of more only what was read.
const MAX_WHOLE_TASKS: usize = 16384;

/// `KERNEL_IMAGE_SIZE` on x86-64, and the least that one page of the last level of page tables maps.
const MAX_IMAGE: u64 = 1 << 30;
const LEAST_TABLE: usize = 2 << 20;

/// What a small dump holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Extracted {
    /// Pages of memory kept.
    pub pages: usize,
    /// Bytes of a page.
    pub page_size: usize,
}

impl Dump {
    /// Writes the small dump to `out`, as ELF; packed with zstd it takes a third.
    pub fn extract(&self, out: &mut dyn Write) -> Result<Extracted, Error> {
        self.extract_within(out, u64::MAX)
    }

    /// Writes the small dump, unless its pages have more than `most` bytes.
    pub fn extract_within(&self, out: &mut dyn Write, most: u64) -> Result<Extracted, Error> {
        let kernel = &self.kernel;
        let memory = &kernel.memory;
        let (running, tasks) = self.walked();
        self.facts();
        self.unwind_tables(|address, length| memory.touch(address, length));
        // Other readers find tasks by the tree of process ids.
        crate::tasks::touch_pids(kernel);
        let size = kernel.size_of("task_struct").unwrap_or(0);
        let depth = kernel.size_of("thread_union").unwrap_or(0);
        for task in tasks.tasks.iter().take(MAX_WHOLE_TASKS) {
            memory.touch(task.task_struct.0, size);
            self.touch_stack(task, depth);
        }
        for cpu in running {
            let runqueue = kernel.per_cpu("runqueues", cpu.cpu);
            if let (Ok(at), Ok(size)) = (runqueue, kernel.size_of("rq")) {
                memory.touch(at, size);
            }
        }
        for module in &self.code().modules {
            // What cannot be read cannot be kept; the module itself was read already.
            let _ = crate::modules::touch(kernel, module.address);
        }
        self.touch_image_tables();
        self.touch_linear_tables();
        let pages: Vec<u64> = memory.physical.loaded().into_iter().collect();
        let page_size = memory.physical.page_size();
        let bytes = pages.len() as u64 * page_size as u64;
        if bytes > most {
            return Err(Error::Extract { bytes, most });
        }
        let base = self.direct_map_base();
        let direct = |paddr| memory.translation.linear(paddr).or_else(|| Some(base?.wrapping_add(paddr)));
        self.progress.begin(Step::Writing, pages.len() as u64);
        let mut written = 0;
        write_elf(
            out,
            memory.translation.machine(),
            &self.notes_to_keep(),
            &pages,
            page_size,
            &|paddr| direct(paddr).unwrap_or(0),
            &mut |frame, page| {
                let at = frame * page_size as u64;
                written += 1;
                self.progress.reach(written);
                // A page was loaded once, so it is there; were the file cut since, zeros are what remains.
                if memory.physical.read(at, page).is_err() {
                    page.fill(0);
                }
            },
        )?;
        Ok(Extracted { pages: pages.len(), page_size })
    }

    /// The used part of a task's stack: from its innermost frame to the top; and code where a running task
    /// stood.
    fn touch_stack(&self, task: &Task, depth: u64) {
        let memory = &self.kernel.memory;
        if let Ok(stack) = self.kernel.kernel_pointer(task.task_struct.0, "task_struct", "stack") {
            let sp = self.kernel.pointer(task.task_struct.0, "task_struct", "thread.sp").unwrap_or(0);
            let used = if !task.on_cpu && sp.wrapping_sub(stack) < depth { sp } else { stack };
            memory.touch(used, stack.wrapping_add(depth).wrapping_sub(used));
        }
        if task.on_cpu {
            for frame in task.stack.iter().flatten() {
                memory.touch(frame.pc.0.wrapping_sub(CODE / 2), CODE);
            }
        }
    }

    /// We find the kernel's image by arithmetic; others walk the page tables for it too.
    fn touch_image_tables(&self) {
        let memory = &self.kernel.memory;
        if let (Ok(start), Ok(end)) = (self.kernel.symbol("_stext"), self.kernel.symbol("_end")) {
            for address in (start..end.min(start.saturating_add(MAX_IMAGE))).step_by(LEAST_TABLE) {
                memory.translation.agrees(&memory.physical, address);
            }
        }
    }

    /// And arm64's linear map of the pages that are kept.
    fn touch_linear_tables(&self) {
        let memory = &self.kernel.memory;
        let size = memory.physical.page_size() as u64;
        for frame in memory.physical.loaded() {
            if let Some(address) = memory.translation.linear(frame * size) {
                memory.translation.agrees(&memory.physical, address);
            }
        }
    }

    /// The notes of the dump, VMCOREINFO among them even where the container keeps it apart.
    fn notes_to_keep(&self) -> Vec<ElfNote> {
        let mut notes = self.elf_notes.clone();
        if !notes.iter().any(|note| note.name == b"VMCOREINFO") {
            notes.push(ElfNote { name: b"VMCOREINFO".to_vec(), kind: 0, desc: self.vmcoreinfo.clone() });
        }
        notes
    }

    /// Where x86-64 maps all of physical memory, for readers that go by the segments' virtual addresses.
    fn direct_map_base(&self) -> Option<u64> {
        let base = self.kernel.memory.u64(self.kernel.symbol("page_offset_base").ok()?).ok()?;
        self.kernel.memory.translation.is_kernel(base).then_some(base)
    }
}
