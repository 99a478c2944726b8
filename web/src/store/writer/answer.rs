//! What custody writes for each thing that is asked, and the receipt that it signs for it.

use handover::canonical::Document;
use handover::manifest::{Kind, Manifest};
use handover::receipt::{self, Disposition, Envelope, Receipt};
use handover::{EvidenceId, ReceiptHash, Sha256};
use sqlx::{FromRow, SqliteConnection};

use super::{Ask, Bytes, Signer};
use crate::clock::now_us;
use crate::store::{Result, service};

/// zstd level for manifests: they are 1 KB, where the level hardly matters.
const LEVEL: i32 = 3;

/// Does what is asked, inside the writer's transaction. The receipt must not leave before the commit.
pub(super) async fn answer(db: &mut SqliteConnection, signer: &Signer, ask: Ask) -> Result<Option<Envelope>> {
    let evidence_id = match &ask {
        Ask::Keep { manifest, .. } | Ask::Count { manifest, .. } => manifest.evidence_id,
        Ask::Again { evidence_id, .. } => *evidence_id,
        Ask::RolledBack { epoch } => {
            service::raise_epoch(db, number(*epoch), now_us()).await?;
            return Ok(None);
        }
        Ask::Acknowledge => {
            service::acknowledge(db).await?;
            return Ok(None);
        }
        Ask::Prove => {
            service::touch(db).await?;
            return Ok(None);
        }
        Ask::Stop => return Ok(None),
    };
    let kept = kept(db, &evidence_id).await?;
    match (kept, ask) {
        (Some(kept), Ask::Keep { manifest, bytes, received_us }) if kept.home.is_none() => {
            let blob = put_bytes(db, &manifest, bytes).await?;
            let disposition = held(&manifest.kind);
            put_late(db, kept.id, blob, &manifest, disposition).await?;
            sign(db, signer, About::new(&manifest, received_us), disposition, None).await.map(Some)
        }
        (
            Some(kept),
            Ask::Keep { received_us, .. } | Ask::Count { received_us, .. } | Ask::Again { received_us, .. },
        ) => again(db, signer, &evidence_id, kept, received_us).await.map(Some),
        (None, Ask::Keep { manifest, bytes, received_us }) => {
            let blob = put_bytes(db, &manifest, bytes).await?;
            let disposition = held(&manifest.kind);
            put_evidence(db, Some(blob), &manifest, disposition, received_us).await?;
            sign(db, signer, About::new(&manifest, received_us), disposition, None).await.map(Some)
        }
        (None, Ask::Count { manifest, received_us }) => {
            put_evidence(db, None, &manifest, Disposition::Counted, received_us).await?;
            sign(db, signer, About::new(&manifest, received_us), Disposition::Counted, None).await.map(Some)
        }
        (_, Ask::Again { .. } | Ask::RolledBack { .. } | Ask::Acknowledge | Ask::Prove | Ask::Stop) => {
            Ok(None)
        }
    }
}

#[derive(FromRow)]
struct Kept {
    id: i64,
    home: Option<i64>,
    #[sqlx(try_from = "Vec<u8>")]
    node_id: handover::NodeId,
    kind: String,
    #[sqlx(try_from = "Vec<u8>")]
    sha256: Sha256,
    size: i64,
    #[sqlx(try_from = "Vec<u8>")]
    manifest_sha256: Sha256,
    disposition: i64,
    weight: i64,
}

/// What a receipt is about.
struct About {
    node_id: handover::NodeId,
    evidence_id: EvidenceId,
    kind: Kind,
    sha256: Sha256,
    size: u64,
    manifest_sha256: Sha256,
    weight: u64,
    received_us: i64,
}

/// Evidence of a kind that no reader knows is kept all the same, and said to be.
fn held(kind: &Kind) -> Disposition {
    match kind {
        Kind::Unknown(_) => Disposition::Quarantined,
        _ => Disposition::Stored,
    }
}

impl About {
    fn new(manifest: &Document<Manifest>, received_us: i64) -> About {
        About {
            node_id: manifest.node_id,
            evidence_id: manifest.evidence_id,
            kind: manifest.kind.clone(),
            sha256: manifest.sha256,
            size: manifest.size,
            manifest_sha256: Sha256::of(manifest.bytes()),
            weight: manifest.weight,
            received_us,
        }
    }
}

async fn kept(db: &mut SqliteConnection, key: &EvidenceId) -> Result<Option<Kept>> {
    sqlx::query_as(
        "SELECT e.id, b.home, e.node_key AS node_id, e.kind, e.sha256, e.size, e.manifest_sha256, e.disposition,
                e.weight
           FROM evidence e LEFT JOIN blob b ON b.id = e.blob_id WHERE e.evidence_key = $1",
    )
    .bind(&key.as_bytes()[..])
    .fetch_optional(db)
    .await
}

/// The receipt for a repeat: what is only counted stays counted; what is held is a duplicate.
async fn again(
    db: &mut SqliteConnection,
    signer: &Signer,
    evidence_id: &EvidenceId,
    kept: Kept,
    received_us: i64,
) -> Result<Envelope> {
    let disposition = if kept.home.is_none() { Disposition::Counted } else { Disposition::Duplicate };
    let epoch = service::epoch(&mut *db).await?;
    if let Some(given) = given(db, epoch, evidence_id, disposition).await? {
        return Ok(given);
    }
    let of: Option<Vec<u8>> = sqlx::query_scalar(
        "SELECT hash FROM receipt WHERE evidence_key = $1 AND disposition = $2 ORDER BY id DESC",
    )
    .bind(&evidence_id.as_bytes()[..])
    .bind(kept.disposition)
    .fetch_optional(&mut *db)
    .await?;
    let of = of.and_then(|hash| ReceiptHash::from_slice(&hash));
    let about = About {
        node_id: kept.node_id,
        evidence_id: *evidence_id,
        kind: Kind::from_word(&kept.kind),
        sha256: kept.sha256,
        size: kept.size.unsigned_abs(),
        manifest_sha256: kept.manifest_sha256,
        weight: kept.weight.unsigned_abs(),
        received_us,
    };
    sign(db, signer, about, disposition, of).await
}

/// At most one receipt for each evidence, epoch and disposition: the same bytes again.
async fn given(
    db: &mut SqliteConnection,
    epoch: i64,
    evidence_id: &EvidenceId,
    disposition: Disposition,
) -> Result<Option<Envelope>> {
    let text: Option<String> = sqlx::query_scalar(
        "SELECT envelope FROM receipt WHERE evidence_key = $1 AND epoch = $2 AND disposition = $3",
    )
    .bind(&evidence_id.as_bytes()[..])
    .bind(epoch)
    .bind(stored(disposition))
    .fetch_optional(db)
    .await?;
    text.map(|text| Envelope::read(text.as_bytes()).map_err(|error| sqlx::Error::Decode(Box::new(error))))
        .transpose()
}

async fn put_bytes(db: &mut SqliteConnection, manifest: &Manifest, bytes: Bytes) -> Result<i64> {
    let (home, bytes) = match bytes {
        Bytes::Row(bytes) => (0_i64, Some(bytes)),
        Bytes::File => (1, None),
    };
    sqlx::query_scalar(
        "INSERT INTO blob (sha256, size, home, bytes) VALUES ($1, $2, $3, $4)
         ON CONFLICT (sha256) DO UPDATE SET size = size RETURNING id",
    )
    .bind(&manifest.sha256.as_bytes()[..])
    .bind(number(manifest.size))
    .bind(home)
    .bind(bytes)
    .fetch_one(db)
    .await
}

async fn put_evidence(
    db: &mut SqliteConnection,
    blob: Option<i64>,
    manifest: &Document<Manifest>,
    disposition: Disposition,
    received_us: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO evidence (evidence_key, node_key, kind, blob_id, sha256, size, manifest, manifest_sha256,
                               received_us, disposition, weight)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(&manifest.evidence_id.as_bytes()[..])
    .bind(&manifest.node_id.as_bytes()[..])
    .bind(manifest.kind.as_str())
    .bind(blob)
    .bind(&manifest.sha256.as_bytes()[..])
    .bind(number(manifest.size))
    .bind(packed(manifest)?)
    .bind(&Sha256::of(manifest.bytes()).as_bytes()[..])
    .bind(received_us)
    .bind(stored(disposition))
    .bind(number(manifest.weight))
    .execute(db)
    .await?;
    Ok(())
}

/// The bytes of what was only counted came after all, with a manifest of their own. The row moves to the end of
/// the order of arrival, so that the pipeline meets it.
async fn put_late(
    db: &mut SqliteConnection,
    id: i64,
    blob: i64,
    manifest: &Document<Manifest>,
    disposition: Disposition,
) -> Result<()> {
    sqlx::query(
        "UPDATE evidence SET id = (SELECT max(id) + 1 FROM evidence), blob_id = $2, manifest = $3,
                manifest_sha256 = $4, disposition = $5
          WHERE id = $1",
    )
    .bind(id)
    .bind(blob)
    .bind(packed(manifest)?)
    .bind(&Sha256::of(manifest.bytes()).as_bytes()[..])
    .bind(stored(disposition))
    .execute(db)
    .await?;
    Ok(())
}

fn packed(manifest: &Document<Manifest>) -> Result<Vec<u8>> {
    zstd::encode_all(manifest.bytes(), LEVEL).map_err(sqlx::Error::Io)
}

/// Gives the node's stream its next number, signs, and keeps what was signed.
async fn sign(
    db: &mut SqliteConnection,
    signer: &Signer,
    about: About,
    disposition: Disposition,
    of: Option<ReceiptHash>,
) -> Result<Envelope> {
    let About { node_id, evidence_id, kind, sha256, size, manifest_sha256, weight, received_us } = about;
    let epoch = service::epoch(&mut *db).await?;
    let (seq, head): (i64, Vec<u8>) = sqlx::query_as(
        "INSERT INTO stream (node_key, epoch, seq, head) VALUES ($1, $2, 1, $3)
         ON CONFLICT (node_key) DO UPDATE SET
           seq  = CASE WHEN stream.epoch = excluded.epoch THEN stream.seq + 1 ELSE 1 END,
           head = CASE WHEN stream.epoch = excluded.epoch THEN stream.head ELSE excluded.head END,
           epoch = excluded.epoch
         RETURNING seq, head",
    )
    .bind(&node_id.as_bytes()[..])
    .bind(epoch)
    .bind(&ReceiptHash::ZERO.as_bytes()[..])
    .fetch_one(&mut *db)
    .await?;
    let issued_us = now_us();
    let receipt = Receipt {
        schema: receipt::SCHEMA.to_owned(),
        service: signer.service,
        key: signer.key.public().id(),
        node_id,
        epoch: epoch.unsigned_abs(),
        seq: seq.unsigned_abs(),
        prev: ReceiptHash::try_from(head).map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        evidence_id,
        kind,
        sha256,
        size,
        manifest_sha256,
        disposition,
        bytes_kept: disposition.takes_custody(),
        weight,
        received_us,
        issued_us,
        server: env!("CARGO_PKG_VERSION").to_owned(),
        of,
        reason: (disposition == Disposition::Counted).then(|| "withheld".to_owned()),
        retry_after_s: None,
    };
    let envelope = Envelope::seal(receipt, &signer.key);
    let hash = envelope.hash();
    let text = String::from_utf8(envelope.bytes()).expect("canonical JSON is UTF-8");
    sqlx::query(
        "INSERT INTO receipt (node_key, epoch, seq, hash, evidence_key, disposition, envelope, issued_us)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&node_id.as_bytes()[..])
    .bind(epoch)
    .bind(seq)
    .bind(&hash.as_bytes()[..])
    .bind(&evidence_id.as_bytes()[..])
    .bind(stored(disposition))
    .bind(text)
    .bind(issued_us)
    .execute(&mut *db)
    .await?;
    sqlx::query("UPDATE stream SET head = $2 WHERE node_key = $1")
        .bind(&node_id.as_bytes()[..])
        .bind(&hash.as_bytes()[..])
        .execute(db)
        .await?;
    Ok(envelope)
}

fn stored(disposition: Disposition) -> i64 {
    match disposition {
        Disposition::Stored => 0,
        Disposition::Duplicate => 1,
        Disposition::Counted => 2,
        Disposition::Quarantined => 3,
        Disposition::Refused | Disposition::Unknown => 4,
    }
}

/// A count of the protocol, which stays within 2^53.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
