//! Reading an answer strictly, as RFC 9112 has it: whatever a careful client would refuse, fails the test.

/// One answer, with all its bytes.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// The head as it came.
    pub(crate) head: String,
    /// None: the whole answer arrived. Some: what was missing when the connection ended.
    pub(crate) cut: Option<String>,
}

impl Response {
    /// The one value of this field; none if it is missing. Twice is a failure.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() <= 1, "{name} stands {} times in\n{}", values.len(), self.head);
        values.first().copied()
    }

    /// All values of this field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let same = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.fields.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in the body of\n{}{text}", self.head))
    }

    /// Which worker answered.
    pub(crate) fn worker(&self) -> Option<&str> {
        self.field("x-worker")
    }

    /// The reason word of a refusal, from its problem+json body.
    #[track_caller]
    pub(crate) fn reason(&self) -> String {
        assert_eq!(self.field("content-type"), Some("application/problem+json"), "{}", self.head);
        self.json()["reason"].as_str().unwrap_or_else(|| panic!("no reason in {}", self.text())).to_owned()
    }

    /// Fails unless the answer has this status and arrived whole; returns it.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}{}", self.head, self.text());
        assert_eq!(self.cut, None, "the answer is not whole:\n{}", self.head);
        self
    }
}

/// How the body of an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
    Close,
}

/// A head read strictly; panics on anything that is not well-formed.
pub(super) fn parse_head(head: &str, to_head: bool) -> (Response, Framing) {
    let mut lines = head.strip_suffix("\r\n\r\n").expect("a head ends with an empty line").split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = parse_status_line(first);
    let fields: Vec<_> = lines.map(|line| parse_field(line, head)).collect();
    let response =
        Response { status, fields, body: Vec::new(), trailers: Vec::new(), head: head.to_owned(), cut: None };
    let lengths = response.all("content-length");
    let codings = response.all("transfer-encoding");
    assert!(lengths.len() <= 1, "more than one Content-Length in\n{head}");
    assert!(lengths.is_empty() || codings.is_empty(), "both ways of framing in\n{head}");
    let bodiless = status < 200 || status == 204 || status == 304;
    let framing = if bodiless {
        assert!(codings.is_empty(), "a {status} with Transfer-Encoding:\n{head}");
        Framing::None
    } else if to_head {
        Framing::None
    } else if let [length] = lengths[..] {
        assert!(length.bytes().all(|b| b.is_ascii_digit()), "Content-Length: {length}");
        Framing::Length(length.parse().unwrap())
    } else if codings.is_empty() {
        Framing::Close
    } else {
        assert_eq!(codings, ["chunked"], "{head}");
        Framing::Chunked
    };
    (response, framing)
}

fn parse_status_line(line: &str) -> u16 {
    let rest = line.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("not a status line of 1.1: {line:?}"));
    let (code, _reason) = rest.split_once(' ').unwrap_or_else(|| panic!("no reason phrase part: {line:?}"));
    assert!(code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit()), "status line {line:?}");
    code.parse().unwrap()
}

pub(super) fn parse_field(line: &str, head: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no colon in {line:?} of\n{head}"));
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    assert!(!name.is_empty() && name.bytes().all(token), "field name {name:?} in\n{head}");
    let control = |b: u8| (b < 0x20 && b != b'\t') || b == 0x7f;
    assert!(!value.bytes().any(control), "control byte in the value of {name} in\n{head}");
    (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
}
