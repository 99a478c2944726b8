//! When the service forgot: nodes prove with our own receipts what a restored backup lost (protocol, chapter 9).

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use handover::key::Keyring;
use handover::receipt::{Disposition, Envelope, Receipt};
use handover::{EvidenceId, NodeId, limits};
use serde::{Deserialize, Serialize};

use super::{Id, read_body};
use crate::app::{App, AppState};
use crate::auth::{Decider, Ingest};
use crate::problem::{Error, id_mismatch, malformed, too_large, unprocessable};
use crate::store::writer::Ask;
use crate::store::{custody, service};

/// Receipts of one request.
const RECEIPTS: usize = 100;

/// What a node shows.
#[derive(Debug, Deserialize)]
struct Shown {
    schema: String,
    node_id: NodeId,
    receipts: Vec<Envelope>,
}

/// What became of what the receipts are about.
#[derive(Debug, Serialize)]
pub struct Answer {
    schema: &'static str,
    epoch: i64,
    items: Vec<Item>,
}

#[derive(Debug, Serialize)]
struct Item {
    evidence_id: EvidenceId,
    state: Custody,
}

/// What we know of the evidence of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Custody {
    /// It is here.
    Known,
    /// It was here, by our own word, and is not any more.
    Lost,
}

/// `POST /nodes/{node_id}/reconcile`
pub async fn reconcile(
    State(app): State<AppState>,
    caller: Ingest,
    Id(key): Id<NodeId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Answer>, Error> {
    caller.speaks_for(&key)?;
    let cap = (RECEIPTS * limits::ENVELOPE) as u64;
    let body = read_body(&headers, body, cap, "reconcile-too-large").await?;
    let shown: Shown = serde_json::from_slice(&body).map_err(|error| malformed(error.to_string()))?;
    if shown.schema != "lastwords.reconcile/1" {
        return Err(malformed(format!("schema {:?} is not known", shown.schema)));
    }
    if shown.node_id != key {
        return Err(id_mismatch("the receipts are of another node than the path"));
    }
    if shown.receipts.len() > RECEIPTS {
        return Err(too_large("reconcile-too-large", format!("{} receipts", shown.receipts.len())));
    }
    let mut ring = Keyring::default();
    for public in service::public_keys(app.store.custody()).await? {
        ring.pin(public);
    }
    let mut items = Vec::with_capacity(shown.receipts.len());
    for envelope in &shown.receipts {
        let receipt = ours(&app, &ring, envelope, &key)?;
        let (epoch, seq) = (signed(receipt.epoch), signed(receipt.seq));
        let known = custody::has_receipt(app.store.custody(), &key, epoch, seq, &envelope.hash()).await?;
        if !known {
            tracing::error!(node = %key, epoch, seq, "a receipt of ours is not in our tables: a backup was restored");
            app.writer.ask(Ask::RolledBack { epoch: receipt.epoch }).await?;
        }
        let here = custody::node_of(app.store.custody(), &receipt.evidence_id).await?.is_some();
        let lost = !here && receipt.disposition != Disposition::Refused;
        items.push(Item {
            evidence_id: receipt.evidence_id,
            state: if lost { Custody::Lost } else { Custody::Known },
        });
    }
    let epoch = service::epoch(app.store.custody()).await?;
    Ok(Json(Answer { schema: "lastwords.reconcile-answer/1", epoch, items }))
}

/// The receipt, if we gave it to this node.
fn ours(app: &App, ring: &Keyring, envelope: &Envelope, node: &NodeId) -> Result<Receipt, Error> {
    let foreign = |why: String| unprocessable("receipt-not-ours", "The receipt is not ours", why);
    let receipt = envelope.verify(ring).map_err(|error| foreign(error.to_string()))?;
    if receipt.service != app.service || receipt.node_id != *node {
        return Err(foreign("it names another service or node".to_owned()));
    }
    Ok(receipt)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// `POST /service/acknowledge`: somebody knows that a backup was restored.
pub async fn acknowledge(State(app): State<AppState>, by: Decider) -> Result<StatusCode, Error> {
    app.writer.ask(Ask::Acknowledge).await?;
    tracing::warn!(by = by.name, "the rollback was acknowledged");
    Ok(StatusCode::NO_CONTENT)
}
