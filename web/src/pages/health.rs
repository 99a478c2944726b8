//! `/health`: can a crash be lost now? Checks that the service really makes, each with what it saw.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::frame::{Frame, Health, Nav, Sign};
use super::sentence::Sentence;
use super::{Asked, View, filters, words};
use crate::app::{App, AppState};
use crate::problem::Error;
use crate::store::{evidence, node, rollup, wanted};
use crate::text::Text;

/// The page, as `.json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    lede: Sentence,
    verdict: &'static str,
    checks: Vec<Check>,
    /// Gaps outside the service: they do not change the verdict.
    gaps: Vec<Gap>,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    id: &'static str,
    name: &'static str,
    verdict: Verdict,
    /// What was seen.
    evidence: String,
    /// What to do if it is not well.
    mend: &'static str,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// Seen to be right.
    Pass,
    /// Could not be seen.
    Unknown,
    /// Seen to be wrong.
    Fail,
}

impl Verdict {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Unknown => "unknown",
            Verdict::Fail => "fail",
        }
    }

    /// Its glyph.
    pub fn sign(self) -> Sign {
        match self {
            Verdict::Pass => Sign::Good,
            Verdict::Unknown => Sign::Unknown,
            Verdict::Fail => Sign::Bad,
        }
    }
}

/// Something that is missing in the fleet and is no fault of the service.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Gap {
    name: &'static str,
    count: i64,
    says: &'static str,
    href: &'static str,
}

/// The checks that every page shows the sum of: cheap, no look at the rows.
async fn quick(app: &App) -> Vec<Check> {
    let seen = crate::health::readiness(app).await;
    let verdict = |good: bool| if good { Verdict::Pass } else { Verdict::Fail };
    // What could not be asked is not known, and is never told as well.
    let asked = |good: bool, evidence: String| match seen.databases {
        true => (verdict(good), evidence),
        false => (Verdict::Unknown, "not seen: a database did not answer".to_owned()),
    };
    let (reading, read) = asked(
        seen.unread < UNREAD,
        match seen.unread {
            0 => "all evidence was read and counted".into(),
            n => format!("{} receipted and not read yet", words::plural(n, "piece", "pieces")),
        },
    );
    let (behind, work) = asked(
        seen.dead_jobs == 0,
        format!(
            "{} waiting, {} given up",
            words::plural(seen.jobs, "job", "jobs"),
            words::count(seen.dead_jobs)
        ),
    );
    vec![
        Check {
            id: "custody",
            name: "Custody",
            verdict: verdict(seen.custody),
            evidence: if seen.custody {
                "a commit of custody was durable within the last minute"
            } else {
                "a commit of custody failed: nothing is receipted"
            }
            .into(),
            mend: "see the service’s log; free space on the data folder’s disk is the usual reason",
        },
        Check {
            id: "databases",
            name: "Databases",
            verdict: verdict(seen.databases),
            evidence: if seen.databases { "both answered just now" } else { "one of them did not answer" }
                .into(),
            mend: "see the service’s log",
        },
        Check {
            id: "reading",
            name: "Reading",
            verdict: reading,
            evidence: read,
            mend: "a growing number means that reading fails: the log says which evidence",
        },
        Check {
            id: "jobs",
            name: "Work behind",
            verdict: behind,
            evidence: work,
            mend: "a job that is given up failed eight times; its error is in the table job",
        },
        space(app),
    ]
}

/// Free space below which the check fails: an hour of the largest crash storm that was measured.
const FREE: u64 = 1 << 30;

/// Room on the disk for what is handed over next.
fn space(app: &App) -> Check {
    let (verdict, evidence) = match nix::sys::statvfs::statvfs(app.blobs.folder()) {
        Ok(disk) => {
            let free = disk.blocks_available().saturating_mul(disk.fragment_size());
            let verdict = if free < FREE { Verdict::Fail } else { Verdict::Pass };
            (verdict, format!("{} free", words::bytes(i64::try_from(free).unwrap_or(i64::MAX))))
        }
        Err(error) => (Verdict::Unknown, format!("the disk was asked, and answered: {error}")),
    };
    Check {
        id: "space",
        name: "Space",
        verdict,
        evidence,
        mend: "make room on the disk of the data folder: without it nothing is receipted, and nodes keep their crashes",
    }
}

/// Evidence that may wait to be read before the check fails: many batches, so that a burst does not.
const UNREAD: i64 = 1000;

/// Health as every page shows it.
pub(crate) async fn summary(app: &App) -> Health {
    sum(&quick(app).await)
}

fn sum(checks: &[Check]) -> Health {
    let worst = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Unknown);
    let many = checks.iter().filter(|check| check.verdict == worst).count();
    let words = match worst {
        Verdict::Pass => "healthy".to_owned(),
        worst => format!("{many} {}", worst.as_str()),
    };
    Health { sign: worst.sign(), words }
}

/// `GET /health`
pub(crate) async fn show(State(app): State<AppState>, asked: Asked) -> Response {
    let found = load(&app).await;
    asked.answer(found)
}

async fn load(app: &App) -> Result<Page, Error> {
    let mut checks = quick(app).await;
    checks.push(rollups(app).await);
    let db = app.store.read();
    let gaps = vec![
        Gap {
            name: "Evidence without a name",
            count: evidence::count_unnamed(db).await?,
            says: "kept, and read again by later rules",
            href: "/unnamed",
        },
        Gap {
            name: "Missing debug files",
            count: wanted::count_missing(db).await?,
            says: "their frames have no source line",
            href: "/symbols",
        },
        Gap {
            name: "Nodes",
            count: node::count(db).await?,
            says: "that handed something over; others cannot be judged",
            href: "/nodes",
        },
    ];
    let health = sum(&checks);
    let lede = match health.sign {
        Sign::Good => Sentence::default()
            .strong("No crash that reaches this service can be lost now")
            .say(", as far as its checks see."),
        Sign::Unknown => Sentence::default()
            .say("Nobody can say whether a crash would be lost: ")
            .strong(health.words)
            .say("."),
        _ => Sentence::default()
            .strong("Evidence may be lost or not shown")
            .say(format!(": {}.", health.words)),
    };
    let worst = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Unknown);
    Ok(Page { lede, verdict: worst.as_str(), checks, gaps })
}

/// The counts of the lists against the rows they are made of.
async fn rollups(app: &App) -> Check {
    let (verdict, evidence) = match rollup::differences(app.store.read()).await {
        Ok(differences) if differences.is_empty() => {
            (Verdict::Pass, "the counts of every signature are those of its rows".into())
        }
        Ok(differences) => (
            Verdict::Fail,
            format!(
                "{} differ from their rows",
                words::plural(differences.len() as i64, "signature", "signatures")
            ),
        ),
        Err(error) => (Verdict::Unknown, format!("the rows could not be counted: {error}")),
    };
    Check {
        id: "rollups",
        name: "Counts against rows",
        verdict,
        evidence,
        mend: "the rows are the truth: the counts are rebuilt from them",
    }
}

#[derive(Template)]
#[template(path = "health.html")]
struct Html<'a> {
    f: &'a Frame,
    v: &'a Page,
}

impl View for Page {
    const AT: Nav = Nav::Health;

    fn html(&self, f: &Frame) -> askama::Result<String> {
        Html { f, v: self }.render()
    }

    fn text(&self, text: &mut Text, _: i64) {
        text.title("Health");
        text.prose(&self.lede.plain());
        text.gap();
        for check in &self.checks {
            text.item(
                &format!("{:<8}", check.verdict.as_str()),
                &format!("{}: {}", check.name, check.evidence),
            );
            if check.verdict != Verdict::Pass {
                text.item("        ", check.mend);
            }
        }
        text.section("Not a fault of the service");
        let rows =
            self.gaps.iter().map(|gap| vec![words::count(gap.count), gap.name.into(), gap.says.into()]);
        text.table(&[">", "", ""], &rows.collect::<Vec<_>>());
    }
}
