//! The two tables of HPACK (RFC 7541 section 2.3): what is in them as fields that are read already, so that a request
//! that repeats an earlier one costs neither a parse nor a copy.

use std::collections::VecDeque;
use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};

/// RFC 7541 appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];
/// What an entry costs beside its name and value (section 4.1); a list of fields is measured alike (RFC 9113 section
/// 6.5.2).
const ENTRY_OVERHEAD: usize = 32;

/// A pseudo-header field of a request (RFC 9113 section 8.3.1, RFC 8441 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pseudo {
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// `:protocol`
    Protocol,
}

/// The name of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// One of those that begin with a colon.
    Pseudo(Pseudo),
    /// Any other.
    Plain(HeaderName),
    /// One that no request may have. Its length.
    Malformed(usize),
}

/// A field of a request's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// One whose name begins with a colon.
    Pseudo(Pseudo, Bytes),
    /// Any other.
    Plain(HeaderName, HeaderValue),
    /// One whose name or value no request may have. The length of its value.
    Malformed(Name, usize),
}

impl Name {
    pub(super) fn read(name: &[u8]) -> Self {
        if name.first() == Some(&b':') {
            return match name {
                b":method" => Self::Pseudo(Pseudo::Method),
                b":scheme" => Self::Pseudo(Pseudo::Scheme),
                b":authority" => Self::Pseudo(Pseudo::Authority),
                b":path" => Self::Pseudo(Pseudo::Path),
                b":protocol" => Self::Pseudo(Pseudo::Protocol),
                _ => Self::Malformed(name.len()),
            };
        }
        HeaderName::from_lowercase(name).map_or(Self::Malformed(name.len()), Self::Plain)
    }

    fn length(&self) -> usize {
        match self {
            Self::Pseudo(Pseudo::Method | Pseudo::Scheme) => 7,
            Self::Pseudo(Pseudo::Authority) => 10,
            Self::Pseudo(Pseudo::Path) => 5,
            Self::Pseudo(Pseudo::Protocol) => 9,
            Self::Plain(name) => name.as_str().len(),
            Self::Malformed(length) => *length,
        }
    }
}

impl Field {
    pub(super) fn new(name: Name, value: Bytes) -> Self {
        let length = value.len();
        match name {
            Name::Pseudo(name) if std::str::from_utf8(&value).is_ok() => Self::Pseudo(name, value),
            Name::Plain(name) => match HeaderValue::from_maybe_shared(value) {
                Ok(value) => Self::Plain(name, value),
                Err(_) => Self::Malformed(Name::Plain(name), length),
            },
            name => Self::Malformed(name, length),
        }
    }

    fn name(&self) -> Name {
        match self {
            Self::Pseudo(name, _) => Name::Pseudo(*name),
            Self::Plain(name, _) => Name::Plain(name.clone()),
            Self::Malformed(name, _) => name.clone(),
        }
    }

    /// Its size in a table and in a list of fields.
    pub(in crate::listen) fn size(&self) -> usize {
        let (name, value) = match self {
            Self::Pseudo(name, value) => (Name::Pseudo(*name).length(), value.len()),
            Self::Plain(name, value) => (name.as_str().len(), value.len()),
            Self::Malformed(name, value) => (name.length(), *value),
        };
        name + value + ENTRY_OVERHEAD
    }
}

static FIELDS: LazyLock<Vec<Field>> = LazyLock::new(|| {
    let field = |(name, value): &(&'static str, &'static str)| {
        Field::new(Name::read(name.as_bytes()), Bytes::from_static(value.as_bytes()))
    };
    STATIC.iter().map(field).collect()
});

/// What the client and we remember of its fields, the newest first.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Field>,
    size: usize,
    most: usize,
}

impl Table {
    pub(super) const fn new(most: usize) -> Self {
        Self { entries: VecDeque::new(), size: 0, most }
    }

    /// Keeps no more room than its entries need.
    pub(super) fn rest(&mut self) {
        self.entries.shrink_to_fit();
    }

    /// What the entries count.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// The field of an index (section 2.3.3).
    pub(super) fn field(&self, index: usize) -> Option<&Field> {
        let at = index.checked_sub(1)?;
        FIELDS.get(at).or_else(|| self.entries.get(at - FIELDS.len()))
    }

    pub(super) fn name(&self, index: usize) -> Option<Name> {
        self.field(index).map(Field::name)
    }

    /// One more, and the oldest go that have no room then (section 4.4).
    pub(super) fn add(&mut self, field: Field) {
        let size = field.size();
        self.shrink(self.most.saturating_sub(size));
        if size <= self.most {
            self.size += size;
            self.entries.push_front(field);
        }
    }

    /// Section 4.3.
    pub(super) fn resize(&mut self, most: usize) {
        self.most = most;
        self.shrink(most);
    }

    fn shrink(&mut self, most: usize) {
        while self.size > most
            && let Some(field) = self.entries.pop_back()
        {
            self.size -= field.size();
        }
    }
}

/// The place in the static table of a field's name, as answers have them.
pub(super) fn place(name: &str) -> Option<u8> {
    Some(match name {
        "accept-ranges" => 18,
        "access-control-allow-origin" => 20,
        "age" => 21,
        "allow" => 22,
        "cache-control" => 24,
        "content-disposition" => 25,
        "content-encoding" => 26,
        "content-language" => 27,
        "content-length" => 28,
        "content-location" => 29,
        "content-range" => 30,
        "content-type" => 31,
        "date" => 33,
        "etag" => 34,
        "expires" => 36,
        "last-modified" => 44,
        "link" => 45,
        "location" => 46,
        "retry-after" => 53,
        "server" => 54,
        "set-cookie" => 55,
        "strict-transport-security" => 56,
        "vary" => 59,
        "via" => 60,
        "www-authenticate" => 61,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_static_table() {
        let mut found = 0;
        for (name, _) in STATIC {
            if let Some(place) = place(name) {
                assert_eq!(STATIC[usize::from(place) - 1].0, name);
                found += 1;
            }
        }
        assert_eq!(found, 25);
        assert_eq!(place("x-unknown"), None);
    }

    #[test]
    fn the_oldest_go_when_there_is_no_room() {
        let field = |value: &'static str| Field::new(Name::read(b"x"), Bytes::from_static(value.as_bytes()));
        let mut table = Table::new(70);
        table.add(field("1"));
        table.add(field("2"));
        assert_eq!((table.field(62), table.field(63)), (Some(&field("2")), Some(&field("1"))));
        table.add(field("3"));
        assert_eq!((table.field(62), table.field(63)), (Some(&field("3")), Some(&field("2"))));
        assert_eq!(table.field(64), None);
        table.add(field("a value that is longer than all of the table"));
        assert_eq!((table.field(62), table.size), (None, 0));
    }
}
