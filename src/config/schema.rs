//! The JSON Schema of the file, made from the structs of `file.rs`: editors complete and check with it.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};

use super::collect::{Located, Named};
use super::file::File;

/// The schema (draft 2020-12) as pretty JSON with a newline at its end; `conf/buckler.schema.json` holds the same.
pub fn schema() -> String {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<File>();
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// A worker may also be written as its address alone.
pub(super) fn or_address(schema: &mut Schema) {
    let map = std::mem::take(schema);
    let address = serde_json::json!({ "type": "string", "description": "its address: `127.0.0.1:9001`" });
    schema.insert("anyOf".to_owned(), serde_json::json!([address, map]));
}

/// `balance` may also be one word.
pub(super) fn or_balance_word(schema: &mut Schema) {
    let map = std::mem::take(schema);
    let words = ["weighted", "least_requests", "ring"];
    let word =
        serde_json::json!({ "type": "string", "enum": words, "description": "as `by`, without a header" });
    schema.insert("anyOf".to_owned(), serde_json::json!([word, map]));
}

/// The texts of this list may be written as numbers: `[200, 204-299]`.
pub(super) fn or_numbers(schema: &mut Schema) {
    if let Some(items) = schema.get_mut("items").and_then(serde_json::Value::as_object_mut) {
        items.insert("type".to_owned(), serde_json::json!(["string", "integer"]));
    }
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Named_{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<T>() })
    }
}
