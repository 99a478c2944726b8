//! Signatures: crashes that are the same fault.

use std::fmt;
use std::str::FromStr;

use handover::digest::h;
use serde::{Serialize, Serializer};
use sqlx::{FromRow, QueryBuilder, SqliteConnection, SqliteExecutor};

use super::Result;
use crate::paging::After;

/// A signature's public id: the first 16 bytes of `H("lastwords/signature/v1", first title)`, so that two
/// services open the same one for the same title. A title that holds on one node only has its scope behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignatureId([u8; 16]);

impl SignatureId {
    /// The id that a title opens.
    pub fn of(title: &str, scope: &[u8]) -> SignatureId {
        let fields: &[&[u8]] =
            if scope.is_empty() { &[title.as_bytes()] } else { &[title.as_bytes(), scope] };
        SignatureId(*h("lastwords/signature/v1", fields).first_chunk().expect("32 is more than 16"))
    }

    /// The raw bytes, as stored.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for SignatureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for SignatureId {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> std::result::Result<SignatureId, hex::FromHexError> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(SignatureId(bytes))
    }
}

impl TryFrom<Vec<u8>> for SignatureId {
    type Error = hex::FromHexError;

    fn try_from(bytes: Vec<u8>) -> std::result::Result<SignatureId, hex::FromHexError> {
        bytes.try_into().map(SignatureId).map_err(|_| hex::FromHexError::InvalidStringLength)
    }
}

impl<'de> serde::Deserialize<'de> for SignatureId {
    fn deserialize<D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<SignatureId, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for SignatureId {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A signature as lists and pages show it.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct Signature {
    /// Row id; never leaves the service.
    #[serde(skip)]
    pub id: i64,
    /// Public id.
    #[sqlx(try_from = "Vec<u8>")]
    pub signature_id: SignatureId,
    /// What to show: a person's name for it, or the kernel's title.
    pub title: String,
    /// The title it was opened with.
    pub first_title: String,
    /// The kind of fault, in the words of `report::CrashType`.
    pub r#type: String,
    /// In the words of `report::Severity`.
    pub severity: String,
    /// Any of its crashes killed the machine.
    pub fatal: bool,
    /// Opened by a report whose text is not whole.
    pub corrupted: bool,
    /// Whom the rules blame; empty if nobody.
    pub function: String,
    /// Its module; empty for the kernel's own code.
    pub module: String,
    /// Part of the kernel; empty if unknown.
    pub subsystem: String,
    /// `new`, `acknowledged`, `resolved`, `muted`, `regressed`.
    #[sqlx(try_from = "i64")]
    pub state: State,
    /// Crashes of class field.
    pub crashes: i64,
    /// Distinct nodes that had one.
    pub nodes: i64,
    /// Of the first crash, µs since 1970 UTC.
    pub first_us: i64,
    /// Of the newest.
    pub last_us: i64,
    /// Kernel of the first crash by time.
    pub first_kernel: Option<String>,
    /// Kernel of the newest.
    pub last_kernel: Option<String>,
    /// The signature that this one was merged into.
    #[serde(skip)]
    pub merged_into_id: Option<i64>,
}

/// What people think of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nobody looked yet.
    New = 0,
    /// Somebody did.
    Acknowledged = 1,
    /// Said to be mended.
    Resolved = 2,
    /// Not to be told of.
    Muted = 3,
    /// Came back after it was resolved.
    Regressed = 4,
}

impl State {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            State::New => "new",
            State::Acknowledged => "acknowledged",
            State::Resolved => "resolved",
            State::Muted => "muted",
            State::Regressed => "regressed",
        }
    }
}

impl From<i64> for State {
    fn from(stored: i64) -> State {
        match stored {
            1 => State::Acknowledged,
            2 => State::Resolved,
            3 => State::Muted,
            4 => State::Regressed,
            _ => State::New,
        }
    }
}

/// What a list of signatures is sorted by, always falling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sort {
    /// Newest crash.
    #[default]
    Last,
    /// First crash.
    First,
    /// Distinct nodes.
    Nodes,
    /// Crashes.
    Crashes,
}

impl Sort {
    fn column(self) -> &'static str {
        match self {
            Sort::Last => "s.last_us",
            Sort::First => "s.first_us",
            Sort::Nodes => "s.nodes",
            Sort::Crashes => "s.crashes",
        }
    }

    /// The value of a row that the next page goes on after.
    pub fn key(self, row: &Signature) -> i64 {
        match self {
            Sort::Last => row.last_us,
            Sort::First => row.first_us,
            Sort::Nodes => row.nodes,
            Sort::Crashes => row.crashes,
        }
    }
}

/// Which signatures a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize, Serialize)]
pub struct Filter {
    /// Of this kind.
    pub r#type: Option<String>,
    /// Whose blamed function is in this module.
    pub module: Option<String>,
    /// Whose title holds this text, case ignored for ASCII.
    pub q: Option<String>,
    /// Only those that killed a machine, or only those that did not.
    pub fatal: Option<bool>,
    /// Of which people think this.
    pub state: Option<State>,
}

const SELECT: &str = "
    SELECT s.id, s.signature_key AS signature_id, coalesce(s.name, s.title) AS title, s.title AS first_title,
           s.type, s.severity, s.fatal, s.corrupted, s.function, s.module, s.subsystem, s.state, s.crashes, s.nodes,
           s.first_us, s.last_us, f.kernel AS first_kernel, l.kernel AS last_kernel, s.merged_into_id
      FROM signature s
      LEFT JOIN release f ON f.id = s.first_release_id
      LEFT JOIN release l ON l.id = s.last_release_id";

/// One signature; merged ones too, so that the caller can send on to [`Signature::merged_into_id`].
pub async fn by_key(db: impl SqliteExecutor<'_>, key: &SignatureId) -> Result<Option<Signature>> {
    QueryBuilder::new(SELECT)
        .push(" WHERE s.signature_key = ")
        .push_bind(&key.0[..])
        .build_query_as()
        .fetch_optional(db)
        .await
}

/// One signature by its row id.
pub async fn by_id(db: impl SqliteExecutor<'_>, id: i64) -> Result<Option<Signature>> {
    QueryBuilder::new(SELECT).push(" WHERE s.id = ").push_bind(id).build_query_as().fetch_optional(db).await
}

/// At most `limit` signatures of class field, falling by `sort`.
pub async fn list(
    db: impl SqliteExecutor<'_>,
    filter: &Filter,
    sort: Sort,
    after: Option<After>,
    limit: u32,
) -> Result<Vec<Signature>> {
    let Filter { r#type, module, q, fatal, state } = filter;
    let mut query = QueryBuilder::new(SELECT);
    // The plus keeps SQLite from walking the index of crashes and sorting all that it finds, whatever is asked for.
    query.push(" WHERE s.class = 0 AND s.merged_into_id IS NULL AND +s.crashes > 0");
    if let Some(word) = r#type {
        query.push(" AND s.type = ").push_bind(word);
    }
    if let Some(module) = module {
        query.push(" AND s.module = ").push_bind(module);
    }
    if let Some(text) = q {
        // instr and not LIKE, in which a title's `_` would match any byte.
        query
            .push(" AND instr(lower(coalesce(s.name, s.title)), ")
            .push_bind(text.to_ascii_lowercase())
            .push(") > 0");
    }
    if let Some(fatal) = fatal {
        query.push(" AND s.fatal = ").push_bind(fatal);
    }
    if let Some(state) = state {
        query.push(" AND s.state = ").push_bind(*state as i64);
    }
    if let Some(after) = after {
        query.push(" AND (").push(sort.column()).push(", s.id) < (").push_bind(after.key);
        query.push(", ").push_bind(after.id).push(")");
    }
    query.push(" ORDER BY ").push(sort.column()).push(" DESC, s.id DESC LIMIT ").push_bind(limit);
    query.build_query_as().fetch_all(db).await
}

/// How many signatures of class field there are.
pub async fn count(db: impl SqliteExecutor<'_>) -> Result<i64> {
    sqlx::query_scalar(
        "SELECT count(*) FROM signature WHERE class = 0 AND merged_into_id IS NULL AND crashes > 0",
    )
    .fetch_one(db)
    .await
}

/// How many signatures of class field are in a state.
pub async fn count_in(db: impl SqliteExecutor<'_>, state: State) -> Result<i64> {
    sqlx::query_scalar(
        "SELECT count(*) FROM signature
          WHERE class = 0 AND merged_into_id IS NULL AND +crashes > 0 AND state = $1",
    )
    .bind(state as i64)
    .fetch_one(db)
    .await
}

/// How many signatures of class field came first since a time, and nobody has looked at.
pub async fn count_new(db: impl SqliteExecutor<'_>, since_us: i64) -> Result<i64> {
    sqlx::query_scalar(
        "SELECT count(*) FROM signature
          WHERE class = 0 AND merged_into_id IS NULL AND +crashes > 0 AND first_us >= $1 AND state = $2",
    )
    .bind(since_us)
    .bind(State::New as i64)
    .fetch_one(db)
    .await
}

/// A signature that is about to be opened.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// Title that names it; also makes its key.
    pub title: &'a str,
    /// The node that the title holds on; empty: everywhere.
    pub scope: &'a [u8],
    /// Kind of fault.
    pub kind: &'a str,
    /// How bad.
    pub severity: &'a str,
    /// The report's text is not whole.
    pub corrupted: bool,
    /// Whom to blame.
    pub function: &'a str,
    /// Its module.
    pub module: &'a str,
    /// Part of the kernel.
    pub subsystem: &'a str,
    /// 0 field, 1 drill, 2 canary.
    pub class: i64,
    /// Time of the crash that opens it.
    pub at_us: i64,
}

/// Opens a signature, or returns the one that already has its key.
pub async fn open(db: &mut SqliteConnection, new: &Opening<'_>) -> Result<i64> {
    let Opening { title, scope, kind, severity, corrupted, function, module, subsystem, class, at_us } = *new;
    sqlx::query_scalar(
        "INSERT INTO signature (signature_key, title, class, type, severity, fatal, corrupted, function, module,
                                subsystem, rules_version, first_us, last_us)
         VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8, $9, $10, $11, $11)
         ON CONFLICT (signature_key) DO UPDATE SET title = title
         RETURNING id",
    )
    .bind(&SignatureId::of(title, scope).0[..])
    .bind(title)
    .bind(class)
    .bind(kind)
    .bind(severity)
    .bind(corrupted)
    .bind(function)
    .bind(module)
    .bind(subsystem)
    .bind(report::RULES_VERSION)
    .bind(at_us)
    .fetch_one(db)
    .await
}

/// The signature at the end of the way of merges that begins at a row.
pub async fn end(db: &mut SqliteConnection, id: i64) -> Result<i64> {
    // A merge is refused when it would lead back, so the way ends.
    let mut at = id;
    while let Some(into) =
        sqlx::query_scalar::<_, Option<i64>>("SELECT merged_into_id FROM signature WHERE id = $1")
            .bind(at)
            .fetch_one(&mut *db)
            .await?
    {
        at = into;
    }
    Ok(at)
}

/// Gives a signature a person's name; `None` takes it away.
pub async fn rename(db: &mut SqliteConnection, id: i64, name: Option<&str>) -> Result<()> {
    sqlx::query("UPDATE signature SET name = $2 WHERE id = $1").bind(id).bind(name).execute(db).await?;
    Ok(())
}

/// Notes what people think of it. A crash after the time at which it was resolved makes it regressed.
pub async fn set_state(db: &mut SqliteConnection, id: i64, state: State, now_us: i64) -> Result<()> {
    sqlx::query("UPDATE signature SET state = $2, resolved_us = $3 WHERE id = $1")
        .bind(id)
        .bind(state as i64)
        .bind((state == State::Resolved).then_some(now_us))
        .execute(db)
        .await?;
    Ok(())
}
