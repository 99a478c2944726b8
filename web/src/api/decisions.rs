//! What people decide about a signature: its name, its state, what belongs to it. Needs scope `admin`.

use axum::Json;
use axum::extract::State;
use handover::problem::Problem;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Id, JsonBody};
use crate::app::AppState;
use crate::auth::Decider;
use crate::clock::now_us;
use crate::problem::{Error, malformed, not_found};
use crate::store::placement::{self, Decision, Part};
use crate::store::signature::{self, Signature, SignatureId};

/// The longest name: as long as the longest titles.
const NAME: usize = 240;

/// What is to change; what is absent stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// A name to show instead of the title; null takes it away.
    #[serde(default, deserialize_with = "given")]
    name: Option<Option<String>>,
    state: Option<signature::State>,
}

/// Tells `null` from absent.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// `PATCH /signatures/{signature_id}`
pub async fn change(
    State(app): State<AppState>,
    _: Decider,
    Id(key): Id<SignatureId>,
    JsonBody(Change { name, state }): JsonBody<Change>,
) -> Result<Json<Signature>, Error> {
    let id = super::signatures::find(&app, &key).await?.id;
    let mut transaction = app.store.write().await?;
    if let Some(name) = &name {
        let name = name.as_deref().map(str::trim).filter(|name| !name.is_empty());
        if name.is_some_and(|name| name.len() > NAME) {
            return Err(malformed(format!("name: longer than {NAME} bytes")));
        }
        signature::rename(&mut transaction, id, name).await?;
    }
    if let Some(state) = state {
        signature::set_state(&mut transaction, id, state, now_us()).await?;
    }
    transaction.commit().await?;
    Ok(Json(super::signatures::find(&app, &key).await?))
}

/// Into which one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    into: SignatureId,
}

/// `POST /signatures/{signature_id}/merge`: answers the signature that both are now.
pub async fn merge(
    State(app): State<AppState>,
    by: Decider,
    Id(key): Id<SignatureId>,
    JsonBody(Merge { into }): JsonBody<Merge>,
) -> Result<Json<Signature>, Error> {
    let from = super::signatures::find(&app, &key).await?;
    let to = super::signatures::find(&app, &into).await?;
    let mut transaction = app.store.write().await?;
    // Looked up again under the write lock: somebody may have merged meanwhile.
    let (from, to) =
        (signature::end(&mut transaction, from.id).await?, signature::end(&mut transaction, to.id).await?);
    if from == to {
        return Err(Problem::new(409, "same-signature", "Both are one signature already").into());
    }
    placement::merge(&mut transaction, from, to, Decision { by: &by.name, at_us: now_us() }).await?;
    transaction.commit().await?;
    Ok(Json(super::signatures::find(&app, &into).await?))
}

/// What to split off: one of both.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    title: Option<String>,
    /// Hex of the stack's key, as in the signature's `stacks`.
    stack: Option<String>,
}

/// `POST /signatures/{signature_id}/split`: answers the new signature.
pub async fn split(
    State(app): State<AppState>,
    by: Decider,
    Id(key): Id<SignatureId>,
    JsonBody(Split { title, stack }): JsonBody<Split>,
) -> Result<Json<Signature>, Error> {
    let from = super::signatures::find(&app, &key).await?.id;
    let nothing = || not_found("no crash of this signature has that title or stack");
    let mut transaction = app.store.write().await?;
    let part = match (&title, &stack) {
        (Some(title), None) => Part::Title(title),
        (None, Some(stack)) => {
            let key = hex::decode(stack).map_err(|error| malformed(format!("stack: {error}")))?;
            Part::Variant(placement::variant(&mut *transaction, &key).await?.ok_or_else(nothing)?)
        }
        _ => return Err(malformed("either title or stack")),
    };
    let decision = Decision { by: &by.name, at_us: now_us() };
    let to = placement::split(&mut transaction, from, part, decision).await?.ok_or_else(nothing)?;
    transaction.commit().await?;
    let new = signature::by_id(app.store.read(), to).await?;
    Ok(Json(new.ok_or(Error::Inside("the new signature is not there"))?))
}

/// What was undone.
#[derive(Debug, Serialize)]
pub struct Undone {
    decisions: usize,
    #[serde(flatten)]
    signature: Signature,
}

/// `POST /signatures/{signature_id}/undo`: the id is that of the signature as it was, merged away or split.
pub async fn undo(
    State(app): State<AppState>,
    _: Decider,
    Id(key): Id<SignatureId>,
) -> Result<Json<Undone>, Error> {
    let unknown = || not_found(format!("no signature {key}"));
    let from = signature::by_key(app.store.read(), &key).await?.ok_or_else(unknown)?.id;
    let mut transaction = app.store.write().await?;
    let decisions = placement::undo(&mut transaction, from, now_us()).await?;
    transaction.commit().await?;
    let signature = signature::by_id(app.store.read(), from).await?.ok_or_else(unknown)?;
    Ok(Json(Undone { decisions, signature }))
}
