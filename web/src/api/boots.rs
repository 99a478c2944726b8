//! Boot records: a node's word about the boot it is in (protocol, section 6.5).

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use handover::boot::{self, BootRecord};
use handover::canonical::Value;
use handover::offer::HeadAnswer;
use handover::{BootId, NodeId, limits};
use serde::Serialize;

use super::{Id, read_body};
use crate::app::AppState;
use crate::auth::{Ingest, Reader};
use crate::clock::now_us;
use crate::problem::{Error, id_mismatch, malformed, not_found};
use crate::store::{self, node, release};

/// Boots of a node that are listed.
const LISTED: u32 = 500;

/// What the service holds of a boot.
#[derive(Debug, Serialize)]
pub struct Held {
    rev: u64,
    time_us: i64,
    head: HeadAnswer,
    advice: [(); 0],
}

/// `PUT /nodes/{node_id}/boots/{boot_id}`: the record with the highest `rev` is kept, so that retries, reordering
/// and heartbeats are one thing.
pub async fn put(
    State(app): State<AppState>,
    caller: Ingest,
    Path((node_id, boot_id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Held>, Error> {
    let node_id: NodeId =
        node_id.parse().map_err(|error| malformed(format!("the node id in the path: {error}")))?;
    let boot_id: BootId =
        boot_id.parse().map_err(|error| malformed(format!("the boot id in the path: {error}")))?;
    caller.speaks_for(&node_id)?;
    let body = read_body(&headers, body, limits::STATE as u64, "boot-too-large").await?;
    let tree = Value::parse("the boot record", &body).map_err(|error| malformed(error.to_string()))?;
    let record: BootRecord = tree.typed("the boot record").map_err(|error| malformed(error.to_string()))?;
    if record.schema != boot::SCHEMA {
        return Err(malformed(format!("schema {:?} is not {:?}", record.schema, boot::SCHEMA)));
    }
    if (record.node_id, record.boot_id) != (node_id, boot_id) {
        return Err(id_mismatch("the record is of another node or boot than the path"));
    }
    if record.labels.len() > limits::LABELS {
        return Err(malformed(format!("{} labels, more than {}", record.labels.len(), limits::LABELS)));
    }
    let (key, value) = limits::LABEL;
    if record.labels.iter().any(|(k, v)| k.len() > key || v.len() > value) {
        return Err(malformed(format!("a label's key has at most {key} bytes and its value {value}")));
    }
    let now = now_us();
    let build_id = hex::decode(&record.host.build_id).ok().filter(|id| !id.is_empty());
    let kernel = release::Release {
        kernel: &record.host.kernel,
        build_id: build_id.as_deref(),
        arch: &record.host.arch,
    };
    let mut transaction = app.store.write().await?;
    let release = release::upsert(&mut transaction, &kernel, now).await?;
    let word = node::Word {
        node_id: &record.node_id,
        class: 0,
        name: &record.host.name,
        incarnation: &record.incarnation,
        agent_version: &record.agent.version,
        release,
        labels: &record.labels,
        received_us: now,
    };
    let node = node::upsert(&mut transaction, &word).await?;
    let doc = String::from_utf8(tree.bytes()).expect("canonical JSON is UTF-8");
    let word = store::boot::Word { node, release, record: &record, doc: &doc, received_us: now };
    let rev = store::boot::report(&mut transaction, &word).await?;
    transaction.commit().await?;
    Ok(Json(Held { rev, time_us: now, head: HeadAnswer::Known, advice: [] }))
}

/// The boots of a node.
#[derive(Debug, Serialize)]
pub struct Boots {
    items: Vec<store::boot::Boot>,
}

/// `GET /nodes/{node_id}/boots`: the newest 500.
pub async fn list(State(app): State<AppState>, _: Reader, Id(key): Id<NodeId>) -> Result<Json<Boots>, Error> {
    let node =
        node::by_key(app.store.read(), &key).await?.ok_or_else(|| not_found(format!("no node {key}")))?;
    Ok(Json(Boots { items: store::boot::of_node(app.store.read(), node.id, LISTED).await? }))
}
