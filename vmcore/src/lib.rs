//! What a dead kernel's memory holds: dump formats, log, tasks, stacks.
