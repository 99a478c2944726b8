//! Canonical JSON: the one way to write a document that is hashed or signed (RFC 8785, integers only).
//!
//! A reader verifies in this order: size, parse to a [`Value`] (duplicate keys, fractions and deep nesting are
//! errors), write it canonically, hash or verify *those* bytes, and only then convert to a typed form. Fields
//! that this version does not know stay in the tree, and so in the digest.

use std::cmp::Ordering;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, limits};

/// A JSON tree of the canonical subset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer within ±(2^53 − 1).
    Integer(i64),
    /// Text.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object, its keys unique and sorted by UTF-16 code unit.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// Parses a document, `what` names it in errors.
    pub fn parse(what: &'static str, bytes: &[u8]) -> Result<Value, Error> {
        serde_json::from_slice(bytes).map_err(|source| Error::Json { what, source })
    }

    /// The tree of a typed document of our own.
    pub fn of(document: &impl Serialize) -> Value {
        let text = serde_json::to_vec(document).expect("our documents are maps with text keys");
        serde_json::from_slice(&text).expect("our documents hold integers, texts, lists and objects only")
    }

    /// The typed form; unknown fields are ignored.
    pub fn typed<T: DeserializeOwned>(&self, what: &'static str) -> Result<T, Error> {
        serde_json::from_slice(&self.bytes()).map_err(|source| Error::Json { what, source })
    }

    /// The canonical bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = String::new();
        self.write(&mut text);
        text.into_bytes()
    }

    /// The member of an object, if this is one and has it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Object(members) => members.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(true) => out.push_str("true"),
            Value::Bool(false) => out.push_str("false"),
            Value::Integer(n) => out.push_str(&n.to_string()),
            Value::Text(text) => write_text(text, out),
            Value::List(items) => {
                out.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Value::Object(members) => {
                out.push('{');
                for (n, (key, value)) in members.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    write_text(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// A document as it was written: its typed form, and the canonical bytes that are hashed, signed and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document<T> {
    value: T,
    bytes: Vec<u8>,
}

impl<T: Serialize + DeserializeOwned> Document<T> {
    /// Writes a document of our own.
    pub fn write(value: T) -> Document<T> {
        let bytes = Value::of(&value).bytes();
        Document { value, bytes }
    }

    /// Reads a document that must already be written canonically, as manifests and receipts are.
    pub fn read(what: &'static str, bytes: &[u8], limit: usize) -> Result<Document<T>, Error> {
        if bytes.len() > limit {
            return Err(Error::TooLarge { what, size: bytes.len() as u64, limit: limit as u64 });
        }
        let tree = Value::parse(what, bytes)?;
        let canonical = tree.bytes();
        if canonical != bytes {
            return Err(Error::NotCanonical { what });
        }
        Ok(Document { value: tree.typed(what)?, bytes: canonical })
    }

    /// Takes a tree that was received inside another document.
    pub fn from_value(what: &'static str, tree: &Value, limit: usize) -> Result<Document<T>, Error> {
        let bytes = tree.bytes();
        if bytes.len() > limit {
            return Err(Error::TooLarge { what, size: bytes.len() as u64, limit: limit as u64 });
        }
        Ok(Document { value: tree.typed(what)?, bytes })
    }

    /// The canonical bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The typed form.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> std::ops::Deref for Document<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// RFC 8785 section 3.2.2.2: the two-character escapes where JSON has them, `\u00xx` for other control
/// characters, everything else as it is.
fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// RFC 8785 section 3.2.3: by UTF-16 code unit, which differs from code point order above U+FFFF.
fn by_utf16(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::Integer(n) => serializer.serialize_i64(*n),
            Value::Text(text) => serializer.serialize_str(text),
            Value::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Value::Object(members) => {
                let mut object = serializer.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    object.serialize_entry(key, value)?;
                }
                object.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        Tree { depth: limits::DEPTH }.deserialize(deserializer)
    }
}

/// Builds a [`Value`], `depth` levels deep at most.
#[derive(Clone, Copy)]
struct Tree {
    depth: usize,
}

impl Tree {
    fn below<E: de::Error>(self) -> Result<Tree, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Tree { depth }),
            None => Err(E::custom(format_args!("nested more than {} levels", limits::DEPTH))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Tree {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON with integers only")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Bool(b))
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Value, E> {
        if (-limits::INTEGER..=limits::INTEGER).contains(&n) {
            Ok(Value::Integer(n))
        } else {
            Err(E::custom("an integer beyond 2^53 - 1"))
        }
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Value, E> {
        self.visit_i64(i64::try_from(n).unwrap_or(i64::MAX))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(below)? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut members = Vec::new();
        while let Some(key) = object.next_key::<String>()? {
            members.push((key, object.next_value_seed(below)?));
        }
        members.sort_by(|(a, _), (b, _)| by_utf16(a, b));
        match members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(de::Error::custom(format_args!("the key {:?} stands twice", pair[0].0))),
            None => Ok(Value::Object(members)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, canonical: &str) {
        let value = Value::parse("test", input.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(value.bytes()).unwrap(), canonical);
        assert_eq!(Value::parse("test", canonical.as_bytes()).unwrap(), value, "reads back");
    }

    #[track_caller]
    fn refuse(input: &str, why: &str) {
        let error = Value::parse("test", input.as_bytes()).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(why), "{input}: {source}");
    }

    #[test]
    fn writes_what_rfc_8785_says() {
        check(r#" { "b" : 1 , "a" : [ true , null ] } "#, r#"{"a":[true,null],"b":1}"#);
        check(r#""\u0041\u00e9\/\u000b\n""#, "\"Aé/\\u000b\\n\"");
        // U+10000 is D800 DC00 in UTF-16 and so sorts before U+FFFF.
        check("{\"\u{ffff}\":1,\"\u{10000}\":2}", "{\"\u{10000}\":2,\"\u{ffff}\":1}");
        check("[-9007199254740991,0]", "[-9007199254740991,0]");
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        refuse(r#"{"a":1,"a":2}"#, "stands twice");
        refuse("1.0", "invalid type: floating point");
        refuse("1e3", "invalid type: floating point");
        refuse("9007199254740992", "beyond 2^53");
        refuse(r#""\ud800""#, "hex escape");
        refuse(r#""\ud800\u0041""#, "surrogate");
        refuse("1 2", "trailing");
        refuse(&("[".repeat(17) + &"]".repeat(17)), "nested more than 16");
    }

    #[test]
    fn sixteen_levels_are_allowed() {
        let deep = "[".repeat(16) + &"]".repeat(16);
        check(&deep, &deep);
    }
}
