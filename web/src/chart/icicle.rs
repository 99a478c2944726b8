//! Stacks laid over each other: the crash at the top, each frame called by the one below it, as wide as its share.

use askama::Template;

use crate::pages::filters::{self, Markup};

/// Height of a frame in pixels.
const ROW: usize = 23;
/// Frames deep: below this the system call's own frames follow, which do not tell faults apart.
const DEPTH: usize = 14;
/// In a narrower frame the number would lie on the name; it is in the title and in the table.
const NUMBERED: f64 = 34.0;
/// A narrower frame has no room for a letter of its name, in per cent of the width.
const NARROW: f64 = 6.0;

/// The picture.
#[derive(Clone, Debug, Template)]
#[template(path = "chart/icicle.html")]
pub struct Icicle {
    total: i64,
    height: usize,
    frames: Vec<Frame>,
}
impl Markup for Icicle {}

#[derive(Clone, Debug, PartialEq)]
struct Frame {
    function: String,
    crashes: i64,
    depth: usize,
    x: f64,
    width: f64,
}

impl Icicle {
    /// Lays stacks (function names innermost first, and how many crashes had them) over each other.
    pub fn new<'a>(stacks: impl IntoIterator<Item = (&'a [String], i64)>) -> Icicle {
        let mut stacks: Vec<(&[String], i64)> =
            stacks.into_iter().filter(|(frames, _)| !frames.is_empty()).collect();
        let total: i64 = stacks.iter().map(|(_, crashes)| crashes).sum();
        // Common ones first, and equal beginnings beside each other.
        stacks.sort_by_key(|(frames, crashes)| (frames.first(), -crashes));
        let mut frames = Vec::new();
        lay(&stacks, 0, 0.0, total, &mut frames);
        let deepest = frames.iter().map(|frame| frame.depth + 1).max().unwrap_or(0);
        Icicle { total, height: deepest * ROW + 2, frames }
    }

    /// Whether there is no frame to draw.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Not all stacks go through it, so that its number says something, and there is room for it.
    fn is_numbered(&self, frame: &Frame) -> bool {
        frame.crashes < self.total && frame.width >= NUMBERED
    }
}

/// Lays the frames of one depth from `x` on; stacks that go on in the same function go on below it.
fn lay(stacks: &[(&[String], i64)], depth: usize, x: f64, total: i64, frames: &mut Vec<Frame>) {
    if depth == DEPTH {
        return;
    }
    let mut functions: Vec<&str> = Vec::new();
    for (stack, _) in stacks {
        if let Some(function) = stack.get(depth).filter(|function| !functions.contains(&function.as_str())) {
            functions.push(function);
        }
    }
    let mut x = x;
    for function in functions {
        let through = |stack: &(&[String], i64)| stack.0.get(depth).is_some_and(|name| name == function);
        let below: Vec<(&[String], i64)> = stacks.iter().filter(|stack| through(stack)).copied().collect();
        let crashes = below.iter().map(|(_, crashes)| crashes).sum();
        let width = 100.0 * crashes as f64 / total.max(1) as f64;
        frames.push(Frame { function: function.to_owned(), crashes, depth, x, width });
        lay(&below, depth + 1, x, total, frames);
        x += width;
    }
}

impl Frame {
    fn y(&self) -> usize {
        self.depth * ROW
    }

    fn has_room(&self) -> bool {
        self.width >= NARROW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_share_what_they_share_and_part_where_they_part() {
        let a = ["f", "g", "h"].map(String::from);
        let b = ["f", "g", "k"].map(String::from);
        let icicle = Icicle::new([(&a[..], 3), (&b[..], 1), (&[][..], 9)]);
        let shape: Vec<(&str, i64, usize, f64)> =
            icicle.frames.iter().map(|f| (f.function.as_str(), f.crashes, f.depth, f.x)).collect();
        assert_eq!(shape, [("f", 4, 0, 0.0), ("g", 4, 1, 0.0), ("h", 3, 2, 0.0), ("k", 1, 2, 75.0)]);
        assert_eq!((icicle.total, icicle.height), (4, 71));
    }
}
