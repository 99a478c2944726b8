//! Secrets of a data folder: the signing key and the first tokens, files that only their owner reads.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use handover::key::SigningKey;
use sqlx::SqliteConnection;

use crate::clock::now_us;
use crate::problem::Error;
use crate::{random, store};

/// The tokens that the first start makes: the file's name, and what each may do.
const FIRST: [(&str, &str); 4] =
    [("ingest", "ingest"), ("read", "read"), ("symbols", "symbols"), ("admin", "admin read symbols")];

/// Makes a folder that only its owner enters.
pub fn folder(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::disk("making the folder", path))
}

/// The key that signs receipts, made at the first start. Without it the service could not prove its own
/// receipts, so a file that is there and cannot be read is an error and never replaced.
pub fn signing_key(data: &Path) -> Result<SigningKey, Error> {
    let path = data.join("signing.key");
    let seed: [u8; 32] = match fs::read_to_string(&path) {
        Ok(text) => {
            let mut seed = [0; 32];
            let wrong = |_| io::Error::new(io::ErrorKind::InvalidData, "not 64 hexadecimal digits");
            hex::decode_to_slice(text.trim(), &mut seed)
                .map_err(wrong)
                .map_err(Error::disk("reading", &path))?;
            seed
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let seed = random::bytes();
            write(&path, &hex::encode(seed))?;
            seed
        }
        Err(error) => return Err(Error::disk("reading", &path)(error)),
    };
    Ok(SigningKey::from_seed(&seed))
}

/// A new token: 256 random bits, behind a word by which scanners of repositories know it.
pub fn token() -> String {
    format!("lastwords_{}", URL_SAFE_NO_PAD.encode(random::bytes::<32>()))
}

/// Makes the first tokens if there never was one, and says in which files they are.
pub async fn first_tokens(data: &Path, db: &mut SqliteConnection) -> Result<Vec<PathBuf>, Error> {
    if store::token::count(&mut *db).await? > 0 {
        return Ok(Vec::new());
    }
    let tokens = data.join("tokens");
    folder(&tokens)?;
    let mut files = Vec::new();
    for (name, scopes) in FIRST {
        let secret = token();
        let path = tokens.join(name);
        write(&path, &secret)?;
        let new = store::token::New { secret: &secret, name, scopes, node: None, expires_us: None };
        store::token::insert(&mut *db, &new, now_us()).await?;
        files.push(path);
    }
    Ok(files)
}

/// Writes one line, durably, for its owner alone. What a killed first start left is written anew.
fn write(path: &Path, line: &str) -> Result<(), Error> {
    let unfinished = path.with_extension("new");
    let _ = fs::remove_file(&unfinished);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(Error::disk("creating", &unfinished))?;
    writeln!(file, "{line}").map_err(Error::disk("writing", &unfinished))?;
    crate::blobs::durable(&file, &unfinished, path)
}
