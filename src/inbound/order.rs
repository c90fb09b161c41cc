//! A request as the worker gets it. Which worker that is, and how it gets there, is decided in `forward`.

use http::Version;
use http_body::Body;

use super::Visitor;
use super::refused::accepted;
use crate::config::{Credential, WorkerProtocol};
use crate::forward::headers::{self, Told};
use crate::forward::seen::{Has, Seen};
use crate::forward::source::Source;
use crate::forward::upgrade::{self, Wish};
use crate::forward::upload::Upload;
use crate::message::{Request, RequestHead, Target};
use crate::service::Service;

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

/// What a request is for, as the worker is told it.
#[derive(Debug)]
pub(super) struct Aim {
    /// None: the target as it came.
    pub(super) target: Option<Target>,
    /// That of the request line, if it had one.
    pub(super) authority: Option<String>,
}

/// Whose request it is.
#[derive(Debug)]
pub(super) struct Sender<'a> {
    pub(super) visitor: &'a Visitor,
    pub(super) service: &'a Service,
    /// The caller's name.
    pub(super) caller: &'a str,
    pub(super) request_id: &'a [u8],
    pub(super) trusted: bool,
}

impl Said {
    pub(super) fn of(seen: &Seen<'_>, body: &Source, service: &Service) -> Self {
        let chunked = match body {
            Source::Http1(_) => seen.has().any(Has::TRANSFER_ENCODING),
            Source::None => false,
            Source::Http2(_) => !body.is_end_stream() && seen.length().is_none(),
        };
        let asks_key = || service.callers.callers().identify.contains(&Credential::ApiKey);
        Self {
            has: seen.has(),
            chunked,
            lengthy: seen.length().is_some_and(|length| length != b"0"),
            key: seen.key().is_some() && asks_key(),
        }
    }
}

/// Makes a request the one that the worker gets. The protocol that it asks to go on with, if it does.
pub(super) fn prepare(
    order: &mut Request<Upload>,
    (body, aim): (Source, Aim),
    said: Said,
    sender: &Sender<'_>,
) -> Option<Wish> {
    let config = &sender.service.config;
    let head = &mut order.head;
    let continues = said.has.any(Has::EXPECT)
        && head.version != Version::HTTP_10
        && head.fields.get("expect").is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
    let asks = said.has.any(Has::UPGRADE) || head.version == Version::HTTP_2;
    let wish = match config.worker_protocol {
        WorkerProtocol::Http1 if asks => upgrade::asked(head, &config.upgrades),
        // HTTP/2 has no upgrade (RFC 9113 section 8.6).
        WorkerProtocol::Http1 | WorkerProtocol::Http2 => None,
    };
    order.body = Upload::new(body, config.bounds.body_bytes.unwrap_or(u64::MAX), continues);
    // What frames the next hop is the body that is sent, never a client's word for it.
    if order.body.is_none() && said.lengthy {
        head.fields.remove("content-length");
    }
    tell(head, aim.authority.as_deref(), (said, sender));
    if let Some(wish) = &wish {
        headers::ask_upgrade(&mut head.fields, &wish.protocol);
    }
    if let Some(target) = aim.target {
        head.target = target;
    }
    wish
}

/// Makes the fields fit for the worker.
fn tell(head: &mut RequestHead, authority: Option<&str>, (said, sender): (Said, &Sender<'_>)) {
    let (visitor, config) = (sender.visitor, &sender.service.config);
    let told = Told {
        origin: &visitor.origin(head.version),
        certificate: config.forward_client_certificate.then(|| visitor.certificate_text()).flatten(),
        trusted: sender.trusted,
        caller: sender.caller,
        request_id: sender.request_id,
        authority,
        chunked: said.chunked,
        // The key is the caller's secret and this door's business: the worker gets the name instead.
        key: said.key.then(|| sender.service.callers.callers().api_key_header.as_str()),
        nameless_host: config.name.as_str(),
    };
    headers::to_worker(&mut head.fields, said.has, &told);
}

/// What a late refusal needs of a request and will not find in it any more, once it is as the worker gets it.
#[derive(Debug, Default)]
pub(super) struct Left {
    target: Option<Target>,
    /// `Host`, if the worker is told another one.
    host: Option<Option<Vec<u8>>>,
    /// `Accept`, if it may have gone.
    accept: Option<Vec<u8>>,
}

impl Left {
    pub(super) fn of(seen: &Seen<'_>, head: &RequestHead, aim: &Aim) -> Self {
        let renamed = aim.authority.is_some() || seen.host().is_none();
        let accept = seen.has().any(Has::ACCEPT) && seen.has().any(Has::GOES);
        Self {
            target: aim.target.as_ref().map(|_| head.target.clone()),
            host: renamed.then(|| seen.host().map(<[u8]>::to_vec)),
            accept: if accept { accepted(&head.fields).map(|accept| accept.into_owned()) } else { None },
        }
    }

    /// Gives it back to the request.
    pub(super) fn settle(self, head: &mut RequestHead) {
        if let Some(target) = self.target {
            head.target = target;
        }
        if let Some(host) = self.host {
            head.fields.remove("host");
            host.iter().for_each(|host| head.fields.add("host", host));
        }
        if let Some(accept) = self.accept {
            head.fields.set("accept", &accept);
        }
    }
}
