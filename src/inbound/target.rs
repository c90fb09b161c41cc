//! What a request is for: one host and one path, canonical, judged by the rules and sent to the worker.

use std::borrow::Cow;

use http::Method;

use crate::admit::{host, path};
use crate::message::Target;
use crate::refusal::{Reason, Refusal};

/// The longest path with its query, in bytes: what the `http` crate holds, which workers of HTTP/2 are asked by.
const LONGEST: usize = 65_534;

/// A request's host and path in their one canonical form.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// Without port; empty for an HTTP/1.0 request that names none.
    pub(super) host: Cow<'a, str>,
    path: path::Target<'a>,
    /// The authority of an absolute-form target; `Host` is made from it.
    pub(super) authority: Option<Cow<'a, str>>,
}

/// Reads the target and `Host` of a request.
///
/// # Errors
/// 400 if they are not valid, or if there are two hosts and they differ: RFC 9112 section 3.2.2 lets the target win,
/// but two readings of one request are what attacks are made of.
pub(super) fn read<'a>(
    method: &Method,
    asked: &'a Target,
    host: Option<&'a [u8]>,
) -> Result<Asked<'a>, Refusal> {
    let path = path::target(method, asked.path()).map_err(path::PathFault::refusal)?;
    let field = match host {
        Some(value) => Some(std::str::from_utf8(value).map_err(|_| bad("`Host` is not text"))?),
        None => None,
    };
    let named = field.map(host::canonical).transpose().map_err(host::HostFault::refusal)?;
    let Some(authority) = asked.authority() else {
        let host = named.map_or(Cow::Borrowed(""), |(host, _)| host);
        return Ok(Asked { host, path, authority: None });
    };
    let (host, port) = host::canonical(authority).map_err(host::HostFault::refusal)?;
    if let Some((field_host, field_port)) = named
        && (field_host != host || field_port != port)
    {
        return Err(bad("the target and `Host` name different hosts"));
    }
    let authority = match port {
        Some(port) => Cow::Owned(format!("{host}:{port}")),
        None => host.clone(),
    };
    Ok(Asked { host, path, authority: Some(authority) })
}

impl Asked<'_> {
    /// The canonical path, or `*`.
    pub(super) fn path(&self) -> &str {
        self.path.as_str()
    }

    /// The target as the worker gets it: the canonical path and the query as it came. None: just so it came.
    pub(super) fn for_worker(&self, asked: &Target) -> Result<Option<Target>, Refusal> {
        let path = self.path();
        if asked.authority().is_none() && asked.path() == path {
            return Ok(None);
        }
        let target = match asked.query() {
            Some(query) => Target::new("", "", &format!("{path}?{query}")),
            None => Target::new("", "", path),
        };
        // It may have become longer, by what had to be encoded.
        if target.path_and_query().len() > LONGEST {
            return Err(bad("the target is longer than a URI may be"));
        }
        Ok(Some(target))
    }
}

const fn bad(detail: &'static str) -> Refusal {
    Refusal::new(Reason::BadRequest, detail)
}
