//! Who this service is: id, epoch, published keys.

use handover::key::{KeyEntry, Keys, PublicKey};
use handover::{KeyId, ServiceId};
use sqlx::{SqliteConnection, SqliteExecutor};

use super::Result;

const ACTIVE: i64 = 1;

/// The service's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// Raised when a rollback was proven.
    pub epoch: i64,
}

/// The service of this database; `fresh` is its id if it has none yet.
pub async fn open(db: &mut SqliteConnection, fresh: ServiceId, now_us: i64) -> Result<Service> {
    let (id, epoch): (Vec<u8>, i64) = sqlx::query_as(
        "INSERT INTO service (one, service_key, epoch, created_us) VALUES (1, $1, 1, $2)
         ON CONFLICT (one) DO UPDATE SET epoch = epoch
         RETURNING service_key, epoch",
    )
    .bind(&fresh.as_bytes()[..])
    .bind(now_us)
    .fetch_one(db)
    .await?;
    let id = ServiceId::try_from(id).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(Service { id, epoch })
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
        .map(|(public, created_us)| {
            let bytes = <[u8; 32]>::try_from(public).map_err(|_| sqlx::Error::RowNotFound)?;
            let key = PublicKey::from_bytes(&bytes).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            Ok(KeyEntry::first(service, &key, created_us))
        })
        .collect::<Result<_>>()?;
    Ok(Keys { service, active, keys })
}
