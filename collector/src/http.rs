//! One request to a service, and what can go wrong with it before there is an answer of ours.

use std::io::Read;
use std::net::IpAddr;
use std::time::Duration;

use handover::problem::Problem;
use handover::{PROTOCOL, PROTOCOL_HEADER, SERVICE_HEADER, ServiceId};
use ureq::http::{Request, Response, Uri};
use ureq::{Agent, Body, SendBody};

/// The most that is read of an answer: 500 receipts, or 120 keys.
const ANSWER: u64 = 4 << 20;

/// Where the service's resources are.
const BASE: &str = "/api/v1";

/// What a server must answer within to a connection attempt.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a connection may stand still.
const STALL: Duration = Duration::from_secs(30);

/// A service under one of its addresses.
#[derive(Debug)]
pub struct Client {
    base: String,
    token: Option<String>,
    agent: Agent,
}

/// How to reach a service.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Allows plain HTTP to other machines.
    pub insecure: bool,
    /// Certificates (PEM) to trust instead of the public roots.
    pub ca: Option<Vec<u8>>,
}

/// An answer of the service, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Which service it was.
    pub service: ServiceId,
    /// `Retry-After`, if it asked for one, held within 1 s and 1 h.
    pub retry_after: Option<Duration>,
    /// `Location`, a path below ours.
    pub location: Option<String>,
    /// `Upload-Offset`.
    pub offset: Option<u64>,
    /// The body.
    pub body: Vec<u8>,
}

/// No answer of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The server cannot be reached, or something else answered in its place.
    Away(String),
    /// TLS failed: the certificate is not trusted, or a clock is wrong.
    Tls(String),
}

/// A request with a body.
pub struct Upload<'a> {
    /// `PUT`, `POST` or `PATCH`.
    pub method: &'static str,
    /// Media type of the body.
    pub media_type: &'static str,
    /// Further headers.
    pub headers: &'a [(&'static str, String)],
    /// Bytes that `body` will give.
    pub length: u64,
    /// The body.
    pub body: &'a mut dyn Read,
}

impl Client {
    /// For the service at `url`, without and with a token.
    pub fn new(url: &str, token: Option<String>, settings: &Settings) -> Result<Client, String> {
        let base = url.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|error| format!("the server {url:?} is no URL: {error}"))?;
        match (uri.scheme_str(), uri.host()) {
            (Some("https"), Some(_)) => {}
            (Some("http"), Some(host)) if settings.insecure || is_loopback(host) => {}
            (Some("http"), Some(_)) => {
                return Err(format!("{base} is plain HTTP to another machine; use https or --insecure"));
            }
            _ => return Err(format!("the server {url:?} is no http or https URL")),
        }
        let is_word = |text: &String| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if !token.as_ref().is_none_or(is_word) {
            return Err("the token is not one word of visible ASCII".to_owned());
        }
        Ok(Client { base, token, agent: agent(settings)? })
    }

    /// The service's address.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// `GET`.
    pub fn get(&self, path: &str, within: Duration) -> Result<Answer, NoAnswer> {
        self.send("GET", path, within, None)
    }

    /// A request with a body.
    pub fn upload(&self, path: &str, within: Duration, upload: Upload<'_>) -> Result<Answer, NoAnswer> {
        self.send(upload.method, path, within, Some(upload))
    }

    /// `POST` of a JSON document.
    pub fn post_json(&self, path: &str, within: Duration, body: &[u8]) -> Result<Answer, NoAnswer> {
        self.json("POST", path, within, body)
    }

    /// `PUT` of a JSON document.
    pub fn put_json(&self, path: &str, within: Duration, body: &[u8]) -> Result<Answer, NoAnswer> {
        self.json("PUT", path, within, body)
    }

    fn json(
        &self,
        method: &'static str,
        path: &str,
        within: Duration,
        mut body: &[u8],
    ) -> Result<Answer, NoAnswer> {
        let length = body.len() as u64;
        let upload = Upload { method, media_type: "application/json", headers: &[], length, body: &mut body };
        self.send(method, path, within, Some(upload))
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        within: Duration,
        upload: Option<Upload<'_>>,
    ) -> Result<Answer, NoAnswer> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{BASE}{path}", self.base))
            .header(PROTOCOL_HEADER, PROTOCOL);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = match upload {
            Some(Upload { method: _, media_type, headers, length, body }) => {
                let request = request.header("content-type", media_type).header("content-length", length);
                let request =
                    headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
                self.run(request.body(SendBody::from_reader(body)), within)?
            }
            None => self.run(request.body(()), within)?,
        };
        self.read(response)
    }

    fn run<B: ureq::AsSendBody>(
        &self,
        request: Result<Request<B>, ureq::http::Error>,
        within: Duration,
    ) -> Result<Response<Body>, NoAnswer> {
        let request = request.map_err(|error| NoAnswer::Away(error.to_string()))?;
        let request = self.agent.configure_request(request).timeout_global(Some(within)).build();
        self.agent.run(request).map_err(|error| self.no_answer(error))
    }

    fn read(&self, response: Response<Body>) -> Result<Answer, NoAnswer> {
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let protocol = header(PROTOCOL_HEADER).and_then(|text| text.trim().parse::<u32>().ok());
        let service = header(SERVICE_HEADER).and_then(|text| text.trim().parse().ok());
        let (Some(_), Some(service)) = (protocol, service) else {
            let what = response.status();
            return Err(NoAnswer::Away(format!(
                "{} answered {what}, but is no lastwords service",
                self.base
            )));
        };
        let retry_after = header("retry-after")
            .and_then(|text| text.trim().parse::<u64>().ok())
            .map(|seconds| Duration::from_secs(seconds.clamp(1, 3600)));
        let location = header("location").and_then(|path| path.strip_prefix(BASE)).map(str::to_owned);
        let offset = header("upload-offset").and_then(|text| text.trim().parse().ok());
        let status = response.status().as_u16();
        let mut body = Vec::new();
        response
            .into_body()
            .into_with_config()
            .limit(ANSWER)
            .reader()
            .read_to_end(&mut body)
            .map_err(|error| NoAnswer::Away(format!("the answer of {} was cut off: {error}", self.base)))?;
        Ok(Answer { status, service, retry_after, location, offset, body })
    }

    /// The words of rustls, and what to look at: a certificate out of its time is often a clock out of its.
    fn distrusted(&self, error: &dyn std::fmt::Display) -> NoAnswer {
        let why = error.to_string();
        let of_time = ["expired", "not valid yet"].iter().any(|word| why.contains(word));
        let look = if of_time { "; is this machine's clock right?" } else { "" };
        NoAnswer::Tls(format!("TLS with {}: {why}{look}", self.base))
    }

    fn no_answer(&self, error: ureq::Error) -> NoAnswer {
        let base = &self.base;
        match error {
            ureq::Error::Rustls(error) => self.distrusted(&error),
            ureq::Error::Tls(error) => self.distrusted(&error),
            // rustls reports what the handshake found as an I/O error of this kind.
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                self.distrusted(&error)
            }
            error => NoAnswer::Away(format!("{base} cannot be reached: {error}")),
        }
    }
}

impl Answer {
    /// Whether it is a success.
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The refusal's code and text, as far as the body tells.
    pub fn problem(&self) -> Problem {
        let problem = serde_json::from_slice(&self.body);
        problem.unwrap_or_else(|_| Problem::new(self.status, "no-problem-document", ""))
    }
}

fn agent(settings: &Settings) -> Result<Agent, String> {
    let mut tls = ureq::tls::TlsConfig::builder();
    if let Some(pem) = &settings.ca {
        let certificates: Vec<_> = ureq::tls::parse_pem(pem)
            .filter_map(|item| match item {
                Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        if certificates.is_empty() {
            return Err("the CA file holds no certificate".to_owned());
        }
        tls = tls.root_certs(ureq::tls::RootCerts::new_with_certs(&certificates));
    }
    let config = Agent::config_builder()
        .tls_config(tls.build())
        .http_status_as_error(false)
        // A redirect would carry evidence and token to a place nobody configured.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(concat!("lastwords-agent/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT))
        .timeout_per_read(Some(STALL))
        .timeout_per_write(Some(STALL))
        // Small, since an agent that has nothing to do shall not hold memory.
        .input_buffer_size(16 * 1024)
        .output_buffer_size(16 * 1024)
        .max_response_header_size(16 * 1024)
        .build();
    Ok(Agent::new_with_config(config))
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        let open = Settings { insecure: true, ca: None };
        let safe = Settings::default();
        for url in ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:8080", "https://crash.example"]
        {
            assert!(Client::new(url, None, &safe).is_ok(), "{url}");
        }
        for url in ["http://crash.example", "http://10.0.0.1", "http://127.0.0.1.example"] {
            assert!(Client::new(url, None, &safe).is_err(), "{url}");
            assert!(Client::new(url, None, &open).is_ok(), "{url}");
        }
        for url in ["", "crash.example", "ftp://crash.example", "https://"] {
            assert!(Client::new(url, None, &open).is_err(), "{url}");
        }
    }

    #[test]
    fn a_token_is_one_word() {
        let safe = Settings::default();
        for token in ["", "two words", "line\nbreak", "ümlaut"] {
            assert!(Client::new("http://localhost", Some(token.to_owned()), &safe).is_err(), "{token:?}");
        }
    }
}
