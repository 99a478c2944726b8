//! What a run is to do: defaults, then `/etc/lastwords/agent.toml`, then the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::error::Error;
use crate::host::Root;
use crate::memory::Core;
use crate::spool::caps::{Caps, Sent};

/// What a run is to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// Below which `/proc`, `/sys` and `/etc` lie.
    pub root: PathBuf,
    /// Folders of pstore records.
    pub pstore: Vec<PathBuf>,
    /// systemd's archives of such records.
    pub systemd_archive: Vec<PathBuf>,
    /// Folders in which crash kernels leave a folder for each crash.
    pub crash: Vec<PathBuf>,
    /// Whether a source that is not there is an error: it was named by hand.
    pub must_exist: bool,
    /// The spool, made if it is not there.
    pub spool: PathBuf,
    /// Replicas of one service; with none, evidence is only kept.
    pub servers: Vec<String>,
    /// The file that holds the token.
    pub token_file: Option<PathBuf>,
    /// A file of certificates (PEM) to trust instead of the public roots.
    pub ca_file: Option<PathBuf>,
    /// The service's public key in hex; without it the first one met is pinned.
    pub pin: Option<String>,
    /// Allows plain HTTP to other machines.
    pub insecure: bool,
    /// When records are erased.
    pub forget: Forget,
    /// How long to go on trying when the service is away; with zero, it is asked once.
    pub deadline: Duration,
    /// Separates the nodes of one owner from those of another.
    pub site: String,
    /// Tells the host name.
    pub tell_host_name: bool,
    /// Labels for the node.
    pub labels: BTreeMap<String, String>,
    /// Classes of redaction that are switched off.
    pub redact_off: BTreeSet<String>,
    /// Offers again what the service did not take before.
    pub retry_held: bool,
    /// Tells the service of this boot and how the one before ended.
    pub tell_boot: bool,
    /// Looks which BPF programs are loaded; where the agent may not, it says so.
    pub list_bpf: bool,
    /// The program that reads the journal; `None` leaves the journal alone.
    pub journalctl: Option<PathBuf>,
    /// What of a dump of memory is handed over.
    pub core: Core,
    /// The most bytes of it, coded; what is larger gives way to something smaller.
    pub core_bytes: u64,
    /// How much may wait in the spool.
    pub caps: Caps,
    /// How much is kept of what was handed over.
    pub sent: Sent,
}

/// When records are erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Forget {
    /// Never; systemd-pstore or people do it.
    #[default]
    Never,
    /// Once a verified receipt says that the service has them.
    Receipted,
    /// So; and while the store is more than half full, once they are durable in the spool.
    WhenFull,
}

/// As the file says it.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "forget is true, false or \"when-full\"")]
enum ForgetSetting {
    Plain(bool),
    Word(String),
}

impl TryFrom<ForgetSetting> for Forget {
    type Error = Error;

    fn try_from(setting: ForgetSetting) -> Result<Forget, Error> {
        match setting {
            ForgetSetting::Plain(true) => Ok(Forget::Receipted),
            ForgetSetting::Plain(false) => Ok(Forget::Never),
            ForgetSetting::Word(word) if word == "when-full" => Ok(Forget::WhenFull),
            ForgetSetting::Word(word) => {
                Err(Error::Setting(format!("forget is true, false or \"when-full\", not {word:?}")))
            }
        }
    }
}

/// Coded bytes of a dump's evidence: an extract is some 5 MB; a filtered dump of a small machine fits as well.
const CORE: u64 = 64 << 20;

/// The configuration file, TOML. What it leaves out has its default; what it names and we do not know is an error.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    spool: Option<PathBuf>,
    servers: Option<Vec<String>>,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    pin: Option<String>,
    insecure: Option<bool>,
    forget: Option<ForgetSetting>,
    deadline_s: Option<u64>,
    site: Option<String>,
    tell_host_name: Option<bool>,
    labels: Option<BTreeMap<String, String>>,
    redact_off: Option<BTreeSet<String>>,
    journal: Option<bool>,
    pstore: Option<Vec<PathBuf>>,
    systemd_archive: Option<Vec<PathBuf>>,
    crash: Option<Vec<PathBuf>>,
    core: Option<Core>,
    core_bytes: Option<u64>,
    caps: CapSettings,
    sent: SentSettings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CapSettings {
    bytes: Option<u64>,
    files: Option<usize>,
    age_s: Option<u64>,
    free: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SentSettings {
    bytes: Option<u64>,
    age_s: Option<u64>,
}

impl Config {
    /// The places where a running system keeps what we look for, below the root.
    #[must_use]
    pub fn with_usual_sources(self) -> Config {
        let root = Root::new(&self.root);
        Config {
            pstore: vec![root.path("sys/fs/pstore")],
            systemd_archive: vec![root.path("var/lib/systemd/pstore")],
            crash: vec![root.path("var/crash")],
            must_exist: false,
            ..self
        }
    }

    /// The same, looking for nothing.
    #[must_use]
    pub fn without_sources(self) -> Config {
        Config {
            pstore: vec![],
            systemd_archive: vec![],
            crash: vec![],
            journalctl: None,
            list_bpf: false,
            ..self
        }
    }

    /// Whether a run looks for records at all.
    pub fn has_sources(&self) -> bool {
        !(self.pstore.is_empty() && self.systemd_archive.is_empty() && self.crash.is_empty())
    }

    /// The default settings, with a spool and no sources.
    pub fn new(spool: impl Into<PathBuf>) -> Config {
        Config {
            root: PathBuf::from("/"),
            pstore: Vec::new(),
            systemd_archive: Vec::new(),
            crash: Vec::new(),
            must_exist: true,
            spool: spool.into(),
            servers: Vec::new(),
            token_file: None,
            ca_file: None,
            pin: None,
            insecure: false,
            forget: Forget::Never,
            deadline: Duration::from_secs(60),
            site: String::new(),
            tell_host_name: false,
            labels: BTreeMap::new(),
            redact_off: BTreeSet::new(),
            retry_held: false,
            tell_boot: false,
            list_bpf: false,
            journalctl: None,
            core: Core::default(),
            core_bytes: CORE,
            caps: Caps::default(),
            sent: Sent::default(),
        }
    }

    /// The settings of a node: the usual sources below a root, and over them what a file says.
    pub fn of_node(root: &Path, file: Option<&str>) -> Result<Config, Error> {
        let file = file.unwrap_or_default();
        let settings: Settings = toml::from_str(file).map_err(|error| {
            let before = error.span().and_then(|span| file.get(..span.start));
            let line =
                before.map_or(String::new(), |text| format!("line {}: ", text.matches('\n').count() + 1));
            Error::Setting(format!("{line}{}", error.message()))
        })?;
        let usual =
            Config { root: root.to_owned(), ..Config::new("/var/spool/lastwords") }.with_usual_sources();
        let Settings {
            spool,
            servers,
            token_file,
            ca_file,
            pin,
            insecure,
            forget,
            deadline_s,
            site,
            tell_host_name,
            labels,
            redact_off,
            journal,
            pstore,
            systemd_archive,
            crash,
            core,
            core_bytes,
            caps,
            sent,
        } = settings;
        let seconds = Duration::from_secs;
        Ok(Config {
            root: usual.root,
            must_exist: usual.must_exist,
            pstore: pstore.unwrap_or(usual.pstore),
            systemd_archive: systemd_archive.unwrap_or(usual.systemd_archive),
            crash: crash.unwrap_or(usual.crash),
            spool: spool.unwrap_or(usual.spool),
            servers: servers.unwrap_or_default(),
            token_file,
            ca_file,
            pin,
            insecure: insecure.unwrap_or(usual.insecure),
            forget: forget.map_or(Ok(usual.forget), Forget::try_from)?,
            deadline: deadline_s.map_or(usual.deadline, seconds),
            site: site.unwrap_or_default(),
            tell_host_name: tell_host_name.unwrap_or(usual.tell_host_name),
            labels: labels.unwrap_or_default(),
            redact_off: redact_off.unwrap_or_default(),
            retry_held: usual.retry_held,
            tell_boot: true,
            list_bpf: true,
            journalctl: journal.unwrap_or(true).then(|| PathBuf::from("journalctl")),
            core: core.unwrap_or(usual.core),
            core_bytes: core_bytes.unwrap_or(usual.core_bytes),
            caps: Caps {
                bytes: caps.bytes.unwrap_or(usual.caps.bytes),
                files: caps.files.unwrap_or(usual.caps.files),
                age: caps.age_s.map_or(usual.caps.age, seconds),
                free: caps.free.unwrap_or(usual.caps.free),
            },
            sent: Sent {
                bytes: sent.bytes.unwrap_or(usual.sent.bytes),
                age: sent.age_s.map_or(usual.sent.age, seconds),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_changes_what_it_names_and_nothing_else() {
        let file = r#"
            servers = ["https://crash.example"]
            forget = true
            redact_off = ["ipv4"]
            [labels]
            pool = "blue"
            [caps]
            files = 7
        "#;
        let config = Config::of_node(Path::new("/host"), Some(file)).unwrap();
        assert_eq!(config.servers, ["https://crash.example"]);
        assert!(
            config.forget == Forget::Receipted
                && config.redact_off.contains("ipv4")
                && config.labels["pool"] == "blue"
        );
        assert_eq!(config.caps, Caps { files: 7, ..Caps::default() });
        assert_eq!(config.pstore, [PathBuf::from("/host/sys/fs/pstore")]);
    }

    #[test]
    fn an_unknown_setting_is_an_error() {
        for file in [
            "forgett = true",
            "forget = \"often\"",
            "core = \"half\"",
            "[caps]\nbites = 1",
            "forget = 3",
            "= nothing",
        ] {
            let error = Config::of_node(Path::new("/"), Some(file)).unwrap_err();
            assert_eq!(error.exit(), crate::exit::Exit::Usage, "{file}");
        }
        let told = |file| Config::of_node(Path::new("/"), Some(file)).unwrap_err().to_string();
        assert!(told("site = \"a\"\n[caps]\nbites = 1").starts_with("line 3: unknown field `bites`"));
        assert_eq!(told("forget = 3"), "line 1: forget is true, false or \"when-full\"");
    }

    #[test]
    fn the_file_that_is_installed_sets_only_defaults() {
        let installed = Config::of_node(Path::new("/"), Some(include_str!("../dist/agent.toml"))).unwrap();
        let none = Config::of_node(Path::new("/"), None).unwrap();
        assert_eq!(format!("{installed:?}"), format!("{none:?}"));
    }
}
