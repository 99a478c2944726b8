//! A browser shows a token once and reads on with a cookie.

use axum::Form;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use crate::app::AppState;
use crate::auth::COOKIE;
use crate::clock::now_us;
use crate::problem::{Error, unauthorized};
use crate::random;
use crate::store::{rollup, token};

/// Days that a browser is not asked again.
const DAYS: i64 = 30;

/// The form on the page that asks for a token.
#[derive(Debug, Deserialize)]
pub struct Shown {
    token: String,
    /// Path to go on to.
    #[serde(default)]
    back: String,
}

/// `POST /session`
pub async fn open(
    State(app): State<AppState>,
    headers: HeaderMap,
    Form(Shown { token, back }): Form<Shown>,
) -> Result<Response, Error> {
    let now = now_us();
    let grant = token::by_secret(app.store.read(), token.trim(), now).await?;
    let grant = grant.ok_or_else(|| unauthorized("the token is not known, has expired or was revoked"))?;
    let secret = random::hex::<32>();
    let mut transaction = app.store.write().await?;
    let expires_us = now + DAYS * rollup::DAY_US;
    token::open_session(&mut transaction, &secret, grant.token, now, expires_us).await?;
    transaction.commit().await?;
    // Lax: a link from a chat leads to the page, and a form elsewhere cannot decide anything.
    let secure =
        if headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https") { "; Secure" } else { "" };
    let age = DAYS * 24 * 3600;
    let cookie = format!("{COOKIE}={secret}; Path=/; Max-Age={age}; SameSite=Lax; HttpOnly{secure}");
    let mut response = Redirect::to(home(&back)).into_response();
    response.headers_mut().insert(header::SET_COOKIE, HeaderValue::from_str(&cookie).expect("hex digits"));
    Ok(response)
}

/// Only a path of ours: `//host` and `/\host` lead elsewhere in a browser.
fn home(back: &str) -> &str {
    let ours =
        back.starts_with('/') && !back[1..].starts_with(['/', '\\']) && !back.contains(char::is_control);
    if ours { back } else { "/" }
}
