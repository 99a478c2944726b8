//! Who may do what: tokens for programs, a session for a browser, and nothing to show on one's own machine.
//!
//! Handing over always needs a token with scope `ingest`, and putting debug files in one with `symbols`. Reading
//! needs `read`, unless the service listens on loopback only and the request names it by a loopback name: then
//! whoever can connect could read the data folder as well. The `Host` is looked at because a page from elsewhere
//! can make a browser ask a name of its own that leads to 127.0.0.1, and because a proxy in front makes every
//! client look local.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use handover::NodeId;

use crate::app::AppState;
use crate::clock::now_us;
use crate::problem::{Error, forbidden, unauthorized};
use crate::store::token::{self, Grant};

/// The name of the session cookie.
pub const COOKIE: &str = "lastwords";

/// A caller who may hand over.
#[derive(Clone, Debug)]
pub struct Ingest(Grant);

/// A caller who may read.
#[derive(Clone, Copy, Debug)]
pub struct Reader;

/// A caller who may put debug files in.
#[derive(Clone, Copy, Debug)]
pub struct SymbolsKeeper;

/// A caller who may decide: merge, split, rename.
#[derive(Clone, Debug)]
pub struct Decider {
    /// Who decided, for the record.
    pub name: String,
}

impl Ingest {
    /// Whether the caller may speak for a node.
    pub fn speaks_for(&self, node: &NodeId) -> Result<(), Error> {
        match self.0.node {
            Some(bound) if bound != *node => {
                Err(forbidden("wrong-node", "the token is bound to another node"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the caller may hand over what was made up.
    pub fn may_send_canaries(&self) -> bool {
        allows(&self.0, "canary")
    }
}

/// Makes a caller of a request's head, or refuses.
macro_rules! caller {
    ($caller:ty, $parts:ident, $state:ident, $made:expr) => {
        impl FromRequestParts<AppState> for $caller {
            type Rejection = Error;

            async fn from_request_parts($parts: &mut Parts, $state: &AppState) -> Result<$caller, Error> {
                $made
            }
        }
    };
}

caller!(Ingest, parts, app, scoped(&parts.headers, app, "ingest").await.map(Ingest));
caller!(SymbolsKeeper, parts, app, scoped(&parts.headers, app, "symbols").await.map(|_| SymbolsKeeper));
caller!(Decider, parts, app, {
    let grant = scoped(&parts.headers, app, "admin").await?;
    Ok(Decider { name: format!("{} (token {})", grant.name, grant.token) })
});
caller!(Reader, parts, app, {
    if app.open_to_local_readers && names_loopback(&parts.headers) {
        return Ok(Reader);
    }
    scoped(&parts.headers, app, "read").await.map(|_| Reader)
});

/// What the caller's token, or the token behind its session, allows, if that includes `scope`.
async fn scoped(headers: &HeaderMap, state: &AppState, scope: &str) -> Result<Grant, Error> {
    let grant = match (bearer(headers), cookie(headers)) {
        (Some(secret), _) => token::by_secret(state.store.read(), secret, now_us()).await?,
        (None, Some(cookie)) => token::by_cookie(state.store.read(), cookie, now_us()).await?,
        (None, None) => return Err(unauthorized(format!("no token; one with scope {scope} is needed"))),
    };
    let grant = grant.ok_or_else(|| unauthorized("the token is not known, has expired or was revoked"))?;
    if allows(&grant, scope) {
        Ok(grant)
    } else {
        Err(forbidden("wrong-scope", format!("it lacks scope {scope}")))
    }
}

fn allows(grant: &Grant, scope: &str) -> bool {
    grant.scopes.split(' ').any(|word| word == scope)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|value| value.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

/// Whether the request was meant for a loopback name and was not passed on by a proxy.
fn names_loopback(headers: &HeaderMap) -> bool {
    let passed_on = headers.contains_key(header::FORWARDED) || headers.contains_key("x-forwarded-for");
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let loopback = name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    !passed_on && (loopback || name.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_loopback_name_is_local() {
        let check = |host: &'static str, expected| {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            assert_eq!(names_loopback(&headers), expected, "{host}");
        };
        check("localhost", true);
        check("localhost:8080", true);
        check("127.0.0.1:8080", true);
        check("127.8.8.8", true);
        check("[::1]:8080", true);
        check("evil.example:8080", false);
        check("localhost.evil.example", false);
        check("10.0.0.1:8080", false);
        check("", false);
    }

    #[test]
    fn what_a_proxy_passes_on_is_not_local() {
        let headers = HeaderMap::from_iter([
            (header::HOST, HeaderValue::from_static("127.0.0.1")),
            (header::FORWARDED, HeaderValue::from_static("for=192.0.2.1")),
        ]);
        assert!(!names_loopback(&headers));
    }
}
