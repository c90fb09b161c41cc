//! How a visitor walks through lists, maps, places and words of the tree.

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer as _, MapAccess, SeqAccess,
};
use serde::de::{VariantAccess, Visitor};

use super::hint::unknown;
use super::{Misfit, NodeReader, Wrong};
use crate::config::report::Spot;
use crate::config::tree::{Entry, Node};

/// The five parts of a `Located`: four numbers of the place, then the value.
pub(super) struct Place<'de, 'f> {
    pub(super) node: &'de Node<'de>,
    pub(super) found: &'f mut Vec<Misfit>,
    pub(super) part: u8,
}

impl<'de> SeqAccess<'de> for Place<'de, '_> {
    type Error = Wrong;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Wrong> {
        let at = self.node.spot;
        self.part += 1;
        match self.part {
            1 => seed.deserialize(at.file.into_deserializer()).map(Some),
            2 => seed.deserialize(at.line.into_deserializer()).map(Some),
            3 => seed.deserialize(at.column.into_deserializer()).map(Some),
            4 => seed.deserialize(at.length.into_deserializer()).map(Some),
            _ => match seed.deserialize(NodeReader { node: self.node, found: self.found }) {
                Ok(value) => Ok(Some(value)),
                Err(Wrong(code, text)) => {
                    let (message, help) = match text.split_once('\n') {
                        Some((message, help)) => (message.to_owned(), Some(help.to_owned())),
                        None => (text, None),
                    };
                    self.found.push(Misfit { code, at, message, help });
                    Ok(None)
                }
            },
        }
    }
}

/// A map's entries; with `known`, those of a struct, whose other keys are reported and skipped.
pub(super) struct Entries<'de, 'f> {
    pub(super) entries: std::slice::Iter<'de, Entry<'de>>,
    pub(super) known: Option<(&'static str, &'static [&'static str])>,
    pub(super) found: &'f mut Vec<Misfit>,
    pub(super) next: Option<&'de Entry<'de>>,
}

impl<'de> MapAccess<'de> for Entries<'de, '_> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        for entry in self.entries.by_ref() {
            if let Some((name, fields)) = self.known
                && !fields.contains(&&*entry.key)
            {
                self.found.push(unknown(name, fields, entry));
                continue;
            }
            self.next = Some(entry);
            return seed.deserialize(Key(entry)).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Wrong> {
        let entry = self.next.take().ok_or_else(|| de::Error::custom("a value without its key"))?;
        seed.deserialize(NodeReader { node: &entry.value, found: self.found })
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// A key, with or without its place.
pub(super) struct Key<'de>(&'de Entry<'de>);

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_str(&self.0.key)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let Spot { file, line, column, length } = self.0.at;
        let place = [file, line, column, length];
        visitor.visit_seq(KeyPlace { place, part: 0, key: &self.0.key })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The five parts of a `Located` key.
pub(super) struct KeyPlace<'de> {
    pub(super) place: [u32; 4],
    pub(super) part: usize,
    pub(super) key: &'de str,
}

impl<'de> SeqAccess<'de> for KeyPlace<'de> {
    type Error = Wrong;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Wrong> {
        self.part += 1;
        match self.place.get(self.part - 1) {
            Some(number) => seed.deserialize(number.into_deserializer()).map(Some),
            None => seed.deserialize(self.key.into_deserializer()).map(Some),
        }
    }
}

/// A map that was written as the value of its one main key.
pub(super) struct Single<'de, 'f> {
    pub(super) key: Option<&'static str>,
    pub(super) node: &'de Node<'de>,
    pub(super) found: &'f mut Vec<Misfit>,
}

impl<'de> MapAccess<'de> for Single<'de, '_> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        self.key.take().map(|key| seed.deserialize(key.into_deserializer())).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Wrong> {
        seed.deserialize(NodeReader { node: self.node, found: self.found })
    }
}

pub(super) struct Items<'de, 'f> {
    pub(super) items: std::slice::Iter<'de, Node<'de>>,
    pub(super) found: &'f mut Vec<Misfit>,
}

impl<'de> SeqAccess<'de> for Items<'de, '_> {
    type Error = Wrong;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Wrong> {
        let next = self.items.next();
        next.map(|node| seed.deserialize(NodeReader { node, found: self.found })).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// One of an enum's words.
pub(super) struct Word<'de>(pub(super) &'de str);

impl<'de> EnumAccess<'de> for Word<'de> {
    type Error = Wrong;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Wrong> {
        Ok((seed.deserialize(self.0.into_deserializer())?, self))
    }
}

impl<'de> VariantAccess<'de> for Word<'de> {
    type Error = Wrong;

    fn unit_variant(self) -> Result<(), Wrong> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _: S) -> Result<S::Value, Wrong> {
        Err(de::Error::custom("a word that takes no value"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Wrong> {
        Err(de::Error::custom("a word that takes no value"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Wrong> {
        Err(de::Error::custom("a word that takes no value"))
    }
}
