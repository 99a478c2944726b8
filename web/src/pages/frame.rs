//! What stands around every page: navigation, health, theme, other forms.

use super::assets;
use super::words::now;

/// Which entry of the navigation a page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nav {
    /// `/`
    Overview,
    /// Signatures and what hangs below them.
    Signatures,
    /// Crashes.
    Crashes,
    /// Kernel releases against each other.
    Releases,
    /// Nodes.
    Nodes,
    /// Debug files.
    Symbols,
    /// A log to paste.
    Decode,
    /// The health of the service itself.
    Health,
    /// None of them.
    Nowhere,
}

const NAV: [(Nav, &str, &str); 8] = [
    (Nav::Overview, "/", "Overview"),
    (Nav::Signatures, "/signatures", "Signatures"),
    (Nav::Crashes, "/crashes", "Crashes"),
    (Nav::Releases, "/releases", "Releases"),
    (Nav::Nodes, "/nodes", "Nodes"),
    (Nav::Symbols, "/symbols", "Symbols"),
    (Nav::Decode, "/decode", "Decode"),
    (Nav::Health, "/health", "Health"),
];

/// Light, dark, or as the system wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// As the system wants it.
    #[default]
    Auto,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    const ALL: [Theme; 3] = [Theme::Auto, Theme::Light, Theme::Dark];

    /// From the cookie or the form; anything else is `Auto`.
    pub fn from_word(word: &str) -> Theme {
        Self::ALL.into_iter().find(|theme| theme.name() == word).unwrap_or_default()
    }

    /// Its word in the cookie and on the button.
    pub fn name(self) -> &'static str {
        match self {
            Theme::Auto => "auto",
            Theme::Light => "light",
            Theme::Dark => "dark",
        }
    }

    /// What `data-theme` says; nothing when the system decides.
    pub fn word(self) -> Option<&'static str> {
        (self != Theme::Auto).then(|| self.name())
    }

    /// The buttons, and which of them is pressed.
    pub fn choices(self) -> [(&'static str, bool); 3] {
        Self::ALL.map(|theme| (theme.name(), theme == self))
    }
}

/// A state in a word, with its glyph and colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// Seen to be right.
    Good,
    /// Not seen.
    Unknown,
    /// Seen to be wrong.
    Bad,
}

impl Sign {
    /// Name of the glyph in the sprite, and of the class but for `Unknown`.
    pub fn glyph(self) -> &'static str {
        match self {
            Sign::Good => "good",
            Sign::Unknown => "unk",
            Sign::Bad => "bad",
        }
    }
}

/// The health of the service, as every page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The worst of the checks.
    pub sign: Sign,
    /// `healthy`, `1 unknown`, `2 fail`.
    pub words: String,
}

impl Health {
    /// Class of the link.
    pub fn class(&self) -> &'static str {
        self.sign.glyph()
    }

    /// Glyph of the link.
    pub fn glyph(&self) -> &'static str {
        self.sign.glyph()
    }
}

/// What a template needs besides its values.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Where we are.
    pub at: Nav,
    /// Light or dark.
    pub theme: Theme,
    /// Path and query of this page, to come back to.
    pub path: String,
    /// Whether the page has other forms.
    pub forms: bool,
    /// What was searched for.
    pub query: String,
    /// Health of the service.
    pub health: Health,
    /// When the page was made.
    pub now_us: i64,
}

impl Frame {
    /// A frame for a path, before anything else is known.
    pub fn new(path: &str, theme: Theme, health: Health) -> Frame {
        Frame {
            at: Nav::Nowhere,
            theme,
            path: path.to_owned(),
            forms: true,
            query: String::new(),
            health,
            now_us: now(),
        }
    }

    /// Entries of the navigation: whether it is here, address, word.
    pub fn nav(&self) -> impl Iterator<Item = (bool, &'static str, &'static str)> + '_ {
        NAV.into_iter().map(|(entry, href, word)| (entry == self.at, href, word))
    }

    /// This page in another form.
    pub fn form(&self, suffix: &str) -> String {
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let path = if path == "/" { "/overview" } else { path };
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{path}.{suffix}{mark}{query}")
    }

    /// Address of a static file.
    pub fn asset(&self, name: &str) -> String {
        assets::address(name)
    }

    /// Version of the service.
    pub fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// Version of the naming rules.
    pub fn rules(&self) -> u32 {
        report::RULES_VERSION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_forms_keep_the_query() {
        let health = Health { sign: Sign::Good, words: "healthy".into() };
        let mut frame = Frame::new("/", Theme::Auto, health);
        assert_eq!(frame.form("txt"), "/overview.txt");
        frame.path = "/signatures?sort=nodes".into();
        assert_eq!(frame.form("json"), "/signatures.json?sort=nodes");
    }

    #[test]
    fn only_known_themes_are_kept() {
        assert_eq!(Theme::from_word("dark"), Theme::Dark);
        assert_eq!(Theme::from_word("\"><script>"), Theme::Auto);
        assert_eq!(Theme::Auto.word(), None);
    }
}
