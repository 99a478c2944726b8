//! Who this service is: id, epoch, published keys.

use handover::key::{KeyEntry, Keys, PublicKey};
use handover::{KeyId, ServiceId};
use sqlx::{SqliteConnection, SqliteExecutor};

use super::Result;

const ACTIVE: i64 = 1;

/// The service of this database; `fresh` is its id if it has none yet.
pub async fn open(db: &mut SqliteConnection, fresh: ServiceId, now_us: i64) -> Result<ServiceId> {
    let id: Vec<u8> = sqlx::query_scalar(
        "INSERT INTO service (one, service_key, epoch, created_us) VALUES (1, $1, 1, $2)
         ON CONFLICT (one) DO UPDATE SET epoch = epoch
         RETURNING service_key",
    )
    .bind(&fresh.as_bytes()[..])
    .bind(now_us)
    .fetch_one(db)
    .await?;
    ServiceId::try_from(id).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// The epoch in which receipts are given now.
pub async fn epoch(db: impl SqliteExecutor<'_>) -> Result<i64> {
    sqlx::query_scalar("SELECT epoch FROM service WHERE one = 1").fetch_one(db).await
}

/// When a node proved that receipts were lost, until somebody acknowledges it.
pub async fn rolled_back_us(db: impl SqliteExecutor<'_>) -> Result<Option<i64>> {
    sqlx::query_scalar("SELECT rolled_back_us FROM service WHERE one = 1").fetch_one(db).await
}

/// Lifts the epoch above that of a lost receipt; once, whatever number of nodes prove it.
pub async fn raise_epoch(db: &mut SqliteConnection, lost: i64, now_us: i64) -> Result<()> {
    sqlx::query("UPDATE service SET epoch = $1 + 1, rolled_back_us = $2 WHERE one = 1 AND epoch <= $1")
        .bind(lost)
        .bind(now_us)
        .execute(db)
        .await?;
    Ok(())
}

/// Somebody knows of it.
pub async fn acknowledge(db: &mut SqliteConnection) -> Result<()> {
    sqlx::query("UPDATE service SET rolled_back_us = NULL WHERE one = 1").execute(db).await?;
    Ok(())
}

/// Writes a row as it is: a page goes through the log and is synced.
pub async fn touch(db: &mut SqliteConnection) -> Result<()> {
    sqlx::query("UPDATE service SET epoch = epoch WHERE one = 1").execute(db).await?;
    Ok(())
}

/// The public keys that ever signed.
pub async fn public_keys(db: impl SqliteExecutor<'_>) -> Result<Vec<PublicKey>> {
    let rows: Vec<Vec<u8>> = sqlx::query_scalar("SELECT public FROM signing_key").fetch_all(db).await?;
    rows.into_iter().map(|public| key(&public)).collect()
}

fn key(public: &[u8]) -> Result<PublicKey> {
    let bytes = <[u8; 32]>::try_from(public).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    PublicKey::from_bytes(&bytes).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// Enters the public half of the signing key.
pub async fn publish(db: &mut SqliteConnection, key: &PublicKey, now_us: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO signing_key (key_id, public, state, created_us) VALUES ($1, $2, $3, $4)
         ON CONFLICT (key_id) DO NOTHING",
    )
    .bind(&key.id().as_bytes()[..])
    .bind(&key.as_bytes()[..])
    .bind(ACTIVE)
    .bind(now_us)
    .execute(db)
    .await?;
    Ok(())
}

/// The published keys; `active` signs now.
pub async fn keys(db: impl SqliteExecutor<'_>, service: ServiceId, active: KeyId) -> Result<Keys> {
    let rows: Vec<(Vec<u8>, i64)> =
        sqlx::query_as("SELECT public, created_us FROM signing_key ORDER BY created_us")
            .fetch_all(db)
            .await?;
    let keys = rows
        .into_iter()
        .map(|(public, created_us)| Ok(KeyEntry::first(service, &key(&public)?, created_us)))
        .collect::<Result<_>>()?;
    Ok(Keys { service, active, keys })
}
