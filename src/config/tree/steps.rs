//! What the tree is made from: the steps through a file, from whichever of two parsers can read it. Most files are
//! plain enough for `plain.rs`, which is ten times as quick; all others are read by the whole of YAML.

use std::borrow::Cow;

use serde_yaml::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, options};

use super::plain::{NotPlain, Plain};

/// A step through a YAML document.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step<'t> {
    /// A scalar.
    Scalar {
        /// What it says.
        text: Cow<'t, str>,
        /// It has no quotes, and is no block.
        bare: bool,
    },
    /// A list begins.
    List,
    /// It ends.
    ListEnd,
    /// A map begins; keys and values follow in turn.
    Map,
    /// It ends.
    MapEnd,
    /// The value that had this anchor.
    Alias(usize),
    /// A document begins.
    Document,
    /// Nothing that the tree knows.
    Other,
}

/// What else a step is written with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// The number of its anchor. 0: none.
    pub(super) anchor: usize,
    /// It has a tag.
    pub(super) tagged: bool,
}

/// Where a step begins, from 1, and of how many characters it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Line.
    pub(super) line: u32,
    /// Column.
    pub(super) column: u32,
    /// Length.
    pub(super) length: u32,
}

/// Why there is no further step.
#[derive(Debug)]
pub(super) struct Fault {
    /// Where.
    pub(super) at: Place,
    /// What is wrong, in words.
    pub(super) what: String,
}

/// A step with all that belongs to it.
pub(super) type Taken<'t> = (Step<'t>, Marks, Place);

/// The steps through a file.
pub(super) enum Steps<'t> {
    /// Of a plain one.
    Plain(Plain<'t>),
    /// Of any other.
    Whole(Box<Parser<'t, StrInput<'t>>>),
}

impl<'t> Steps<'t> {
    /// The steps through a text that begins plainly. They end with a fault that says nothing where it is not plain any
    /// more: then all of it is to be read by the other parser.
    pub(super) fn plain(text: &'t str) -> Option<Self> {
        Plain::new(text).map(Self::Plain)
    }

    /// The same, by the parser that knows all of YAML.
    pub(super) fn whole(text: &'t str) -> Self {
        Self::Whole(Box::new(Parser::new_from_str_with_options(text, options! { emit_comments: false })))
    }
}

impl<'t> Iterator for Steps<'t> {
    type Item = Result<Taken<'t>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Plain(steps) => steps.next().map(|next| match next {
                Ok((step, at)) => Ok((step, Marks::default(), at)),
                Err(NotPlain) => Err(Fault { at: place(0, 0, 1), what: String::new() }),
            }),
            Self::Whole(parser) => parser.next().map(|next| match next {
                Ok((event, span)) => Ok(taken(event, &span)),
                Err(error) => Err(fault(&error)),
            }),
        }
    }
}

fn taken<'t>(event: Event<'t>, span: &Span) -> Taken<'t> {
    let (step, marks) = match event {
        Event::Scalar(text, style, anchor, tag) => {
            let bare = style == ScalarStyle::Plain;
            (Step::Scalar { text, bare }, Marks { anchor, tagged: tag.is_some() })
        }
        Event::SequenceStart(_, anchor, tag) => (Step::List, Marks { anchor, tagged: tag.is_some() }),
        Event::MappingStart(_, anchor, tag) => (Step::Map, Marks { anchor, tagged: tag.is_some() }),
        Event::SequenceEnd => (Step::ListEnd, Marks::default()),
        Event::MappingEnd => (Step::MapEnd, Marks::default()),
        Event::Alias(id) => (Step::Alias(id), Marks::default()),
        Event::DocumentStart(..) => (Step::Document, Marks::default()),
        _ => (Step::Other, Marks::default()),
    };
    let length = span.end.index().saturating_sub(span.start.index());
    (step, marks, place(span.start.line(), span.start.col(), length))
}

fn fault(error: &ScanError) -> Fault {
    let mark = error.marker();
    Fault { at: place(mark.line(), mark.col(), 1), what: error.kind().to_string() }
}

fn place(line: usize, column: usize, length: usize) -> Place {
    let narrow = |wide: usize| u32::try_from(wide).unwrap_or(u32::MAX);
    Place {
        line: narrow(line).max(1),
        column: narrow(column).saturating_add(1),
        length: narrow(length).max(1),
    }
}
