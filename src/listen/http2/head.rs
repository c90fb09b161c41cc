//! The head of a request (RFC 9113 sections 8.2 and 8.3): from its fields to an [`http::Request`], or the word that it
//! is malformed. What it means, and what more is asked of it, is judged in `inbound/http2_head.rs`.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version, uri};

use super::super::frames::{Flood, FloodKind};
use super::super::hpack::{Field, Pseudo};

/// So many times `bounds.head_bytes` a head may have, unpacked, before the whole connection ends: up to there it is
/// answered with 431.
const HEAD_FACTOR: usize = 4;

/// What is asked for on a stream beside HTTP itself (RFC 8441 section 4).
#[derive(Clone, Debug)]
pub(in crate::listen) struct Protocol(pub(in crate::listen) Bytes);

/// The fields of one header block.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pseudo: [Option<Bytes>; 5],
    plain: HeaderMap,
    size: usize,
    malformed: bool,
}

/// What a header block is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Size {
    Fits,
    /// Longer than `bounds.head_bytes`.
    TooLarge,
}

impl Fields {
    /// One more; false once there are far too many.
    pub(super) fn take(&mut self, field: Field, most: usize) -> bool {
        self.size += field.size();
        if self.size > most {
            return self.size <= most.saturating_mul(HEAD_FACTOR);
        }
        match field {
            Field::Plain(name, value) => {
                self.malformed |= is_of_one_hop(&name) || (name == TE && value != "trailers");
                self.malformed |= self.plain.try_append(name, value).is_err();
            }
            Field::Pseudo(name, value) => {
                let place = &mut self.pseudo[name as usize];
                self.malformed |= place.is_some() || !self.plain.is_empty();
                *place = Some(value);
            }
            Field::Malformed(..) => self.malformed = true,
        }
        true
    }

    /// Whether it is a head that can be looked at.
    ///
    /// # Errors
    /// It is far too large.
    pub(super) const fn size(&self, most: usize) -> Result<Size, Flood> {
        if self.size > most.saturating_mul(HEAD_FACTOR) {
            return Err(Flood::calm(FloodKind::HeaderList, "a head that is far too large when unpacked"));
        }
        Ok(if self.size > most { Size::TooLarge } else { Size::Fits })
    }

    /// What `Content-Length` says. One that is no number is refused further on.
    pub(super) fn length(&self) -> Option<u64> {
        self.plain.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// As trailers. None: malformed.
    pub(super) fn trailers(self) -> Option<HeaderMap> {
        (!self.malformed && self.pseudo.iter().all(Option::is_none)).then_some(self.plain)
    }

    /// As the head of a request. None: malformed.
    pub(super) fn request(mut self) -> Option<Request<()>> {
        if self.malformed {
            return None;
        }
        let mut of = |name: Pseudo| self.pseudo[name as usize].take();
        let method = Method::from_bytes(&of(Pseudo::Method)?).ok()?;
        let (scheme, authority, path) = (of(Pseudo::Scheme), of(Pseudo::Authority), of(Pseudo::Path));
        let protocol = of(Pseudo::Protocol);
        let connects = method == Method::CONNECT;
        let tunnels = connects && protocol.is_none();
        let complete = scheme.is_some() != tunnels
            && (path.is_some() || !connects || tunnels)
            && (!tunnels || path.is_none())
            && (connects || protocol.is_none());
        if !complete {
            return None;
        }
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = target(scheme, authority, path)?;
        *request.headers_mut() = self.plain;
        if let Some(protocol) = protocol {
            request.extensions_mut().insert(Protocol(protocol));
        }
        Some(request)
    }
}

fn target(scheme: Option<Bytes>, authority: Option<Bytes>, path: Option<Bytes>) -> Option<Uri> {
    let mut parts = uri::Parts::default();
    parts.authority = authority.map(Authority::from_maybe_shared).transpose().ok()?;
    let scheme = scheme.map(|scheme| match &*scheme {
        b"https" => Ok(Scheme::HTTPS),
        b"http" => Ok(Scheme::HTTP),
        other => Scheme::try_from(other),
    });
    // A Uri has no scheme without an authority.
    parts.scheme = scheme.transpose().ok()?.filter(|_| parts.authority.is_some());
    parts.path_and_query = match path {
        Some(path) if path.is_empty() => return None,
        path => path.map(PathAndQuery::from_maybe_shared).transpose().ok()?,
    };
    Uri::from_parts(parts).ok()
}

/// RFC 9113 section 8.2.2.
fn is_of_one_hop(name: &HeaderName) -> bool {
    name == CONNECTION
        || name == TRANSFER_ENCODING
        || name == UPGRADE
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}
