//! From the tree to the structs of `file.rs`, through a deserializer that does not stop at the first error: unknown
//! keys are reported and skipped, and a value that does not fit is reported and left out, by the [`Located`] around it.

mod access;
mod hint;

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use self::access::{Entries, Items, Place, Single, Word};
use self::hint::{listed, planned, planned_text};
use super::file::ONE_VALUE;
use super::report::{Code, Collected, Spot};
use super::tree::{Kind, Node};

pub(super) use hint::nearest;

/// The name by which the deserializer knows that a [`Located`] asks.
const LOCATED: &str = "$buckler::Located";

/// A value of the file with its place. The value is None if it was wrong, which is then among the problems.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    /// The value.
    pub(super) value: Option<T>,
    /// Where it is written.
    pub(super) at: Spot,
}

/// A map whose keys the operator chooses, in the order written.
#[derive(Clone, Debug)]
pub(super) struct Named<T>(pub(super) Vec<(Located<String>, Located<T>)>);

/// Reads the tree into `T`; everything that does not fit goes to `problems`.
pub(super) fn collect<'de, T: Deserialize<'de>>(
    tree: &'de Node<'de>,
    problems: &mut Collected,
) -> Located<T> {
    let mut found = Vec::new();
    let read = Located::deserialize(NodeReader { node: tree, found: &mut found });
    for Misfit { code, at, message, help } in found {
        problems.error(code, at, message, help.as_deref());
    }
    read.unwrap_or(Located { value: None, at: tree.spot })
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Parts<T> {
            type Value = Located<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value with its place")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Located<T>, A::Error> {
                let (file, line) = (seq.next_element()?.unwrap_or(0), seq.next_element()?.unwrap_or(0));
                let (column, length) = (seq.next_element()?.unwrap_or(0), seq.next_element()?.unwrap_or(0));
                Ok(Located { value: seq.next_element()?, at: Spot { file, line, column, length } })
            }
        }
        deserializer.deserialize_newtype_struct(LOCATED, Parts(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Named<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of names")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
                let mut entries = Vec::with_capacity(map.size_hint().unwrap_or_default());
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Named(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// A misfit, with its place.
struct Misfit {
    code: Code,
    at: Spot,
    message: String,
    help: Option<String>,
}

/// A misfit on its way up to the next [`Located`], which knows the place. After the first newline comes the help.
#[derive(Debug)]
struct Wrong(Code, String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.1)
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(Code::BadValue, message.to_string())
    }
}

struct NodeReader<'de, 'f> {
    node: &'de Node<'de>,
    found: &'f mut Vec<Misfit>,
}

impl<'de> NodeReader<'de, '_> {
    fn text(&self, wanted: &str) -> Result<&'de str, Wrong> {
        match &self.node.kind {
            Kind::Text(text) => Ok(text.value()),
            _ => Err(self.kind_error(wanted)),
        }
    }

    fn kind_error(&self, wanted: &str) -> Wrong {
        Wrong(Code::WrongKind, format!("expected {wanted}, found {}", self.node.what()))
    }

    /// Replaces the value by what was written: a variable's content stays unseen.
    fn masked(&self, wrong: Wrong) -> Wrong {
        match &self.node.kind {
            Kind::Text(text) if text.value() != text.shown() && !text.value().is_empty() => {
                Wrong(wrong.0, wrong.1.replace(text.value(), text.shown()))
            }
            _ => wrong,
        }
    }
}

macro_rules! whole_numbers {
    ($($method:ident $visit:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            let text = self.text("a whole number")?;
            let wrong = || {
                let (found, most) = (self.node.what(), <$type>::MAX);
                Wrong(Code::BadValue, format!("{found} is not a whole number from 0 to {most}"))
            };
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let number = text.parse::<$type>().ok().filter(|_| digits).ok_or_else(wrong)?;
            visitor.$visit(number)
        }
    )*};
}

impl<'de> Deserializer<'de> for NodeReader<'de, '_> {
    type Error = Wrong;

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        if name == LOCATED {
            return visitor.visit_seq(Place { node: self.node, found: self.found, part: 0 });
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let known = Some((name, fields));
        match &self.node.kind {
            Kind::Map(entries) => {
                visitor.visit_map(Entries { entries: entries.iter(), known, found: self.found, next: None })
            }
            Kind::Text(_) if ONE_VALUE.iter().any(|(of, _)| *of == name) => {
                let key = ONE_VALUE.iter().find(|(of, _)| *of == name).map_or("", |(_, key)| key);
                visitor.visit_map(Single { key: Some(key), node: self.node, found: self.found })
            }
            _ => Err(self.kind_error(&format!("a map of {}", listed(fields)))),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.kind {
            Kind::Map(entries) => visitor.visit_map(Entries {
                entries: entries.iter(),
                known: None,
                found: self.found,
                next: None,
            }),
            _ => Err(self.kind_error("a map of names")),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.kind {
            Kind::List(items) => visitor.visit_seq(Items { items: items.iter(), found: self.found }),
            _ => Err(self.kind_error("a list")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.kind {
            Kind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.text("true or false")? {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(Wrong(Code::BadValue, format!("{} is not true or false", self.node.what()))),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let text = self.text("a value")?;
        visitor.visit_str(text).map_err(|wrong| self.masked(wrong))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Text(_) => self.deserialize_str(visitor),
            Kind::List(_) => self.deserialize_seq(visitor),
            Kind::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_unit()
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let text = self.text(&format!("one of {}", listed(variants)))?;
        if let Some((key, what)) = planned(name, text) {
            return Err(Wrong(Code::Planned, planned_text(key, what)));
        }
        if !variants.contains(&text) {
            let mut message = format!("{} is not one of {}", self.node.what(), listed(variants));
            if let Some(near) = nearest(text, variants.iter().copied()) {
                message.push_str(&format!("\ndid you mean `{near}`?"));
            }
            return Err(Wrong(Code::BadValue, message));
        }
        visitor.visit_enum(Word(text))
    }

    whole_numbers!(deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16);
    whole_numbers!(deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64);

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
    }
}
