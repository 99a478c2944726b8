//! The dashboard: pages made by the server, each as HTML, `.json` and `.txt` from the same values.
//!
//! A page is a [`View`]: plain values with an HTML template and a text form; its serialisation is the JSON form.
//! [`Asked`] is what a request asks for and the frame around the answer. No page needs a script, and none loads
//! anything from elsewhere.

pub(crate) mod assets;
pub(crate) mod crash;
pub(crate) mod crashes;
pub(crate) mod decode;
pub(crate) mod escape;
pub(crate) mod evidence;
pub(crate) mod filters;
pub(crate) mod frame;
pub(crate) mod health;
pub(crate) mod node;
pub(crate) mod nodes;
pub(crate) mod overview;
pub(crate) mod rate;
pub(crate) mod releases;
pub(crate) mod sentence;
pub(crate) mod signature;
pub(crate) mod signatures;
pub(crate) mod story;
pub(crate) mod symbols;
pub(crate) mod tasks;
pub(crate) mod theme;
pub(crate) mod unnamed;
pub(crate) mod words;
pub(crate) mod wrong;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Request, State};
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Serialize;

use crate::app::AppState;
use crate::auth::Reader;
use crate::problem::Error;
use crate::text::Text;
use frame::{Frame, Nav};

/// All pages.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(overview::show))
        .merge(forms("/overview", overview::show))
        .merge(forms("/signatures", signatures::show))
        .route("/signatures/{key}", get(signature::show))
        .merge(forms("/crashes", crashes::show))
        .route("/crashes/{key}", get(crash::show))
        .merge(forms("/releases", releases::show))
        .merge(forms("/nodes", nodes::show))
        .route("/nodes/{key}", get(node::show))
        .merge(forms("/symbols", symbols::show))
        .merge(decoding())
        .merge(forms("/unnamed", unnamed::show))
        .route("/evidence/{key}", get(evidence::show))
        .merge(forms("/health", health::show))
        .route("/theme", post(theme::choose))
        .layer(from_fn(guard))
        .route("/static/{digest}/{name}", get(assets::serve))
}

/// The one page that reads what it is sent.
fn decoding() -> Router<AppState> {
    let both = || get(decode::ask).post(decode::answer);
    Router::new()
        .route("/decode", both())
        .route("/decode.json", both())
        .route("/decode.txt", both())
        .layer(DefaultBodyLimit::max(decode::BODY))
}

/// A page under its address and the two with a suffix.
fn forms<H, T>(path: &str, handler: H) -> Router<AppState>
where
    H: Handler<T, AppState> + Clone,
    T: 'static,
{
    Router::new()
        .route(path, get(handler.clone()))
        .route(&format!("{path}.json"), get(handler.clone()))
        .route(&format!("{path}.txt"), get(handler))
}

/// What a page may do in a browser: show itself, its style sheets and its picture, and send a form home. There is
/// no script and nothing from elsewhere, so that a log that got through the escaping would still do nothing.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

async fn guard(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        // A crash may be triaged or located a moment later, and the theme is in a cookie.
        (header::CACHE_CONTROL, "private, no-cache"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// In which form a page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Html,
    Json,
    Text,
}

/// A page's values.
pub(crate) trait View: Serialize {
    /// Where it stands in the navigation.
    const AT: Nav;
    /// As HTML.
    fn html(&self, frame: &Frame) -> askama::Result<String>;
    /// As text.
    fn text(&self, text: &mut Text, now_us: i64);
}

/// What a request asks for, and the frame around the answer.
#[derive(Debug)]
pub(crate) struct Asked {
    form: Form,
    /// The frame.
    pub frame: Frame,
}

impl Asked {
    /// The last part of the path, without the suffix of its form: the id of one thing.
    pub fn key(&self) -> &str {
        let path = self.frame.path.split('?').next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default()
    }

    /// Now, as the page says it.
    pub fn now_us(&self) -> i64 {
        self.frame.now_us
    }

    /// The page in its form, or what went wrong in the same form.
    pub fn answer<V: View>(self, found: Result<V, Error>) -> Response {
        let view = match found {
            Ok(view) => view,
            Err(error) => return wrong::answer(self, error),
        };
        let Asked { form, mut frame } = self;
        frame.at = V::AT;
        match form {
            Form::Html => html(view.html(&frame)),
            Form::Json => axum::Json(view).into_response(),
            Form::Text => {
                let mut text = Text::default();
                view.text(&mut text, frame.now_us);
                let head = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
                (head, text.finish()).into_response()
            }
        }
    }
}

/// A rendered page.
fn html(rendered: askama::Result<String>) -> Response {
    match rendered {
        Ok(page) => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response(),
        Err(error) => {
            tracing::error!(%error, "a template failed");
            Error::Inside("a template failed").into_response()
        }
    }
}

/// Sends on to the page of what a thing has become.
pub(crate) fn moved(address: &str) -> Response {
    Redirect::permanent(address).into_response()
}

impl FromRequestParts<AppState> for Asked {
    type Rejection = Response;

    /// Only for those who may read: others get the page that asks for a token.
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Asked, Response> {
        let (path, form) = match parts.uri.path() {
            path if path.ends_with(".json") => (&path[..path.len() - 5], Form::Json),
            path if path.ends_with(".txt") => (&path[..path.len() - 4], Form::Text),
            path => (path, Form::Html),
        };
        let path = match parts.uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let cookies =
            parts.headers.get(header::COOKIE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let frame = Frame::new(&path, theme::of_cookies(cookies), health::summary(state).await);
        let asked = Asked { form, frame };
        match Reader::from_request_parts(parts, state).await {
            Ok(Reader) => Ok(asked),
            Err(error) => Err(wrong::answer(asked, error)),
        }
    }
}

/// What answers an address that nothing answers: a page for people, a problem document for programs.
pub async fn missing(State(app): State<AppState>, request: Request) -> Response {
    let mut parts = request.into_parts().0;
    let missing = crate::problem::not_found(format!("no page {}", parts.uri.path()));
    if parts.uri.path().starts_with("/api/") {
        return missing.into_response();
    }
    match Asked::from_request_parts(&mut parts, &app).await {
        Ok(asked) => wrong::answer(asked, missing),
        Err(refused) => refused,
    }
}

/// A node as people call it: its name, or else the beginning of its id.
pub(crate) fn node_name<'a>(name: &'a str, id: &'a str) -> &'a str {
    if name.is_empty() { id.get(..12).unwrap_or(id) } else { name }
}
