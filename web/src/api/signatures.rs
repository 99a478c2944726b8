//! Signatures: crashes that are the same fault.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::{Id, Params};
use crate::app::{App, AppState};
use crate::auth::Reader;
use crate::clock::now_us;
use crate::paging::{self, After, Page};
use crate::problem::{Error, not_found};
use crate::store::rollup::{self, OnDay, OnRelease};
use crate::store::signature::{self, Signature, SignatureId, Sort};
use crate::store::{alias, node, variant};

/// Days of a signature's trend.
const DAYS: i64 = 90;
/// Stacks and nodes shown of a signature.
const MOST: u32 = 50;

/// What a list of signatures may be asked for.
#[derive(Debug, Default, Deserialize)]
pub struct List {
    r#type: Option<String>,
    module: Option<String>,
    q: Option<String>,
    fatal: Option<bool>,
    state: Option<signature::State>,
    #[serde(default)]
    sort: Sort,
    after: Option<String>,
    limit: Option<u32>,
}

/// `GET /signatures`
pub async fn list(
    State(app): State<AppState>,
    _: Reader,
    Params(List { r#type, module, q, fatal, state, sort, after, limit }): Params<List>,
) -> Result<Json<Page<Signature>>, Error> {
    let filter = signature::Filter { r#type, module, q, fatal, state };
    let list = ("signatures", &filter, sort);
    let size = paging::size(limit);
    let after = paging::after(after.as_deref(), &list)?;
    let rows = signature::list(app.store.read(), &filter, sort, after, size + 1).await?;
    Ok(Json(Page::of(rows, size, &list, |row| After { key: sort.key(row), id: row.id })))
}

/// A signature with its history.
#[derive(Debug, Serialize)]
pub struct Whole {
    #[serde(flatten)]
    signature: Signature,
    titles: Vec<String>,
    releases: Vec<OnRelease>,
    days: Vec<OnDay>,
    stacks: Vec<Stack>,
    nodes_hit: Vec<node::Hit>,
}

#[derive(Debug, Serialize)]
struct Stack {
    #[serde(flatten)]
    variant: rollup::OfVariant,
    frames: Vec<String>,
}

/// `GET /signatures/{signature_id}`
pub async fn one(
    State(app): State<AppState>,
    _: Reader,
    Id(key): Id<SignatureId>,
) -> Result<Json<Whole>, Error> {
    let db = app.store.read();
    let signature = find(&app, &key).await?;
    let mut stacks = Vec::new();
    for variant in rollup::variants(db, signature.id, MOST).await? {
        let frames = variant::frames(db, variant.variant_row).await?;
        stacks.push(Stack { variant, frames });
    }
    Ok(Json(Whole {
        titles: alias::titles(db, signature.id).await?,
        releases: rollup::by_release(db, signature.id).await?,
        days: rollup::days_of_signature(db, signature.id, rollup::day(now_us()) - DAYS).await?,
        nodes_hit: node::hit_by(db, signature.id, MOST).await?,
        stacks,
        signature,
    }))
}

/// The signature of an id, or the one that it was merged into.
pub async fn find(app: &App, key: &SignatureId) -> Result<Signature, Error> {
    let unknown = || not_found(format!("no signature {key}"));
    let mut signature = signature::by_key(app.store.read(), key).await?.ok_or_else(unknown)?;
    while let Some(into) = signature.merged_into_id {
        signature = signature::by_id(app.store.read(), into).await?.ok_or_else(unknown)?;
    }
    Ok(signature)
}
