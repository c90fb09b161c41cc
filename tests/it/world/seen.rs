//! What a worker remembers of a request.

/// A request as the worker saw it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The number of the connection it came on, from 0.
    pub(crate) connection: u64,
    /// The whole head, byte for byte.
    pub(crate) head: String,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) fields: Vec<(String, String)>,
    /// The body, out of its chunks.
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// Whether the body came to its end.
    pub(crate) whole: bool,
}

impl Seen {
    /// All values of this field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let same = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.fields.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    /// The one value of this field; none if it is missing. Twice is a failure.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() <= 1, "the worker saw {name} {} times:\n{}", values.len(), self.head);
        values.first().copied()
    }
}
