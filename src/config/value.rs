//! The single values of the file: how each is read from text, and what a schema says of it. Units stand in `units.rs`;
//! whether a value makes sense where it stands is the business of `check/`.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use http::{HeaderName, Method};
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::units::{Day, Frequency, Share, Size, Span};
use super::{Endpoint, HostPattern, PathPattern, Segment};

/// Declares a value that is read from text by a function, with its pattern and description for the schema.
macro_rules! value {
    ($(#[$doc:meta])* $name:ident($type:ty) = $read:expr, $pattern:expr, $description:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(super) struct $name(pub(super) $type);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Reader;
                impl Visitor<'_> for Reader {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($description)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        let read: fn(&str) -> Result<$type, String> = $read;
                        read(text).map($name).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Reader)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $description })
            }
        }
    };
}

mod edge;
mod resilience;

const SPAN: &str = "^([0-9]+(ns|us|ms|s|m|h|d))+$";
const SIZE: &str = "^[0-9]+(B|KB|KiB|MB|MiB|GB|GiB)$";

value!(
    /// A rate.
    RateText(Frequency) = Frequency::from_str, "^[0-9]+/(s|min|h|d)$", "a rate: `100/s`, `6000/min`, `10/h`, `5/d`"
);
value!(
    /// A duration.
    SpanText(Span) = Span::from_str, SPAN, "a duration: `500us`, `7ms`, `2s`, `5m`, `1h`, `30d`"
);
value!(
    /// A duration, or none.
    SpanOrOff(Option<Span>) = |text| or_off(text, Span::from_str),
    "^(off|none|([0-9]+(ns|us|ms|s|m|h|d))+)$", "a duration (`5s`), or `off`"
);
value!(
    /// A size.
    SizeText(Size) = Size::from_str, SIZE, "a size: `512B`, `10KB`, `64KiB`, `1MiB`"
);
value!(
    /// A size, or none.
    BytesOrNone(Option<Size>) = |text| or_off(text, Size::from_str),
    "^(off|none|[0-9]+(B|KB|KiB|MB|MiB|GB|GiB))$", "a size (`64KiB`), or `none`"
);
value!(
    /// A date.
    DayText(Day) = Day::from_str, "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "a date, the start of that day in UTC: `2027-03-01`"
);
value!(
    /// An address with its port.
    AddressText(SocketAddr) = address, "^(\\[[0-9a-fA-F:.]+\\]|[0-9.]+):[0-9]+$",
    "an address and a port: `127.0.0.1:4070`, `\"[::1]:4070\"`"
);
value!(
    /// An address with its port, or a socket of the file system, whose path is as it was written.
    EndpointText(Endpoint) = edge::endpoint, "^((\\[[0-9a-fA-F:.]+\\]|[0-9.]+):[0-9]+|unix:[^@].*)$",
    "an address and a port, or a socket of the file system: `127.0.0.1:4070`, `\"[::1]:4070\"`, `unix:/path`"
);
value!(
    /// A share of the whole.
    ShareText(Share) = Share::from_str, "^[0-9]+%$", "a share: `20%`"
);
value!(
    /// Statuses of a worker: one, or all from one to another.
    StatusText(RangeInclusive<u16>) = resilience::statuses, "^[2-5][0-9]{2}(-[2-5][0-9]{2})?$",
    "a status, or the first and the last of several: `200`, `200-299`"
);
value!(
    /// The target of a request: a path, with or without a query.
    TargetText(Arc<str>) = resilience::target, "^/[!-~]*$", "a path, with its query: `/healthz`, `/healthz?full=1`"
);
value!(
    /// What stands in `Host`.
    AuthorityText(Arc<str>) = resilience::authority, "^[!-~]+$", "a host, with or without a port: `playlist.example.test`"
);
value!(
    /// The permission bits of a socket.
    ModeBits(u32) = edge::mode_bits, "^0?[0-7]{3}$", "the mode of a socket, in octal: `\"0660\"`"
);
value!(
    /// A name that stands in a certificate.
    CertificateName(Arc<str>) = edge::certificate_name, "^(spiffe://[a-z0-9._-]+(/[a-zA-Z0-9._-]+)+|[a-zA-Z0-9._-]+)$",
    "a name in a certificate: `spiffe://example.test/playlist`, `playlist.example.test`"
);
value!(
    /// A network.
    NetworkText(IpNet) = network, "^[0-9a-fA-F:.]+(/[0-9]+)?$", "a network: `192.0.2.0/24`, `2001:db8::/32`, `127.0.0.1`"
);
value!(
    /// The hash of a key.
    KeyHash([u8; 32]) = key_hash, "^sha256:[0-9a-f]{64}$", "the hash of a key, as `buckler key` prints it: `sha256:...`"
);
value!(
    /// The name of a header.
    HeaderText(HeaderName) = header, "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "the name of a header: `x-api-key`"
);
value!(
    /// A method.
    MethodText(Method) = method, "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "a method: `GET`, `DELETE`"
);
value!(
    /// A host or a pattern of hosts.
    HostText(HostPattern) = host, "^[^/]+$", "a host: `example.test`, `*.example.test`"
);
value!(
    /// A pattern of paths.
    PathText(PathPattern) = path, "^/", "a path pattern: `/search/**`, `/users/*/avatar`"
);

fn or_off<T>(text: &str, read: fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    match text {
        "none" | "off" => Ok(None),
        _ => read(text).map(Some),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Err(format!(
            "`unix:{path}`: only services and workers can be sockets of the file system\nwrite `127.0.0.1:4070` or `\"[::1]:4070\"`"
        ));
    }
    text.parse().map_err(|_| {
        let why = match text.rsplit_once(':') {
            None => ": the port is missing",
            Some((host, _)) if host.contains(':') && !host.starts_with('[') => {
                ": an IPv6 address needs brackets"
            }
            Some((host, _)) if host.bytes().any(|b| b.is_ascii_alphabetic()) && !host.contains(':') => {
                ": names are not looked up here"
            }
            Some(_) => "",
        };
        format!("`{text}` is not an address with a port{why}\nwrite `127.0.0.1:4070` or `\"[::1]:4070\"`")
    })
}

fn network(text: &str) -> Result<IpNet, String> {
    let wrong = || format!("`{text}` is not a network\nwrite `192.0.2.0/24`, `2001:db8::/32` or one address");
    let net = match text.parse::<std::net::IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().map_err(|_| wrong())?,
    };
    if let IpNet::V6(v6) = net
        && let Some(v4) = v6.addr().to_ipv4_mapped()
    {
        return Err(format!(
            "`{text}`: such callers are known by their IPv4 address\nwrite it as one, like `{v4}`"
        ));
    }
    if net.addr() != net.network() {
        let (network, only) = (net.trunc(), net.addr());
        return Err(format!(
            "`{text}` has bits after its prefix\nwrite `{network}` for the network or `{only}` for one address"
        ));
    }
    Ok(net)
}

fn key_hash(text: &str) -> Result<[u8; 32], String> {
    // The text may be the key itself: it stands in no message.
    let help = "never write the key itself: `buckler key` makes a key and the `sha256:` line for this place";
    let Some(hex) = text.strip_prefix("sha256:") else {
        return Err(format!("this is not a key's hash, `sha256:` and 64 hex digits\n{help}"));
    };
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' | b'A'..=b'F' => Some((byte | 0x20) - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let mut hash = [0; 32];
    let read = hash.iter_mut().zip(pairs).try_for_each(|(byte, [high, low])| {
        *byte = digit(*high)? << 4 | digit(*low)?;
        Some(())
    });
    if read.is_some() && pairs.len() == hash.len() && rest.is_empty() {
        return Ok(hash);
    }
    let long = hex.chars().count();
    Err(format!("a key's hash has 64 hex digits after `sha256:`, this has {long} characters\n{help}"))
}

fn header(text: &str) -> Result<HeaderName, String> {
    HeaderName::from_str(text)
        .map_err(|_| format!("`{text}` is not the name of a header\nwrite one like `x-api-key`"))
}

fn method(text: &str) -> Result<Method, String> {
    let wrong = || format!("`{text}` is not a method\nwrite one like `GET` or `DELETE`");
    let method = Method::from_str(text).map_err(|_| wrong())?;
    if text.bytes().any(|b| b.is_ascii_lowercase()) {
        let upper = text.to_ascii_uppercase();
        return Err(format!(
            "`{text}`: methods are compared with their case (RFC 9110 section 9.1)\nwrite `{upper}`"
        ));
    }
    Ok(method)
}

fn host(text: &str) -> Result<HostPattern, String> {
    let (one_label, name) = match text.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let canonical = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let bracketed = canonical.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let v6: Option<std::net::Ipv6Addr> = bracketed.and_then(|v6| v6.parse().ok()).filter(|_| !one_label);
    if let Some(v6) = v6 {
        return Ok(HostPattern::Exact(format!("[{v6}]").into()));
    }
    let is_name = !canonical.is_empty()
        && canonical.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
    if !is_name {
        let why = if canonical.contains(':') { ": hosts are compared without their port" } else { "" };
        return Err(format!(
            "`{text}` is not a host{why}\nwrite `example.test`, or `*.example.test` for one label more"
        ));
    }
    Ok(if one_label {
        HostPattern::OneLabel(format!(".{canonical}").into())
    } else {
        HostPattern::Exact(canonical.into())
    })
}

const NEVER_IN_A_PATH: &str = "broken encodings, encoded slashes, backslashes and control bytes, and paths above the root are refused before";

fn path(text: &str) -> Result<PathPattern, String> {
    let Some(rest) = text.strip_prefix('/') else {
        return Err(format!("the path pattern `{text}` must start with `/`\nwrite `/{text}`"));
    };
    if let Some(wrong) = text.chars().find(|c| matches!(c, '?' | '#' | '\\') || c.is_control()) {
        let wrong = wrong.escape_default();
        return Err(format!(
            "`{wrong}` is never in a path that rules see\nwrite the path alone, without query or fragment"
        ));
    }
    let canonical = canonical_path(text);
    if canonical.as_deref() != Some(text) {
        let help = match canonical {
            Some(canonical) => format!("write `{canonical}`"),
            None => NEVER_IN_A_PATH.to_owned(),
        };
        return Err(format!(
            "`{text}` can match no request: paths are normalised before rules see them\n{help}"
        ));
    }
    let count = rest.split('/').count();
    let mut segments = Vec::with_capacity(count);
    for (i, segment) in rest.split('/').enumerate() {
        segments.push(match segment {
            "*" => Segment::One,
            "**" if i + 1 == count => Segment::Rest,
            "**" => return Err(format!("`**` may only stand last, in `{text}`\nwrite `*` for one segment")),
            _ if segment.contains('*') => {
                return Err(format!("`*` stands for a whole segment, not for a part as in `{segment}`\nwrite `*` or the whole text"));
            }
            _ => Segment::Literal(segment.into()),
        });
    }
    Ok(PathPattern { written: Arc::from(text), segments })
}

/// The path as rules see it: unreserved characters decoded, others encoded with upper-case digits, no dot segments, no
/// empty segments except a last one. None if no path with this spelling ever reaches a rule: broken encoding, an
/// encoded slash, backslash or control character, above the root, dot segments with parameters, and empty ones with
/// parameters before the last.
fn canonical_path(path: &str) -> Option<String> {
    let mut kept: Vec<String> = Vec::new();
    let mut folder = true;
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let segment = canonical_segment(segment)?;
        if segments.peek().is_some() && [";", "%3B"].iter().any(|start| segment.starts_with(start)) {
            return None;
        }
        folder = matches!(segment.as_str(), "" | "." | "..");
        match segment.as_str() {
            "" | "." => {}
            ".." => drop(kept.pop()?),
            name if [".;", "..;", ".%3B", "..%3B"].iter().any(|dots| name.starts_with(dots)) => return None,
            _ => kept.push(segment),
        }
    }
    let end = if folder && !kept.is_empty() { "/" } else { "" };
    Some(format!("/{}{end}", kept.join("/")))
}

fn canonical_segment(segment: &str) -> Option<String> {
    let (bytes, mut out, mut i) = (segment.as_bytes(), String::with_capacity(segment.len()), 0);
    while let Some(&byte) = bytes.get(i) {
        let mut byte = byte;
        let encoded = byte == b'%';
        if encoded {
            let digits =
                segment.get(i + 1..i + 3).filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()))?;
            byte = u8::from_str_radix(digits, 16).ok()?;
            i += 2;
        }
        i += 1;
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let plain = b"!$&'()*+,;=:@".contains(&byte);
        match byte {
            0..=0x1F | 0x7F | b'/' | b'\\' if encoded => return None,
            _ if unreserved || (plain && !encoded) => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    Some(out)
}
