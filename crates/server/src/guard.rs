//! What every request must be, and what every answer carries. A request is checked here before its
//! route sees it, so no route can forget to check.
//!
//! [`answer`] does this in the hub's own server. [`embedded`] does it for the hub's routes in a
//! server that embeds the hub, and leaves all other paths of that server alone.
//!
//! This file must not know what a route does, only which methods each path has. Grants are the
//! routes' business.

use std::{future::ready, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, header};
use hyper::{body::Incoming, service::Service};
use percent_encoding::percent_decode_str;
use warp::{Filter, Reply, path::FullPath, reply::Response};

use super::{
    context::Context,
    limiter::Peer,
    mounts::{Mounts, Routes},
    problem::Problem,
};
use hubplane_hub::Limited;
use hubplane_identity::Access;

/// How long a browser may remember that pages of an origin may send a request, in seconds.
const PREFLIGHT_AGE: &str = "600";

/// Answers a request in the hub's own server: checks it, calls `service` if it may go on, and
/// completes the answer's headers. It returns an error only where `service` does.
pub(super) async fn answer<S>(
    access: &Access,
    mounts: &Mounts,
    (service, peer): (&S, impl FnOnce(&HeaderMap) -> Result<Peer, Limited>),
    mut request: Request<Incoming>,
) -> Result<Response, S::Error>
where
    S: Service<Request<Incoming>, Response = Response>,
{
    let path = request.uri().path();
    let page = page(access, mounts, path, request.headers());
    let asked = Asked {
        method: request.method(),
        path,
        query: request.uri().query().unwrap_or_default(),
        headers: request.headers(),
    };
    // The host comes first: a request for a foreign name learns nothing else of this hub.
    let early = match check_host(access, request.version(), request.headers()) {
        Err(problem) => Some(problem.into_response()),
        Ok(()) => asked.early(mounts, page.is_some()),
    };
    let peer = match early {
        Some(response) => Err(response),
        None => peer(request.headers()).map_err(|it| Problem::limited(&it).into_response()),
    };
    let mut response = match peer {
        Err(response) => response,
        Ok(peer) => {
            // The route, and a session that comes of it, take another one with them. This one
            // counts until the answer is there.
            request.extensions_mut().insert(peer.clone());
            if request.method() == Method::HEAD {
                // The routes know GET. hyper leaves the body of an answer to HEAD away.
                *request.method_mut() = Method::GET;
            }
            let answered = service.call(request).await;
            drop(peer);
            answered?
        }
    };
    finish(&mut response, page);
    Ok(response)
}

/// Does the same for the hub's routes in another server, whose own paths go on as they are. That
/// server must itself limit the size of heads and the time that a request may take, and it answers
/// HEAD as it likes.
pub(super) fn embedded(context: &Context, mounts: &Mounts, routes: Routes) -> Routes {
    let (access, table) = (Arc::clone(&context.access), mounts.clone());
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    let head = warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned());
    let early = head
        .and_then(
            move |method: Method, path: FullPath, query: String, headers: HeaderMap| {
                let asked = Asked {
                    method: &method,
                    path: path.as_str(),
                    query: &query,
                    headers: &headers,
                };
                let early = asked.embedded(&access, &table);
                ready(early.ok_or_else(warp::reject::not_found))
            },
        )
        .boxed();
    let (access, mounts) = (Arc::clone(&context.access), mounts.clone());
    warp::path::full()
        .and(warp::header::headers_cloned())
        .and(early.or(routes).unify())
        .map(
            move |path: FullPath, headers: HeaderMap, mut response: Response| {
                let page = page(&access, &mounts, path.as_str(), &headers);
                finish(&mut response, page);
                response
            },
        )
        .boxed()
}

/// The parts of a request that are checked before its route sees it.
struct Asked<'a> {
    method: &'a Method,
    path: &'a str,
    query: &'a str,
    headers: &'a HeaderMap,
}

impl Asked<'_> {
    /// Returns the answer to a request that no route is to see: a problem, or the answer to a
    /// browser's preflight question.
    fn early(&self, mounts: &Mounts, page_is_allowed: bool) -> Option<Response> {
        match self.check(mounts) {
            Err(problem) => Some(problem.into_response()),
            Ok(()) if self.method == Method::OPTIONS => {
                Some(preflight(mounts, self.path, page_is_allowed))
            }
            Ok(()) => None,
        }
    }

    /// Does the same in another server. Returns `None` if the path is not one of the hub's.
    fn embedded(&self, access: &Access, mounts: &Mounts) -> Option<Response> {
        methods(mounts, self.path)?;
        // HTTP/1.0 allows a request without Host, so this accepts one: that server decides about
        // it.
        if let Err(problem) = check_host(access, Version::HTTP_10, self.headers) {
            return Some(problem.into_response());
        }
        let page = page(access, mounts, self.path, self.headers);
        self.early(mounts, page.is_some())
    }
}

/// Sets the headers of every answer. No answer may be kept by a cache, since each of them depends
/// on the moment; `nosniff` keeps a browser from taking a message's data for a script or a page.
fn finish(response: &mut Response, page: Option<HeaderValue>) {
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(origin) = page {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
}

/// Returns the methods of a path, as the header `Allow` lists them (RFC 9110, 10.2.1). `None`: the
/// hub has no such path.
fn methods(mounts: &Mounts, path: &str) -> Option<&'static str> {
    match path {
        _ if mounts.websocket_at(path).is_some() => Some("GET"),
        "/v1/publish" => Some("POST, OPTIONS"),
        "/v1/disconnect" => Some("POST"),
        "/live" | "/ready" | "/metrics" | "/v1/backplane" => Some("GET, HEAD"),
        _ if is_of_a_user(path) => Some("GET, HEAD"),
        _ if is_of_a_channel(path) => Some("GET, HEAD, OPTIONS"),
        _ => None,
    }
}

/// Returns true for `/v1/users/{user}/connections`.
fn is_of_a_user(path: &str) -> bool {
    let rest = path
        .strip_prefix("/v1/users/")
        .and_then(|rest| rest.split_once('/'));
    matches!(rest, Some((_, "connections")))
}

/// Returns true for `/v1/channels/{channel}/history` and `…/presence`. A slash inside a channel's
/// name is `%2F` here.
fn is_of_a_channel(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/v1/channels/") else {
        return false;
    };
    matches!(rest.split_once('/'), Some((_, "history" | "presence")))
}

/// Returns the origin to name in `Access-Control-Allow-Origin`: that of the page that asks, if the
/// operator has listed it and the path is one that pages may use. Pages of the hub's own host need
/// no such header.
fn page(access: &Access, mounts: &Mounts, path: &str, headers: &HeaderMap) -> Option<HeaderValue> {
    let is_for_pages = methods(mounts, path)?.ends_with("OPTIONS");
    let origin = headers.get(header::ORIGIN)?;
    let allowed = is_for_pages && access.has_origins() && access.origin_is_allowed(headers);
    allowed.then(|| origin.clone())
}

/// Answers a browser that asks whether a page may send a request (a preflight; the Fetch standard,
/// 3.3).
fn preflight(mounts: &Mounts, path: &str, allowed: bool) -> Response {
    if !allowed {
        let detail =
            "pages of this origin may not read here; the hub's operator can allow it with --origin";
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            methods(mounts, path).unwrap_or_default(),
        ),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, idempotency-key",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

impl Asked<'_> {
    /// Checks what is the same for all of the hub's paths: the length of the body, the query, and
    /// the method.
    fn check(&self, mounts: &Mounts) -> Result<(), Problem> {
        check_transfer(self.headers)?;
        if percent_decode_str(self.query).decode_utf8().is_err() {
            let detail = "the query is not UTF-8";
            return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
        }
        let (path, method) = (self.path, self.method.as_str());
        match methods(mounts, path) {
            Some(known) if !known.split(", ").any(|it| it == method) => {
                let usual = known.split(',').next().unwrap_or_default();
                let detail = format!("use {usual} for {path}");
                Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
                    .with_header(header::ALLOW, known))
            }
            _ => Ok(()),
        }
    }
}

/// Checks that there is one `Host` (RFC 9112, 3.2), and that it is a name which this hub answers
/// to. Without the latter, a page could reach this hub by letting its own name resolve to this
/// machine (DNS rebinding).
fn check_host(access: &Access, version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    let mut all = headers.get_all(header::HOST).iter();
    match (all.next(), all.next()) {
        (None, None) if version < Version::HTTP_11 => Ok(()),
        (Some(host), None) if access.host_is_allowed(host.to_str().unwrap_or_default()) => Ok(()),
        (Some(_), None) => Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this hub does not answer to this Host; its operator can name the host with --host",
        )),
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "a request has one Host header",
        )),
    }
}

/// Refuses a request whose body a proxy in front might take for longer or shorter than the hub does
/// (RFC 9112, 6.1): the two would then disagree about where the next request begins, which is how
/// requests are smuggled past a proxy.
fn check_transfer(headers: &HeaderMap) -> Result<(), Problem> {
    let mut all = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(()),
        (Some(_), None) if headers.contains_key(header::CONTENT_LENGTH) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "a body has Content-Length or Transfer-Encoding, not both",
        )),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "Transfer-Encoding is chunked, and nothing else",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_their_methods() {
        for (path, known) in [
            ("/ws", Some("GET")),
            ("/v1/publish", Some("POST, OPTIONS")),
            ("/ready", Some("GET, HEAD")),
            ("/v1/channels/a.b/history", Some("GET, HEAD, OPTIONS")),
            ("/v1/channels/a%2Fb/presence", Some("GET, HEAD, OPTIONS")),
            ("/v1/channels/a/b/history", None),
            ("/v1/channels/a", None),
            ("/", None),
        ] {
            assert_eq!(methods(&Mounts::default(), path), known, "{path}");
        }
    }

    #[test]
    fn bodies_have_one_length() {
        let with = |lines: &[(header::HeaderName, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(name, HeaderValue::from_static(value));
            }
            check_transfer(&headers).is_ok()
        };
        let (coding, length) = (header::TRANSFER_ENCODING, header::CONTENT_LENGTH);
        assert!(with(&[]));
        assert!(with(&[(length.clone(), "3")]));
        assert!(with(&[(coding.clone(), "Chunked")]));
        assert!(!with(&[(coding.clone(), "gzip, chunked")]));
        assert!(!with(&[(coding.clone(), "identity")]));
        assert!(!with(&[
            (coding.clone(), "chunked"),
            (coding.clone(), "chunked")
        ]));
        assert!(!with(&[(coding, "chunked"), (length, "3")]));
    }
}
