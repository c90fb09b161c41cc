//! What a request is for: one host and one path, canonical, judged by the rules and sent to the worker.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

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
    pub(super) host: Rc<str>,
    path: path::Target<'a>,
    /// The authority of an absolute-form target; `Host` is made from it.
    pub(super) authority: Option<String>,
}

/// The host that a connection named last, as it was written and as it is meant: the next request mostly names the same.
#[derive(Debug)]
pub(super) struct LastHost {
    written: Box<[u8]>,
    host: Rc<str>,
    port: Option<u16>,
}

/// Reads the target and `Host` of a request.
///
/// # Errors
/// 400 if they are not valid, or if there are two hosts and they differ: RFC 9112 section 3.2.2 lets the target win,
/// but two readings of one request are what attacks are made of.
pub(super) fn read<'a>(
    method: &Method,
    asked: &'a Target,
    host: Option<&[u8]>,
    last: &RefCell<Option<Box<LastHost>>>,
) -> Result<Asked<'a>, Refusal> {
    let path = path::target(method, asked.path()).map_err(path::PathFault::refusal)?;
    let named = host.map(|written| host_of(written, last)).transpose()?;
    let Some(authority) = asked.authority() else {
        let host = named.map_or_else(|| Rc::from(""), |(host, _)| host);
        return Ok(Asked { host, path, authority: None });
    };
    let (host, port) = host_of(authority.as_bytes(), last)?;
    if let Some((field_host, field_port)) = named
        && (field_host != host || field_port != port)
    {
        return Err(bad("the target and `Host` name different hosts"));
    }
    let authority = match port {
        Some(port) => format!("{host}:{port}"),
        None => String::from(&*host),
    };
    Ok(Asked { host, path, authority: Some(authority) })
}

/// The canonical host and the port of what a field or a target names. Only what is valid is remembered.
fn host_of(written: &[u8], last: &RefCell<Option<Box<LastHost>>>) -> Result<(Rc<str>, Option<u16>), Refusal> {
    let mut last = last.borrow_mut();
    if let Some(last) = &*last
        && *last.written == *written
    {
        return Ok((Rc::clone(&last.host), last.port));
    }
    let text = std::str::from_utf8(written).map_err(|_| bad("`Host` is not text"))?;
    let (host, port) = host::canonical(text).map_err(host::HostFault::refusal)?;
    let host: Rc<str> = match host {
        Cow::Borrowed(host) => host.into(),
        Cow::Owned(host) => host.into(),
    };
    *last = Some(Box::new(LastHost { written: written.into(), host: Rc::clone(&host), port }));
    Ok((host, port))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn named(host: &str, last: &RefCell<Option<Box<LastHost>>>) -> Result<String, Refusal> {
        let target = Target::new("", "", "/");
        let asked = read(&Method::GET, &target, Some(host.as_bytes()), last)?;
        Ok(String::from(&*asked.host))
    }

    #[test]
    fn each_request_of_a_connection_is_for_the_host_that_it_names() {
        let last = RefCell::default();
        for _ in 0..2 {
            for (written, host) in
                [("a.test", "a.test"), ("a.test:80", "a.test"), ("B.test.", "b.test"), ("b.test", "b.test")]
            {
                assert_eq!(named(written, &last).unwrap(), host);
                assert_eq!(named(written, &last).unwrap(), host, "again");
            }
            assert!(named("a..test", &last).is_err());
            assert!(named("a..test", &last).is_err(), "what was refused is not remembered");
            assert!(named("", &last).is_err());
        }
    }

    #[test]
    fn a_target_and_a_field_that_name_two_hosts_are_refused_whatever_came_before() {
        let last = RefCell::default();
        let read = |authority: &str, host: &str| {
            let target = Target::new("http://", authority, "/");
            read(&Method::GET, &target, Some(host.as_bytes()), &last).map(|asked| asked.authority)
        };
        for _ in 0..2 {
            assert_eq!(read("a.test", "A.test").unwrap().as_deref(), Some("a.test"));
            assert_eq!(read("a.test:80", "a.test:80").unwrap().as_deref(), Some("a.test:80"));
            assert!(read("a.test", "b.test").is_err());
            assert!(read("a.test:80", "a.test:81").is_err());
        }
    }
}
