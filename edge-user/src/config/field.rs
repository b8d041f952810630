//! Fields that are read without giving up at the first that is wrong, so that one pass finds every problem.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{Error as Recorded, MapAccessDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

/// A single value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Field<T> {
    /// Not written: the default holds.
    #[default]
    Missing,
    /// As written.
    Given(T),
    /// Of another type; what serde says.
    Wrong(String),
}

/// A table, or an array of tables.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Section<T> {
    /// As written; [`Default`] when it is missing.
    Given(T),
    /// Something other than a table was written.
    Wrong(String),
}

/// Tables by name.
pub(super) type Named<T> = Section<BTreeMap<String, Section<T>>>;

/// `[[name]]`: tables in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tables<T> {
    /// In order.
    pub(super) given: Vec<Section<T>>,
    /// Something other than an array was written.
    pub(super) wrong: Option<String>,
}

impl<T: Default> Default for Section<T> {
    fn default() -> Self {
        Self::Given(T::default())
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        Ok(match T::deserialize(value) {
            Ok(value) => Self::Given(value),
            Err(error) => Self::Wrong(readable(error.message())),
        })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = deserializer.deserialize_any(Shape { expected: "a table", marker: PhantomData })?;
        Ok(table.unwrap_or_else(|found| Self::Wrong(found)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Tables<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tables =
            deserializer.deserialize_any(Shape { expected: "an array of tables", marker: PhantomData })?;
        Ok(tables.unwrap_or_else(|found| Self { given: Vec::new(), wrong: Some(found) }))
    }
}

/// What a shape is made from; the other one is refused in words.
trait FromShape<'de>: Sized {
    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error>;
    fn from_seq<A: SeqAccess<'de>>(seq: A) -> Result<Option<Self>, A::Error>;
}

impl<'de, T: Deserialize<'de>> FromShape<'de> for Section<T> {
    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|table| Some(Self::Given(table)))
    }

    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        // Not IgnoredAny: the elements are not unknown keys.
        while seq.next_element::<toml::Value>()?.is_some() {}
        Ok(None)
    }
}

impl<'de, T: Deserialize<'de>> FromShape<'de> for Tables<T> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        while map.next_entry::<String, toml::Value>()?.is_some() {}
        Ok(None)
    }

    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut given = Vec::new();
        while let Some(table) = seq.next_element()? {
            given.push(table);
        }
        Ok(Some(Self { given, wrong: None }))
    }
}

/// Reads one shape; the error side of its value says what was found instead.
struct Shape<S> {
    expected: &'static str,
    marker: PhantomData<S>,
}

impl<S> Shape<S> {
    fn instead(&self, found: &str) -> Result<S, String> {
        Err(format!("{found} instead of {}", self.expected))
    }
}

impl<'de, S: FromShape<'de>> Visitor<'de> for Shape<S> {
    type Value = Result<S, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Ok(S::from_map(map)?.ok_or(()).or_else(|()| self.instead("a table")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        Ok(S::from_seq(seq)?.ok_or(()).or_else(|()| self.instead("an array")))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(self.instead(&format!("`{value}`")))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.instead(&format!("`{value}`")))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(self.instead(&format!("`{value}`")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(self.instead(&format!("\"{value}\"")))
    }
}

/// The keys of a file type, as its derived `Deserialize` asks for them.
pub(super) fn keys_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut keys = Keys(&[]);
    // An error by design: the keys are known before a value is asked for.
    let _ = T::deserialize(&mut keys).map(|_| IgnoredAny);
    keys.0
}

struct Keys(&'static [&'static str]);

impl<'de> Deserializer<'de> for &mut Keys {
    type Error = Recorded;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Recorded> {
        self.0 = fields;
        Err(Recorded::custom("recorded"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Recorded> {
        Err(Recorded::custom("not a struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// serde's sentence in an operator's words.
fn readable(message: &str) -> String {
    let message = message
        .trim()
        .trim_start_matches("invalid type: ")
        .trim_start_matches("invalid value: ")
        .replace("expected a sequence", "expected an array");
    let types = [
        ("expected u8", "expected a whole number from 0 to 255"),
        ("expected u16", "expected a whole number from 0 to 65535"),
        ("expected u32", "expected a whole number from 0 to 4294967295"),
        ("expected u64", "expected a whole number, 0 or more"),
        ("expected f64", "expected a number"),
        ("expected a boolean", "expected true or false"),
        ("expected path string", "expected a path in quotes"),
        ("expected a string", "expected a text in quotes"),
    ];
    types
        .iter()
        .find_map(|(type_name, words)| message.strip_suffix(type_name).map(|head| format!("{head}{words}")))
        .unwrap_or(message)
}
