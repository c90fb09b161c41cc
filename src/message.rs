//! Requests and responses as they are on their way, whatever protocol they came by: a head and a body. What a body is
//! differs on each side and stands there; how heads are read and written too.

pub mod target;

use std::num::NonZeroU64;

use http::{Method, StatusCode, Version};

use crate::fields::Fields;
pub use target::Target;

/// A request.
#[derive(Debug)]
pub struct Request<B> {
    /// Its head.
    pub head: RequestHead,
    /// Its body.
    pub body: B,
}

/// The head of a request.
#[derive(Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The target: a path, or with scheme and authority what an absolute form and HTTP/2 say.
    pub target: Target,
    /// What it came by: HTTP/1.0, 1.1 or 2.
    pub version: Version,
    /// The fields.
    pub fields: Fields,
    /// Requests of one connection that have the same number here came with the same fields in the same version, byte
    /// for byte. None: it is not known.
    pub section: Option<NonZeroU64>,
    /// Those that have the same number here came with fields of the same names in the same order, in the same version.
    /// None: it is not known.
    pub names: Option<NonZeroU64>,
    /// What an extended CONNECT asks for (RFC 8441).
    pub extended: Option<Box<Extended>>,
}

/// What a request of HTTP/2 asks to go on with on its stream (RFC 8441).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extended {
    /// The protocol.
    pub protocol: Vec<u8>,
    /// The `Sec-WebSocket-Key` that a worker of HTTP/1.1 is asked with in its place.
    pub key: Vec<u8>,
}

/// A response.
#[derive(Debug)]
pub struct Response<B> {
    /// Its head.
    pub head: ResponseHead,
    /// Its body.
    pub body: B,
}

/// The head of a response.
#[derive(Debug)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// The words behind the status, if they are not those that everybody uses: visible ASCII, blanks and tabs.
    pub reason: Option<Box<[u8]>>,
    /// The fields.
    pub fields: Fields,
}

impl RequestHead {
    /// Of HTTP/1.1, without any field.
    pub fn new(method: Method, target: Target) -> Self {
        let (version, fields) = (Version::HTTP_11, Fields::new());
        Self { method, target, version, fields, section: None, names: None, extended: None }
    }
}

impl<B> Response<B> {
    /// With this status, without any field.
    pub fn new(status: StatusCode, body: B) -> Self {
        Self { head: ResponseHead { status, reason: None, fields: Fields::new() }, body }
    }

    /// The same head with another body.
    pub fn map<C>(self, change: impl FnOnce(B) -> C) -> Response<C> {
        Response { head: self.head, body: change(self.body) }
    }
}
