//! The static files: in the binary, under an address that holds their digest, so that a browser may keep them for
//! ever and never shows an old style sheet with a new page.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

struct Asset {
    name: &'static str,
    media: &'static str,
    bytes: &'static [u8],
}

const ASSETS: [Asset; 3] = [
    Asset {
        name: "tokens.css",
        media: "text/css; charset=utf-8",
        bytes: include_bytes!("../../static/tokens.css"),
    },
    Asset {
        name: "pages.css",
        media: "text/css; charset=utf-8",
        bytes: include_bytes!("../../static/pages.css"),
    },
    Asset { name: "icon.svg", media: "image/svg+xml", bytes: include_bytes!("../../static/icon.svg") },
];

/// The first 8 bytes of the digest of each, in hex.
static DIGESTS: LazyLock<[String; 3]> =
    LazyLock::new(|| ASSETS.each_ref().map(|asset| hex::encode(&Sha256::digest(asset.bytes)[..8])));

/// The address of a static file.
pub fn address(name: &str) -> String {
    let digest = ASSETS.iter().zip(DIGESTS.iter()).find(|(asset, _)| asset.name == name);
    format!("/static/{}/{name}", digest.map_or("-", |(_, digest)| digest))
}

/// `GET /static/{digest}/{name}`
pub async fn serve(Path((digest, name)): Path<(String, String)>) -> Response {
    let found =
        ASSETS.iter().zip(DIGESTS.iter()).find(|(asset, known)| asset.name == name && **known == digest);
    let Some((asset, _)) = found else { return StatusCode::NOT_FOUND.into_response() };
    let head = [
        (header::CONTENT_TYPE, asset.media),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (head, asset.bytes).into_response()
}
