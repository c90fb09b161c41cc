//! The two tables of HPACK (RFC 7541 section 2.3). The names and values that a client had remembered stand in one
//! buffer, one behind the other, and what each is was judged when it came: a request that repeats an earlier one costs
//! no parse, and a field of the table no memory but its bytes.

use std::collections::VecDeque;

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

/// What a field is by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of those that begin with a colon.
    Pseudo(Pseudo),
    /// Any other.
    Plain,
    /// Its name, or its value, is one that no request may have.
    Malformed,
}

/// A field of a request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its name, in lower case unless it is malformed.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// No hop may put it into a table (section 6.2.3).
    pub never_indexed: bool,
}

impl Kind {
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Pseudo(Pseudo::Method),
            b":scheme" => Self::Pseudo(Pseudo::Scheme),
            b":authority" => Self::Pseudo(Pseudo::Authority),
            b":path" => Self::Pseudo(Pseudo::Path),
            b":protocol" => Self::Pseudo(Pseudo::Protocol),
            [_, ..] if name.len() <= LONGEST_NAME && name.iter().all(|byte| is_of_name(*byte)) => Self::Plain,
            _ => Self::Malformed,
        }
    }

    /// What a field of such a name is with this value.
    fn with(self, value: &[u8]) -> Self {
        let sound = match self {
            Self::Pseudo(_) => std::str::from_utf8(value).is_ok(),
            // RFC 9110 section 5.5, without the obsolete.
            Self::Plain => value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)),
            Self::Malformed => false,
        };
        if sound { self } else { Self::Malformed }
    }
}

/// The longest name of a field in bytes: what the `http` crate holds.
const LONGEST_NAME: usize = 65_535;

/// RFC 9113 section 8.2.1: a token (RFC 9110 section 5.6.2) in lower case.
const fn is_of_name(byte: u8) -> bool {
    let is_sign = matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~');
    is_sign || byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

impl<'a> Field<'a> {
    /// A field whose name is of this kind.
    pub(super) fn new(name: (Kind, &'a [u8]), value: &'a [u8]) -> Self {
        Self { kind: name.0.with(value), name: name.1, value, never_indexed: false }
    }

    /// How much it counts.
    pub const fn size(&self) -> usize {
        self.name.len() + self.value.len() + ENTRY_OVERHEAD
    }
}

/// What the client and we remember of its fields.
#[derive(Debug)]
pub(super) struct Table {
    /// The oldest first.
    entries: VecDeque<Entry>,
    /// Their names and values; before them those of some that are gone.
    text: Vec<u8>,
    /// Where `text` begins, counted over all that ever stood there.
    base: usize,
    size: usize,
    most: usize,
}

/// Where a field stands.
#[derive(Clone, Copy, Debug)]
struct Entry {
    at: usize,
    name: u16,
    value: u16,
    /// What it is by its name alone, and with its value.
    kinds: (Kind, Kind),
}

impl Entry {
    const fn length(&self) -> usize {
        self.name as usize + self.value as usize
    }
}

impl Table {
    pub(super) const fn new(most: usize) -> Self {
        Self { entries: VecDeque::new(), text: Vec::new(), base: 0, size: 0, most }
    }

    /// What the entries count.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// Keeps no more room than its entries need.
    pub(super) fn rest(&mut self) {
        self.forget_gone();
        self.text.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    /// The field of an index (section 2.3.3).
    pub(super) fn field(&self, index: usize) -> Option<Field<'_>> {
        let index = index.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(index) {
            let (name, value) = (name.as_bytes(), value.as_bytes());
            return Some(Field { kind: fixed(index), name, value, never_indexed: false });
        }
        let (entry, name, value) = self.entry(index)?;
        Some(Field { kind: entry.kinds.1, name, value, never_indexed: false })
    }

    /// The name of an index, and what it is.
    pub(super) fn name(&self, index: usize) -> Option<(Kind, &[u8])> {
        let index = index.checked_sub(1)?;
        if let Some((name, _)) = STATIC.get(index) {
            return Some((fixed(index), name.as_bytes()));
        }
        let (entry, name, _) = self.entry(index)?;
        Some((entry.kinds.0, name))
    }

    fn entry(&self, index: usize) -> Option<(Entry, &[u8], &[u8])> {
        let newest = self.entries.len().checked_sub(1)?;
        let entry = *self.entries.get(newest.checked_sub(index - STATIC.len())?)?;
        let text = self.text.get(entry.at - self.base..)?;
        let (name, rest) = text.split_at_checked(usize::from(entry.name))?;
        Some((entry, name, rest.get(..usize::from(entry.value))?))
    }

    /// One more, and the oldest go that have no room then (section 4.4).
    pub(super) fn add(&mut self, name: Kind, field: Field<'_>) {
        let size = field.size();
        self.shrink(self.most.saturating_sub(size));
        if size > self.most {
            return;
        }
        // What the table holds is shorter than its size.
        let (Ok(name_length), Ok(value_length)) =
            (u16::try_from(field.name.len()), u16::try_from(field.value.len()))
        else {
            return;
        };
        if self.text.len() + field.name.len() + field.value.len() > self.text.capacity() {
            self.forget_gone();
        }
        self.size += size;
        let (at, kinds) = (self.base + self.text.len(), (name, field.kind));
        self.entries.push_back(Entry { at, name: name_length, value: value_length, kinds });
        self.text.extend_from_slice(field.name);
        self.text.extend_from_slice(field.value);
    }

    /// Section 4.3.
    pub(super) fn resize(&mut self, most: usize) {
        self.most = most;
        self.shrink(most);
    }

    fn shrink(&mut self, most: usize) {
        while self.size > most
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= entry.length() + ENTRY_OVERHEAD;
        }
    }

    /// Lets go of the text of fields that are gone.
    fn forget_gone(&mut self) {
        let begin = self.entries.front().map_or(self.base + self.text.len(), |entry| entry.at);
        self.text.drain(..begin - self.base);
        self.base = begin;
    }
}

/// What a field of the static table is.
const fn fixed(index: usize) -> Kind {
    match index {
        0 => Kind::Pseudo(Pseudo::Authority),
        1 | 2 => Kind::Pseudo(Pseudo::Method),
        3 | 4 => Kind::Pseudo(Pseudo::Path),
        5 | 6 => Kind::Pseudo(Pseudo::Scheme),
        // `:status` is for answers.
        7..=13 => Kind::Malformed,
        _ => Kind::Plain,
    }
}

/// The place in the static table of a field's name, as answers have them.
pub(super) fn place(name: &[u8]) -> Option<u8> {
    Some(match name {
        b"accept-ranges" => 18,
        b"access-control-allow-origin" => 20,
        b"age" => 21,
        b"allow" => 22,
        b"cache-control" => 24,
        b"content-disposition" => 25,
        b"content-encoding" => 26,
        b"content-language" => 27,
        b"content-length" => 28,
        b"content-location" => 29,
        b"content-range" => 30,
        b"content-type" => 31,
        b"date" => 33,
        b"etag" => 34,
        b"expires" => 36,
        b"last-modified" => 44,
        b"link" => 45,
        b"location" => 46,
        b"retry-after" => 53,
        b"server" => 54,
        b"set-cookie" => 55,
        b"strict-transport-security" => 56,
        b"vary" => 59,
        b"via" => 60,
        b"www-authenticate" => 61,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;

    use super::*;

    #[test]
    fn places_are_those_of_the_static_table() {
        let mut found = 0;
        for (name, _) in STATIC {
            if let Some(place) = place(name.as_bytes()) {
                assert_eq!(STATIC[usize::from(place) - 1].0, name);
                found += 1;
            }
        }
        assert_eq!(found, 25);
        assert_eq!(place(b"x-unknown"), None);
    }

    #[test]
    fn the_kinds_of_the_static_table_are_those_of_its_names() {
        for (index, (name, _)) in STATIC.iter().enumerate() {
            assert_eq!(fixed(index), Kind::of(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_name_is_a_token_in_lower_case() {
        for byte in 0..=255 {
            let name = [b'x', byte];
            // The http crate takes a quotation mark too, which RFC 9110 section 5.6.2 does not have.
            let is_name = byte != b'"' && HeaderName::from_lowercase(&name).is_ok();
            assert_eq!(Kind::of(&name) == Kind::Plain, is_name, "{name:?}");
        }
        assert_eq!(
            (Kind::of(b""), Kind::of(b":status"), Kind::of(b":")),
            (Kind::Malformed, Kind::Malformed, Kind::Malformed)
        );
    }

    fn values(table: &Table) -> Vec<Vec<u8>> {
        (62..).map_while(|index| Some(table.field(index)?.value.to_vec())).collect()
    }

    fn add(table: &mut Table, value: &[u8]) {
        table.add(Kind::Plain, Field::new((Kind::Plain, b"x"), value));
    }

    #[test]
    fn the_oldest_go_when_there_is_no_room() {
        let mut table = Table::new(70);
        add(&mut table, b"1");
        add(&mut table, b"2");
        assert_eq!(values(&table), [b"2", b"1"]);
        add(&mut table, b"3");
        assert_eq!(values(&table), [b"3", b"2"]);
        add(&mut table, b"a value that is longer than all of the table");
        assert_eq!((values(&table).len(), table.size), (0, 0));
    }

    #[test]
    fn what_is_gone_takes_no_room_for_long() {
        let mut table = Table::new(4096);
        for n in 0..10_000_u32 {
            add(&mut table, &[b'v'; 40][..(n % 40) as usize]);
            assert!(table.text.capacity() <= 2 * 4096 && table.size <= 4096);
        }
        table.resize(0);
        table.rest();
        assert_eq!((table.text.capacity(), table.entries.capacity()), (0, 0));
        add(&mut table, b"1");
        assert_eq!(table.size, 0);
    }
}
