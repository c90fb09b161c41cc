//! A request as the worker gets it. Which worker that is, and how it gets there, is decided in `forward`.

use http::header::{ACCEPT, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Request, Uri, Version};
use http_body::Body;

use super::refused::accepted;
use super::{LINES_BYTES, Visitor};
use crate::admit::caller::Caller;
use crate::config::{Credential, WorkerProtocol};
use crate::forward::headers::{self, Told};
use crate::forward::seen::{Has, Seen};
use crate::forward::source::Source;
use crate::forward::upgrade::{self, Wish};
use crate::forward::upload::Upload;
use crate::lines::{Beside, Lines};
use crate::service::Service;

/// A request ready to be sent, and what goes with it.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    pub(super) order: Request<Upload>,
    /// The protocol that it asks to go on with.
    pub(super) wish: Option<Wish>,
    /// Fields beside those in the map.
    pub(super) lines: Lines,
    /// The field that is not sent.
    pub(super) without: Option<&'a HeaderName>,
}

/// What the fields of a request said, before they are made fit for the worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    has: Has,
    /// The body's length is not known before its end.
    chunked: bool,
    /// `Content-Length` is there and not 0.
    lengthy: bool,
    /// There is an API key.
    key: bool,
}

/// Whose request it is.
#[derive(Debug)]
pub(super) struct Sender<'a> {
    pub(super) visitor: &'a Visitor,
    pub(super) service: &'a Service,
    /// The caller and its name.
    pub(super) caller: (&'a Caller, &'a str),
    pub(super) request_id: &'a [u8],
    pub(super) trusted: bool,
}

impl Said {
    pub(super) fn of(seen: &Seen<'_>, body: &Source, service: &Service) -> Self {
        let chunked = match body {
            Source::Http1(_) => seen.has.any(Has::TRANSFER_ENCODING),
            Source::None => false,
            Source::Http2(_) => !body.is_end_stream() && seen.length.is_none(),
        };
        let asks_key = || service.callers.callers().identify.contains(&Credential::ApiKey);
        Self {
            has: seen.has,
            chunked,
            lengthy: seen.length.is_some_and(|length| length != "0"),
            key: seen.key.is_some() && asks_key(),
        }
    }
}

/// The request as the worker gets it. `authority`: that of the request line, if it had one.
pub(super) fn prepare<'a>(
    parts: &mut Parts,
    (body, uri, authority): (Source, Uri, Option<String>),
    said: Said,
    sender: &Sender<'a>,
) -> Prepared<'a> {
    let config = &sender.service.config;
    let continues = said.has.any(Has::EXPECT)
        && parts.version != Version::HTTP_10
        && parts
            .headers
            .get(EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let asks = said.has.any(Has::UPGRADE) || parts.version == Version::HTTP_2;
    let wish = match config.worker_protocol {
        WorkerProtocol::Http1 if asks => upgrade::asked(parts, &config.upgrades),
        // HTTP/2 has no upgrade (RFC 9113 section 8.6).
        WorkerProtocol::Http1 | WorkerProtocol::Http2 => None,
    };
    let mut lines = Lines::with_capacity(LINES_BYTES);
    tell(parts, authority.as_deref(), (said, sender), &mut lines);
    if let Some(wish) = &wish {
        headers::ask_upgrade(&mut parts.headers, &wish.protocol);
    }
    let upload = Upload::new(body, config.bounds.body_bytes.unwrap_or(u64::MAX), continues);
    // What frames the next hop is the body that is sent, never a client's word for it.
    if upload.is_none() && said.lengthy {
        parts.headers.remove(CONTENT_LENGTH);
    }
    let mut order = Request::new(upload);
    *order.method_mut() = parts.method.clone();
    *order.uri_mut() = uri;
    *order.headers_mut() = std::mem::take(&mut parts.headers);
    // The key is the caller's secret and this door's business: the worker gets the name instead.
    let without = said.key.then_some(&sender.service.callers.callers().api_key_header);
    match config.worker_protocol {
        WorkerProtocol::Http1 => Prepared { order, wish, lines, without },
        // There are no lines in HTTP/2.
        WorkerProtocol::Http2 => {
            Beside { lines: lines.as_bytes(), without }.settle(order.headers_mut());
            Prepared { order, wish, lines: Lines::default(), without: None }
        }
    }
}

/// Makes the fields fit for the worker.
fn tell(parts: &mut Parts, authority: Option<&str>, (said, sender): (Said, &Sender<'_>), lines: &mut Lines) {
    let (visitor, config) = (sender.visitor, &sender.service.config);
    let told = Told {
        peer: &visitor.peer_value(),
        secure: visitor.is_secure(),
        certificate: config.forward_client_certificate.then(|| visitor.certificate_value()).flatten(),
        trusted: sender.trusted,
        caller: &visitor.caller_value(sender.caller.0, sender.caller.1),
        request_id: sender.request_id,
        version: parts.version,
        authority,
        chunked: said.chunked,
        nameless_host: config.name.as_str(),
    };
    headers::to_worker(&mut parts.headers, said.has, &told, lines);
}

/// What a late refusal needs of a request whose fields have gone to the worker.
#[derive(Debug, Default)]
pub(super) struct Left {
    host: Option<HeaderValue>,
    accept: Option<HeaderValue>,
}

impl Left {
    pub(super) fn of(seen: &Seen<'_>, headers: &HeaderMap, logged: bool) -> Self {
        let accept = if seen.has.any(Has::ACCEPT) { accepted(headers) } else { None };
        Self { host: seen.host.filter(|_| !logged).cloned(), accept }
    }

    /// Gives it back to the request.
    pub(super) fn settle(self, headers: &mut HeaderMap) {
        if let Some(host) = self.host {
            headers.insert(HOST, host);
        }
        if let Some(accept) = self.accept {
            headers.insert(ACCEPT, accept);
        }
    }
}
