//! The upgrade of HTTP/1.1 (RFC 9110 section 7.8): which requests may ask a worker for one, and whether the worker's
//! answer grants just that. Only after such an answer do bytes flow, through [`super::tunnel`]; until then what the
//! client sends is held by its socket (the class of CVE-2026-2833).

use std::sync::Arc;

use http::{StatusCode, Version};

use super::websocket;
use crate::config::{Service, WorkerProtocol};
use crate::fields::Fields;
use crate::message::{RequestHead, ResponseHead};

/// The protocol that a request asks to go on with, if it may: `Connection: upgrade` and one `Upgrade` with one
/// protocol of `allowed` (lower case, without its version), in HTTP/1.1, without a body. What may not is served as if
/// it had not been asked.
///
/// A request with a body is among these: the new protocol would begin behind a body that the worker may not have read
/// when it answers, and two readings of where that is are what smuggling is made of.
pub fn asked(head: &RequestHead, allowed: &[Arc<str>]) -> Option<Wish> {
    if let Some(extended) = &head.extended {
        let accept = Some(websocket::accept(&extended.key));
        let protocol = extended.protocol.clone();
        return is_allowed(&protocol, allowed).then_some(Wish { protocol, accept });
    }
    let fields = &head.fields;
    let has_body = fields.contains("transfer-encoding")
        || fields.get("content-length").is_some_and(|length| length != b"0");
    if head.version != Version::HTTP_11 || has_body || !names_upgrade(fields) {
        return None;
    }
    let protocol =
        one_protocol(fields.get_all("upgrade")).filter(|protocol| is_allowed(protocol, allowed))?;
    Some(Wish { protocol: protocol.to_vec(), accept: None })
}

/// What a request asks to go on with.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The protocol.
    pub protocol: Vec<u8>,
    /// The `Sec-WebSocket-Accept` that an agreement has to bear, where the client cannot look at it.
    accept: Option<Vec<u8>>,
}

impl Wish {
    /// Whether the worker's answer switches to this protocol and to nothing else.
    pub fn is_granted(&self, status: StatusCode, fields: &Fields) -> bool {
        status == StatusCode::SWITCHING_PROTOCOLS
            && one_protocol(fields.get_all("upgrade"))
                .is_some_and(|granted| granted.eq_ignore_ascii_case(&self.protocol))
    }

    /// Whether the worker has read the key that it was sent (RFC 6455 section 4.1, point 4). A client of HTTP/1.1 made
    /// the key, and looks for itself.
    pub fn is_accepted(&self, fields: &Fields) -> bool {
        let Some(accept) = &self.accept else { return true };
        let mut lines = fields.get_all("sec-websocket-accept");
        lines.next().is_some_and(|said| said == &accept[..]) && lines.next().is_none()
    }
}

/// Whether a stream of HTTP/2 may go on as a WebSocket at all: the file allows it, and the workers speak the version
/// that has upgrades (RFC 9113 section 8.6).
pub fn carries_websocket(service: &Service) -> bool {
    service.worker_protocol == WorkerProtocol::Http1
        && service.upgrades.iter().any(|allowed| **allowed == *"websocket")
}

/// Whether this answer would be taken for an agreement that it is not: a client of RFC 8441 takes any 2xx for one.
pub fn is_misleading(asked: &RequestHead, status: StatusCode) -> bool {
    status.is_success() && asked.extended.is_some()
}

/// Makes the head of an answer that switches protocols one that says so in HTTP/2 (RFC 8441 section 5).
pub fn say_in_http2(answer: &mut ResponseHead) {
    answer.status = StatusCode::OK;
    for name in ["connection", "upgrade", "sec-websocket-accept"] {
        answer.fields.remove(name);
    }
}

/// The only protocol that these lines of `Upgrade` name.
fn one_protocol<'a>(mut lines: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let line = lines.next()?;
    // Of a token's bytes these are enough for every registered protocol and its version.
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._+/".contains(byte);
    (lines.next().is_none() && !line.is_empty() && line.iter().all(plain)).then_some(line)
}

fn names_upgrade(fields: &Fields) -> bool {
    let names = |value: &[u8]| {
        value.split(|byte| *byte == b',').any(|o| o.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    };
    fields.get_all("connection").any(names)
}

fn is_allowed(protocol: &[u8], allowed: &[Arc<str>]) -> bool {
    let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
    allowed.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::message::Target;

    fn asks(pairs: &[(&str, &str)]) -> Option<String> {
        let mut head = RequestHead::new(Method::GET, Target::new("", "", "/chat"));
        pairs.iter().for_each(|(name, value)| head.fields.add(name, value.as_bytes()));
        let wish = asked(&head, &["websocket".into(), "spdy".into()]);
        wish.map(|wish| String::from_utf8(wish.protocol).unwrap())
    }

    #[test]
    fn one_protocol_that_may_pass_is_asked_for() {
        for (upgrade, connection) in
            [("websocket", "Upgrade"), ("WebSocket", "keep-alive, upgrade"), ("spdy/3.1", "upgrade")]
        {
            assert_eq!(asks(&[("upgrade", upgrade), ("connection", connection)]).unwrap(), upgrade);
        }
    }

    #[test]
    fn what_would_hide_requests_or_is_not_plain_is_not_asked_for() {
        for upgrade in [
            "h2c",
            "H2C",
            "HTTP/2.0",
            "TLS/1.3",
            "mqtt",
            "websocket, h2c",
            "h2c, websocket",
            "",
            "web socket",
            "a;b",
        ] {
            assert_eq!(asks(&[("upgrade", upgrade), ("connection", "upgrade")]), None, "{upgrade}");
        }
        let two = [("upgrade", "websocket"), ("upgrade", "websocket"), ("connection", "upgrade")];
        assert_eq!(asks(&two), None);
        assert_eq!(asks(&[("upgrade", "websocket")]), None);
        assert_eq!(asks(&[("upgrade", "websocket"), ("connection", "x-upgrade")]), None);
    }

    #[test]
    fn a_request_with_a_body_is_no_upgrade() {
        let with = |more| asks(&[("upgrade", "websocket"), ("connection", "upgrade"), more]);
        assert!(with(("content-length", "0")).is_some());
        for more in [("content-length", "5"), ("content-length", "00"), ("transfer-encoding", "chunked")] {
            assert_eq!(with(more), None, "{more:?}");
        }
    }

    #[test]
    fn only_the_protocol_that_was_asked_for_is_granted() {
        let websocket = Wish { protocol: b"websocket".to_vec(), accept: None };
        let answer = |status: u16, upgrade: &[&'static str]| {
            let mut fields = Fields::new();
            upgrade.iter().for_each(|value| fields.add("upgrade", value.as_bytes()));
            websocket.is_granted(StatusCode::from_u16(status).unwrap(), &fields)
        };
        assert!(answer(101, &["WebSocket"]));
        assert!(!answer(200, &["websocket"]));
        assert!(!answer(101, &[]) && !answer(101, &["h2c"]));
        assert!(!answer(101, &["websocket", "websocket"]) && !answer(101, &["websocket, h2c"]));
    }
}
