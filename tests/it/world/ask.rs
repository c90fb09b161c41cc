//! A well-formed request, put together field by field. Malformed ones are written as bytes (`Raw::send`).

use std::net::Ipv4Addr;

/// A request to send.
#[derive(Clone)]
pub(crate) struct Ask {
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    from: Ipv4Addr,
}

/// A GET request for this target.
pub(crate) fn get(target: &str) -> Ask {
    request("GET", target)
}

/// A request with this method for this target.
pub(crate) fn request(method: &str, target: &str) -> Ask {
    Ask {
        method: method.to_owned(),
        target: target.to_owned(),
        fields: Vec::new(),
        body: None,
        from: Ipv4Addr::LOCALHOST,
    }
}

impl Ask {
    /// With one more field.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With the API key in the field where Buckler looks for one by default.
    pub(crate) fn key(self, key: &str) -> Self {
        self.header("x-api-key", key)
    }

    /// With a body and its length.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// From this address of the loopback network.
    pub(crate) fn from(mut self, address: &str) -> Self {
        self.from = address.parse().unwrap();
        self
    }

    pub(super) fn source(&self) -> Ipv4Addr {
        self.from
    }

    pub(super) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// The bytes on the wire; a Host is added if there is none.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text.push_str("host: api.example.test\r\n");
        }
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}
