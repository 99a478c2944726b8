//! Nodes, and the receipts they were given.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use handover::receipt::Envelope;
use handover::{NodeId, limits};
use serde::{Deserialize, Serialize};

use super::{Id, Params};
use crate::app::AppState;
use crate::auth::{Ingest, Reader};
use crate::paging::{self, After, Page};
use crate::problem::{Error, not_found};
use crate::store::{boot, custody, node};

/// What a list of nodes may be asked for.
#[derive(Debug, Default, Deserialize)]
pub struct List {
    #[serde(default)]
    sort: node::Sort,
    after: Option<String>,
    limit: Option<u32>,
}

/// `GET /nodes`
pub async fn list(
    State(app): State<AppState>,
    _: Reader,
    Params(List { sort, after, limit }): Params<List>,
) -> Result<Json<Page<node::Node>>, Error> {
    let list = ("nodes", sort);
    let size = paging::size(limit);
    let after = paging::after(after.as_deref(), &list)?;
    let rows = node::list(app.store.read(), sort, after, size + 1).await?;
    Ok(Json(Page::of(rows, size, &list, |row| After { key: sort.key(row), id: row.id })))
}

/// A node with its labels.
#[derive(Debug, Serialize)]
pub struct Whole {
    #[serde(flatten)]
    node: node::Node,
    labels: BTreeMap<String, String>,
    boots: i64,
}

/// `GET /nodes/{node_id}`
pub async fn one(State(app): State<AppState>, _: Reader, Id(key): Id<NodeId>) -> Result<Json<Whole>, Error> {
    let db = app.store.read();
    let node = node::by_key(db, &key).await?.ok_or_else(|| not_found(format!("no node {key}")))?;
    let labels = node::labels(db, node.id).await?.into_iter().collect();
    let boots = boot::count(db, node.id).await?;
    Ok(Json(Whole { node, labels, boots }))
}

/// Which receipts of a node.
#[derive(Debug, Deserialize)]
pub struct Receipts {
    #[serde(default = "first_epoch")]
    epoch: i64,
    /// Those behind this number.
    #[serde(default)]
    after: i64,
    limit: Option<u32>,
}

fn first_epoch() -> i64 {
    1
}

/// `GET /nodes/{node_id}/receipts`: envelopes by number; `Link: rel=next` when there are more.
pub async fn receipts(
    State(app): State<AppState>,
    caller: Ingest,
    Id(key): Id<NodeId>,
    Params(Receipts { epoch, after, limit }): Params<Receipts>,
) -> Result<Response, Error> {
    caller.speaks_for(&key).map_err(|_| not_found(format!("no node {key}")))?;
    let limit = limit.unwrap_or(paging::PAGE).clamp(1, limits::RECEIPTS as u32);
    let rows = custody::receipts(app.store.custody(), &key, epoch, after, limit).await?;
    let next = rows.last().filter(|_| rows.len() == limit as usize).map(|(seq, _)| *seq);
    let envelopes: Vec<Envelope> = rows.into_iter().map(|(_, envelope)| envelope).collect();
    let mut response = Json(envelopes).into_response();
    if let Some(seq) = next {
        let link =
            format!("</api/v1/nodes/{key}/receipts?epoch={epoch}&after={seq}&limit={limit}>; rel=\"next\"");
        let link = link.parse().map_err(|_| Error::Inside("a link that is no header"))?;
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}
