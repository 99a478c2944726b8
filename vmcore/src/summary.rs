//! The summary of a dump: what a node hands over instead of gigabytes, and a service reads.
//!
//! One JSON document: facts and all tasks, each distinct frame written once. It is read back from a node that
//! nobody vouches for, so size and counts are bounded before anything is built of them, and every string is
//! only data.

use crate::Dump;
use crate::dump::Format;
use crate::error::Error;
use crate::facts::Facts;
use crate::printk::Log;
use crate::tasks::{Frame, Task, Tasks};
use report::Note;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// The form of the document. A reader passes over members that it does not know; whoever changes what one means
/// counts up.
const VERSION: u32 = 1;
/// Threads of a large machine; of more the ones on a CPU are kept first, then those that wait uninterruptibly.
const MAX_TASKS: usize = 1 << 15;
/// Distinct frames: one for each task that came from user space, and some thousand places in the kernel.
const MAX_FRAMES: usize = 1 << 16;
/// Frames of all stacks: 32 for each of [`MAX_TASKS`].
const MAX_STEPS: usize = 1 << 20;
/// The longest string that a kernel has is its command line: 16 KiB, and six times that if it is all escapes.
const MAX_STRING: usize = 128 << 10;
/// Two for each of 8192 CPUs, and as many for lists and pages.
const MAX_NOTES: usize = 1 << 15;

/// What a dump says, without its memory and its log.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The dump's container.
    pub format: Format,
    /// Was it in makedumpfile's flattened stream format?
    pub flattened: bool,
    /// The crash as a whole. Its notes say everything that was missing or damaged.
    pub facts: Facts,
    /// The tasks with their stacks. Their notes are among those of [`Self::facts`].
    pub tasks: Tasks,
}

/// [`Summary`] as it is written.
#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    format: Format,
    flattened: bool,
    facts: Facts,
    /// Each once.
    frames: Vec<Arc<Frame>>,
    /// Without their stacks.
    tasks: Vec<Task>,
    /// One for each task: the places of its frames, innermost first.
    stacks: Vec<Option<Vec<usize>>>,
    complete: bool,
    /// How many notes of the facts are the tasks', from the first.
    task_notes: usize,
}

/// What is read before anything else.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

impl Summary {
    /// The largest document that is written or read. A machine of 32 768 threads has some 15 MiB.
    pub const MAX_BYTES: usize = 32 << 20;

    /// The summary of a dump.
    pub fn of(dump: &Dump) -> Self {
        Self::with(dump, &dump.log())
    }

    pub(crate) fn with(dump: &Dump, log: &Log) -> Self {
        let mut facts = dump.facts_with(log);
        let mut tasks = dump.tasks();
        let notes = [keep_tasks(&mut tasks.tasks), keep_stacks(&mut tasks.tasks)];
        for note in notes.into_iter().flatten() {
            tasks.complete = false;
            facts.tasks_complete = false;
            facts.notes.insert(tasks.notes.len(), note.clone());
            tasks.notes.push(note);
        }
        Self { format: dump.format(), flattened: dump.flattened(), facts, tasks }
    }

    /// The document, at most [`Self::MAX_BYTES`] of JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let Self { format, flattened, facts, tasks } = self;
        let mut table = Table::default();
        let stacks = tasks.tasks.iter().map(|task| Some(table.places(task.stack.as_ref()?))).collect();
        let document = Document {
            version: VERSION,
            format: *format,
            flattened: *flattened,
            facts: facts.clone(),
            frames: table.frames,
            tasks: tasks.tasks.iter().map(|task| Task { stack: None, ..task.clone() }).collect(),
            stacks,
            complete: tasks.complete,
            task_notes: tasks.notes.len(),
        };
        let bytes = serde_json::to_vec(&document)?;
        within("bytes", bytes.len(), Self::MAX_BYTES)?;
        Ok(bytes)
    }

    /// Reads what [`Self::to_bytes`] wrote, on whatever node.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        within("bytes", bytes.len(), Self::MAX_BYTES)?;
        within("bytes in one string", longest_string(bytes), MAX_STRING)?;
        let Head { version } = serde_json::from_slice(bytes)?;
        if version != VERSION {
            return Err(Error::SummaryVersion { found: version, known: VERSION });
        }
        let Document {
            version: _,
            format,
            flattened,
            facts,
            frames,
            mut tasks,
            stacks,
            complete,
            task_notes,
        } = serde_json::from_slice(bytes)?;
        within("tasks", tasks.len(), MAX_TASKS)?;
        within("frames", frames.len(), MAX_FRAMES)?;
        within("steps in its stacks", stacks.iter().flatten().map(Vec::len).sum(), MAX_STEPS)?;
        within("notes", facts.notes.len(), MAX_NOTES)?;
        for (task, places) in tasks.iter_mut().zip(stacks) {
            let stack = places.map(|places| places.iter().map(|&at| frames.get(at).cloned()).collect());
            task.stack = match stack {
                Some(None) => return Err(Error::SummaryFrame),
                Some(stack) => stack,
                None => None,
            };
        }
        let notes = facts.notes.iter().take(task_notes).cloned().collect();
        Ok(Self { format, flattened, facts, tasks: Tasks { tasks, complete, notes } })
    }
}

/// Leaves out what is beyond [`MAX_TASKS`], first those that tell the least.
fn keep_tasks(tasks: &mut Vec<Task>) -> Option<Note> {
    let excess = tasks.len().checked_sub(MAX_TASKS + 1)? + 1;
    let tells = |task: &Task| (!task.on_cpu, task.state != 'D');
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    order.sort_by_key(|&at| tells(&tasks[at]));
    let mut kept = vec![true; tasks.len()];
    order[MAX_TASKS..].iter().for_each(|&at| kept[at] = false);
    let mut kept = kept.into_iter();
    tasks.retain(|_| kept.next().unwrap_or(true));
    Some(Note::new("summary-tasks", format!("{excess} tasks are left out of the summary")))
}

/// Leaves out the stacks that do not fit into the document.
fn keep_stacks(tasks: &mut [Task]) -> Option<Note> {
    let mut table = Table::default();
    let (mut steps, mut left_out) = (0, 0);
    for task in tasks {
        let Some(stack) = &task.stack else { continue };
        if steps + stack.len() <= MAX_STEPS && table.frames.len() + stack.len() <= MAX_FRAMES {
            steps += stack.len();
            table.places(stack);
        } else {
            left_out += 1;
            task.stack = None;
            task.stack_error = Some("the stacks of other tasks fill the summary".into());
        }
    }
    let text = format!("the stacks of {left_out} tasks are left out of the summary");
    (left_out > 0).then(|| Note::new("summary-stacks", text))
}

/// Distinct frames, and the place of each.
#[derive(Default)]
struct Table {
    frames: Vec<Arc<Frame>>,
    known: HashMap<Arc<Frame>, usize>,
}

impl Table {
    fn places(&mut self, stack: &[Arc<Frame>]) -> Vec<usize> {
        let place = |frame: &Arc<Frame>| {
            *self.known.entry(Arc::clone(frame)).or_insert_with(|| {
                self.frames.push(Arc::clone(frame));
                self.frames.len() - 1
            })
        };
        stack.iter().map(place).collect()
    }
}

fn within(what: &'static str, count: usize, most: usize) -> Result<(), Error> {
    if count > most { Err(Error::SummaryLimit { what, most }) } else { Ok(()) }
}

/// Bytes between two quotes, at most; whether the text is JSON is found later.
fn longest_string(json: &[u8]) -> usize {
    let (mut longest, mut start) = (0, None);
    let mut escaped = false;
    for (at, &byte) in json.iter().enumerate() {
        match (byte, start) {
            _ if escaped => escaped = false,
            (b'\\', Some(_)) => escaped = true,
            (b'"', Some(from)) => {
                longest = longest.max(at - from);
                start = None;
            }
            (b'"', None) => start = Some(at),
            _ => {}
        }
    }
    start.map_or(longest, |from| longest.max(json.len() - from))
}
