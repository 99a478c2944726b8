//! Light or dark: a form on every page, a cookie, no script.

use axum::Form;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::frame::Theme;

/// A year: nobody wants to choose again.
const MAX_AGE_S: u32 = 365 * 24 * 3600;

/// The form at the foot of a page.
#[derive(Debug, Deserialize)]
pub(crate) struct Choice {
    theme: String,
    #[serde(default)]
    back: String,
}

/// `POST /theme`
pub(crate) async fn choose(Form(choice): Form<Choice>) -> Response {
    let theme = Theme::from_word(&choice.theme).name();
    let cookie = format!("theme={theme}; Path=/; Max-Age={MAX_AGE_S}; SameSite=Lax; HttpOnly");
    let mut response = Redirect::to(home(&choice.back)).into_response();
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

/// Only a path of ours: `//host` and `/\host` lead elsewhere in a browser.
fn home(back: &str) -> &str {
    let ours =
        back.starts_with('/') && !back[1..].starts_with(['/', '\\']) && !back.contains(char::is_control);
    if ours { back } else { "/" }
}

/// The theme that a browser was given.
pub(crate) fn of_cookies(cookies: &str) -> Theme {
    let word = cookies.split(';').find_map(|cookie| cookie.trim().strip_prefix("theme="));
    Theme::from_word(word.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_stays_in_the_house() {
        assert_eq!(home("/signatures?sort=nodes"), "/signatures?sort=nodes");
        for elsewhere in ["//evil.example", "/\\evil.example", "https://evil.example", "", "/a\r\nX: y"] {
            assert_eq!(home(elsewhere), "/", "{elsewhere:?}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        assert_eq!(of_cookies("a=b; theme=dark; c=d"), Theme::Dark);
        assert_eq!(of_cookies("a=theme=dark"), Theme::Auto);
    }
}
