//! A scalar of the tree: what it says, and what may be shown of it.

/// A scalar.
#[derive(Clone, Debug)]
pub(in crate::config) enum Text<'t> {
    /// It says what stands in the file.
    Written(&'t str),
    /// It was put together: from escapes, lines, environment variables. In a box, since it is rare.
    Made(Box<Made>),
}

/// A scalar that was put together.
#[derive(Clone, Debug)]
pub(in crate::config) struct Made {
    value: String,
    written: Option<String>,
}

impl Text<'_> {
    /// A scalar that says `value`. `written`: what stands in the file, if it names variables; their content stays
    /// unseen.
    pub(super) fn made(value: String, written: Option<String>) -> Self {
        Self::Made(Box::new(Made { value, written }))
    }

    /// What it says, environment variables filled in.
    pub(in crate::config) fn value(&self) -> &str {
        match self {
            Self::Written(text) => text,
            Self::Made(made) => &made.value,
        }
    }

    /// What may be shown of it in a message.
    pub(in crate::config) fn shown(&self) -> &str {
        match self {
            Self::Written(text) => text,
            Self::Made(made) => made.written.as_ref().unwrap_or(&made.value),
        }
    }
}
