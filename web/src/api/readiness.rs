//! Readiness: would a crash of a node be captured (protocol, section 6.6).

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use handover::readiness::{self, Check, Readiness, Verdict};
use handover::{NodeId, limits};
use serde::Serialize;

use super::{Id, read_body};
use crate::app::AppState;
use crate::auth::{Ingest, Reader};
use crate::clock::now_us;
use crate::problem::{Error, id_mismatch, malformed, not_found, unprocessable};
use crate::store::boot;
use crate::store::node::{self, Armed};

/// What became of a readiness document.
#[derive(Debug, Serialize)]
pub struct Held {
    /// The newest document's time, by the node's clock.
    checked_us: i64,
    time_us: i64,
}

/// `PUT /nodes/{node_id}/readiness`: the newest check of the newest boot is kept; an older one is dropped and
/// answered all the same.
pub async fn put(
    State(app): State<AppState>,
    caller: Ingest,
    Id(key): Id<NodeId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Held>, Error> {
    caller.speaks_for(&key)?;
    let body = read_body(&headers, body, limits::STATE as u64, "readiness-too-large").await?;
    let document = Readiness::read(&body).map_err(|error| match error {
        handover::Error::Field { ref field, .. } if field == "summary" => {
            unprocessable("summary-differs", "The summary is not that of the checks", error.to_string())
        }
        _ => malformed(error.to_string()),
    })?;
    if document.node_id != key {
        return Err(id_mismatch("the document is of another node than the path"));
    }
    let now = now_us();
    let mut transaction = app.store.write().await?;
    let unknown = || not_found(format!("no node {key}; its boot record comes first"));
    let kept = node::readiness(&mut *transaction, &key).await?.ok_or_else(unknown)?;
    let boot_key = document.boot_id.as_bytes().to_vec();
    let newer_boot = if kept.readiness_boot == boot_key {
        None
    } else {
        let old = boot::ordinal(&mut *transaction, kept.id, &kept.readiness_boot).await?;
        let new = boot::ordinal(&mut *transaction, kept.id, &boot_key).await?;
        old.zip(new).map(|(old, new)| new > old)
    };
    if !newer_boot.unwrap_or(document.checked_us > kept.readiness_us) {
        return Ok(Json(Held { checked_us: kept.readiness_us, time_us: now }));
    }
    let oldest = document.checks.iter().map(|check| lasts_until(check, document.checked_us, now)).min();
    let state = state(&document);
    let new = node::Readiness {
        id: kept.id,
        readiness_us: document.checked_us,
        readiness_seen_us: now,
        readiness_boot: boot_key,
        readiness_doc: serde_json::to_string(&document).expect("plain data"),
    };
    node::set_readiness(&mut transaction, &new, state, oldest.unwrap_or(now)).await?;
    transaction.commit().await?;
    Ok(Json(Held { checked_us: document.checked_us, time_us: now }))
}

/// Until when a finding holds, by our clock: what the node's clock says of its age is taken, its wall time is not.
fn lasts_until(check: &Check, checked_us: i64, received_us: i64) -> i64 {
    let age = checked_us.saturating_sub(check.observed_us).max(0);
    let life = i64::try_from(check.max_age_s).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    received_us.saturating_sub(age).saturating_add(life)
}

/// The agent's check that a drill went all the way: it tells what is proven from what is only armed.
const PROVEN: &str = "proven";

fn state(document: &Readiness) -> Armed {
    let proven = document.proven.as_ref().is_some_and(|proven| proven.still && proven.result == "proven");
    let others: Vec<Check> = document.checks.iter().filter(|check| check.id != PROVEN).cloned().collect();
    match readiness::summary(&others) {
        Verdict::Pass if proven => Armed::Proven,
        Verdict::Pass => Armed::Armed,
        Verdict::Unknown => Armed::Unknown,
        Verdict::Fail => Armed::Unarmed,
    }
}

/// A node's readiness as it holds now.
#[derive(Debug, Serialize)]
pub struct Now {
    state: Armed,
    received_us: i64,
    #[serde(flatten)]
    document: Readiness,
}

/// `GET /nodes/{node_id}/readiness`: checks that are too old are unknown.
pub async fn get(State(app): State<AppState>, _: Reader, Id(key): Id<NodeId>) -> Result<Json<Now>, Error> {
    let unknown = || not_found(format!("node {key} told nothing of its readiness"));
    let kept = node::readiness(app.store.read(), &key).await?.ok_or_else(unknown)?;
    let (document, state) = at(&kept, now_us()).ok_or_else(unknown)?;
    Ok(Json(Now { state, received_us: kept.readiness_seen_us, document }))
}

/// A kept document as it holds at a time; `None` when there is none.
pub fn at(kept: &node::Readiness, now_us: i64) -> Option<(Readiness, Armed)> {
    let mut document: Readiness = serde_json::from_str(&kept.readiness_doc).ok()?;
    for check in &mut document.checks {
        if lasts_until(check, kept.readiness_us, kept.readiness_seen_us) <= now_us {
            check.verdict = Verdict::Unknown;
        }
    }
    document.summary = readiness::summary(&document.checks);
    let state = state(&document);
    Some((document, state))
}

#[cfg(test)]
mod tests {
    use handover::BootId;

    use super::*;

    #[test]
    fn a_finding_holds_for_its_age_by_our_clock() {
        let check = |verdict, observed_us| Check {
            id: "pstore-backend".to_owned(),
            verdict,
            observed_us,
            max_age_s: 10,
            evidence: String::new(),
            how: String::new(),
            fix: String::new(),
        };
        // The node's clock is a year behind ours.
        let (node_us, our_us) = (1_000_000_000, 40_000_000_000_000);
        let checks = vec![check(Verdict::Fail, node_us - 4_000_000), check(Verdict::Pass, node_us)];
        let document = Readiness {
            schema: readiness::SCHEMA.to_owned(),
            node_id: NodeId::ZERO,
            boot_id: BootId::ZERO,
            checked_us: node_us,
            summary: Verdict::Fail,
            proven: None,
            checks,
        };
        let kept = node::Readiness {
            id: 1,
            readiness_us: node_us,
            readiness_seen_us: our_us,
            readiness_boot: Vec::new(),
            readiness_doc: serde_json::to_string(&document).unwrap(),
        };
        let at = |seconds: i64| {
            let (document, state) = at(&kept, our_us + seconds * 1_000_000).unwrap();
            (document.checks.iter().map(|check| check.verdict).collect::<Vec<_>>(), state)
        };
        assert_eq!(at(5), (vec![Verdict::Fail, Verdict::Pass], Armed::Unarmed));
        assert_eq!(at(6), (vec![Verdict::Unknown, Verdict::Pass], Armed::Unknown));
        assert_eq!(at(10), (vec![Verdict::Unknown, Verdict::Unknown], Armed::Unknown));
    }

    #[test]
    fn a_machine_that_held_no_drill_is_armed_all_the_same() {
        let check = |id: &str, verdict| Check {
            id: id.to_owned(),
            verdict,
            observed_us: 1000,
            max_age_s: 10,
            evidence: String::new(),
            how: String::new(),
            fix: String::new(),
        };
        let mut document = Readiness {
            schema: readiness::SCHEMA.to_owned(),
            node_id: NodeId::ZERO,
            boot_id: BootId::ZERO,
            checked_us: 1000,
            summary: Verdict::Unknown,
            proven: None,
            checks: vec![check("pstore-backend", Verdict::Pass), check("proven", Verdict::Unknown)],
        };
        assert_eq!(state(&document), Armed::Armed);
        document.checks[0].verdict = Verdict::Unknown;
        assert_eq!(state(&document), Armed::Unknown);
        document.checks.pop();
        document.checks.pop();
        assert_ne!(state(&document), Armed::Proven, "nothing was checked");
    }
}
