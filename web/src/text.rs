//! The text form of a page: readable in 80 columns, made from the same values as the HTML.

use std::fmt::Write;

use crate::pages::escape::visible;

/// Columns of a terminal that nobody widened, and of a mail.
pub const WIDTH: usize = 80;

/// A page of text under construction. What comes from outside goes through [`visible`], so that a log cannot
/// speak to the terminal that shows it.
#[derive(Debug, Default)]
pub struct Text {
    out: String,
}

impl Text {
    /// Where a list goes on: the address of its next page, in its text form.
    pub fn more(&mut self, next: Option<String>) {
        if let Some(next) = next {
            self.gap();
            self.line(&format!("more: {}", next.replacen('?', ".txt?", 1)));
        }
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.out
    }

    /// A line of its own, as long as it is.
    pub fn line(&mut self, line: &str) {
        self.out.push_str(visible(line).trim_end());
        self.out.push('\n');
    }

    /// An empty line, but never two.
    pub fn gap(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    /// The head of the page.
    pub fn title(&mut self, title: &str) {
        self.prose(title);
        let _ = writeln!(self.out, "{}", "=".repeat(width(title).min(WIDTH)));
    }

    /// The head of a section.
    pub fn section(&mut self, head: &str) {
        self.gap();
        self.line(head);
        let _ = writeln!(self.out, "{}", "-".repeat(width(head).min(WIDTH)));
    }

    /// Words, broken at spaces. A word longer than the line stays whole: a path or a digest is for copying.
    pub fn prose(&mut self, words: &str) {
        self.item("", words);
    }

    /// Words behind a mark, the further lines under the first word.
    pub fn item(&mut self, mark: &str, words: &str) {
        let indent = " ".repeat(width(mark));
        let words = visible(words);
        let mut line = mark.to_owned();
        let mut empty = true;
        for word in words.split_whitespace() {
            if !empty && width(&line) + 1 + width(word) > WIDTH {
                let _ = writeln!(self.out, "{line}");
                line.clone_from(&indent);
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
            empty = false;
        }
        let _ = writeln!(self.out, "{}", line.trim_end());
    }

    /// Names and values, the values under each other.
    pub fn pairs(&mut self, pairs: &[(&str, String)]) {
        let names = pairs.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
        for (name, value) in pairs {
            let mark = format!("{name}{}  ", " ".repeat(names - width(name)));
            self.item(&mark, value);
        }
    }

    /// A table with a head. Columns marked `>` are numbers; the last column may wrap the screen, since it is
    /// the title.
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.iter().map(|cell| visible(cell).replace(['\n', '\t'], " ")).collect())
            .collect();
        let mut widths: Vec<usize> = head.iter().map(|name| width(name.trim_start_matches('>'))).collect();
        for row in &rows {
            for (column, cell) in row.iter().enumerate() {
                widths[column] = widths[column].max(width(cell));
            }
        }
        let heads: Vec<String> = head.iter().map(|name| name.trim_start_matches('>').to_owned()).collect();
        for row in std::iter::once(&heads).chain(&rows) {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths[column] - width(cell));
                let (before, after) =
                    if head[column].starts_with('>') { (pad.as_str(), "") } else { ("", pad.as_str()) };
                let _ = write!(line, "{before}{cell}{after}  ");
            }
            let _ = writeln!(self.out, "{}", line.trim_end());
        }
    }
}

/// Columns that a text takes, where a character is one column. East Asian wide characters are two on a terminal;
/// kernels print none, and a misplaced column is all that would come of it.
fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_breaks_at_spaces_and_long_words_stay_whole() {
        let mut text = Text::default();
        text.item("- ", &format!("{} {} end", "word ".repeat(20), "x".repeat(90)));
        let out = text.finish();
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines[0].starts_with("- word") && lines[0].len() <= WIDTH);
        assert!(lines[1].starts_with("  word"));
        assert_eq!(lines[2], format!("  {}", "x".repeat(90)));
        assert_eq!(lines[3], "  end");
    }

    #[test]
    fn tables_line_up_and_show_control_bytes() {
        let mut text = Text::default();
        text.table(
            &[">n", "title"],
            &[vec!["7".into(), "a\u{1b}b".into()], vec!["1,204".into(), "c".into()]],
        );
        assert_eq!(text.finish(), "    n  title\n    7  a<0x1b>b\n1,204  c\n");
    }

    #[test]
    fn gaps_never_double() {
        let mut text = Text::default();
        text.gap();
        text.line("a");
        text.gap();
        text.section("b");
        assert_eq!(text.finish(), "a\n\nb\n-\n");
    }
}
