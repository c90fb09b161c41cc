//! The head of a request (RFC 9113 sections 8.2 and 8.3): from its fields to a [`RequestHead`], or the word that it is
//! malformed. What it means, and what more is asked of it, is judged in `inbound/http2_head.rs`.

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Uri, Version, uri};

use super::super::frames::{Flood, FloodKind};
use super::super::hpack::{Field, Kind, Pseudo};
use crate::fields::{self, Fields};
use crate::message::{RequestHead, Target};

/// So many times `bounds.head_bytes` a head may have, unpacked, before the whole connection ends: up to there it is
/// answered with 431.
const HEAD_FACTOR: usize = 4;

/// The fields of one header block.
#[derive(Default)]
pub(super) struct Block {
    target: PseudoFields,
    fields: Fields,
    size: usize,
    malformed: bool,
}

/// What the pseudo-header fields say.
#[derive(Default)]
struct PseudoFields {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    protocol: Option<Bytes>,
}

/// What a header block is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Size {
    Fits,
    /// Longer than `bounds.head_bytes`.
    TooLarge,
}

impl Block {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { fields: Fields::new(), ..Self::default() }
    }

    /// One more; false once there are far too many. `known` is the authority of the request before, which is that of
    /// the next one too as a rule.
    pub(super) fn take(&mut self, field: Field<'_>, most: usize, known: &mut Option<Authority>) -> bool {
        self.size += field.size();
        if self.size > most {
            return self.size <= most.saturating_mul(HEAD_FACTOR);
        }
        let Field { kind, name, value, never_indexed } = field;
        self.malformed |= match kind {
            Kind::Plain => {
                self.fields.push(name, value);
                if never_indexed {
                    self.fields.never_index(name);
                }
                is_of_one_hop(name) || (name == b"te" && value != b"trailers")
            }
            Kind::Pseudo(name) => !self.fields.is_empty() || self.target.take(name, value, known).is_none(),
            Kind::Malformed => true,
        };
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
        fields::text(self.fields.get("content-length")?)?.parse().ok()
    }

    /// As trailers, of which there may be `most`. None: malformed, or more of them.
    pub(super) fn trailers(self, most: usize) -> Option<HeaderMap> {
        (!self.malformed && self.target.is_empty() && self.fields.len() <= most).then(|| self.fields.to_map())
    }

    /// As the head of a request, with what is asked for on its stream beside HTTP itself (RFC 8441 section 4). None:
    /// malformed.
    pub(super) fn request(self) -> Option<(RequestHead, Option<Bytes>)> {
        if self.malformed {
            return None;
        }
        let PseudoFields { method, scheme, authority, path, protocol } = self.target;
        let method = method?;
        let connects = method == Method::CONNECT;
        let tunnels = connects && protocol.is_none();
        let complete = scheme.is_some() != tunnels
            && (path.is_some() || !connects || tunnels)
            && (!tunnels || path.is_none())
            && (connects || protocol.is_none());
        if !complete {
            return None;
        }
        let mut parts = uri::Parts::default();
        // A Uri has no scheme without an authority.
        parts.scheme = scheme.filter(|_| authority.is_some());
        (parts.authority, parts.path_and_query) = (authority, path);
        let (uri, fields) = (Uri::from_parts(parts).ok()?, self.fields);
        Some((
            RequestHead {
                method,
                target: Target::of(&uri),
                version: Version::HTTP_2,
                fields,
                section: None,
                names: None,
                extended: None,
            },
            protocol,
        ))
    }
}

impl PseudoFields {
    /// One more. None: it is there already, or no such thing.
    fn take(&mut self, name: Pseudo, value: &[u8], known: &mut Option<Authority>) -> Option<()> {
        fn put<T>(place: &mut Option<T>, value: T) -> Option<()> {
            place.replace(value).is_none().then_some(())
        }
        let owned = || Bytes::copy_from_slice(value);
        match name {
            Pseudo::Method => put(&mut self.method, Method::from_bytes(value).ok()?),
            Pseudo::Scheme => put(
                &mut self.scheme,
                match value {
                    b"https" => Scheme::HTTPS,
                    b"http" => Scheme::HTTP,
                    other => Scheme::try_from(other).ok()?,
                },
            ),
            Pseudo::Authority => put(
                &mut self.authority,
                match known {
                    Some(known) if known.as_str().as_bytes() == value => known.clone(),
                    _ => known.insert(Authority::from_maybe_shared(owned()).ok()?).clone(),
                },
            ),
            // A fragment would be cut off, and the rest served as if that were all.
            Pseudo::Path if value.is_empty() || value.contains(&b'#') => None,
            Pseudo::Path => put(&mut self.path, PathAndQuery::from_maybe_shared(owned()).ok()?),
            Pseudo::Protocol => put(&mut self.protocol, owned()),
        }
    }

    const fn is_empty(&self) -> bool {
        self.method.is_none()
            && self.scheme.is_none()
            && self.authority.is_none()
            && self.path.is_none()
            && self.protocol.is_none()
    }
}

/// RFC 9113 section 8.2.2.
const fn is_of_one_hop(name: &[u8]) -> bool {
    matches!(name, b"connection" | b"transfer-encoding" | b"upgrade" | b"keep-alive" | b"proxy-connection")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_fragment_is_malformed() {
        let judge =
            |path: &'static [u8]| PseudoFields::default().take(Pseudo::Path, path, &mut None).is_some();
        assert!(judge(b"/a?b=%23"));
        for path in [&b"/a#b"[..], b"/#", b"#", b"/a?b#c"] {
            assert!(!judge(path), "{path:?}");
        }
    }
}
