//! Reads values by their fields' types, so that what is wrong is told by the name of the field: what it takes, and what was found.
//!
//! Queries are read with it. Bodies are read with `serde_json`, and once more with this one when that fails, for it is slower.

use std::fmt;

use serde::{
    Deserializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, Expected, IntoDeserializer, Unexpected, Visitor,
        value::{MapAccessDeserializer, StrDeserializer},
    },
};
use serde_json::{Map, Value};

/// The longest text that a message repeats, in characters.
const MAX_SHOWN: usize = 100;

/// What is wrong, and with which field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    path: String,
    what: String,
}

impl Wrong {
    fn new(what: impl Into<String>) -> Self {
        Self { path: String::new(), what: what.into() }
    }

    /// The same, seen from the value that the field belongs to.
    fn within(mut self, segment: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{segment}{dot}{}", self.path);
        self
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.what) } else { write!(f, "{}: {}", self.path, self.what) }
    }
}

impl std::error::Error for Wrong {}

fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(MAX_SHOWN).collect();
    let more = if shown.len() < text.len() { "..." } else { "" };
    format!("{shown:?}{more}")
}

fn unexpected(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(found) => found.to_string(),
        Unexpected::Unsigned(found) => found.to_string(),
        Unexpected::Signed(found) => found.to_string(),
        Unexpected::Float(found) => found.to_string(),
        Unexpected::Str(found) => quoted(found),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        other => other.to_string(),
    }
}

fn found(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(found) => found.to_string(),
        Value::Number(found) => found.to_string(),
        Value::String(found) => quoted(found),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn list(names: &[&str]) -> String {
    names.join(", ")
}

impl de::Error for Wrong {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self::new(what.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {expected}, found {}", unexpected(&found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(found: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("expected one of {}, found {}", list(expected), quoted(found)))
    }

    fn unknown_field(found: &str, expected: &'static [&'static str]) -> Self {
        Self::new(match expected {
            [] => format!("there is no field {}: expected none", quoted(found)),
            _ => format!("there is no field {}: expected some of {}", quoted(found), list(expected)),
        })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new("it is missing").within(field)
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new("expected once, found several times").within(field)
    }
}

/// Reads a value of JSON.
///
/// # Errors
/// What is wrong with the first field that is.
pub(super) fn of_json<T: DeserializeOwned>(value: &Value) -> Result<T, Wrong> {
    T::deserialize(Field { value, text: false })
}

/// Reads the names and values of a query. Numbers and booleans are text there.
///
/// # Errors
/// What is wrong with the first field that is.
pub(super) fn of_query<T: DeserializeOwned>(pairs: Vec<(String, String)>) -> Result<T, Wrong> {
    let mut fields = Map::new();
    for (name, value) in pairs {
        if fields.insert(name.clone(), Value::String(value)).is_some() {
            return Err(Wrong::new("expected once, found several times").within(&name));
        }
    }
    let fields = &fields;
    T::deserialize(MapAccessDeserializer::new(Fields { fields: fields.iter(), value: None, text: true }))
}

/// A value, and whether numbers and booleans are text in it.
#[derive(Clone, Copy)]
struct Field<'a> {
    value: &'a Value,
    text: bool,
}

impl<'a> Field<'a> {
    fn wrong(self, expected: impl fmt::Display) -> Wrong {
        Wrong::new(format!("expected {expected}, found {}", found(self.value)))
    }

    fn whole(self) -> Option<i128> {
        match self.value {
            Value::String(text) if self.text => text.parse().ok(),
            value => value.as_u64().map(i128::from).or_else(|| value.as_i64().map(i128::from)),
        }
    }

    fn fields(self) -> Option<Fields<'a>> {
        self.value.as_object().map(|fields| Fields { fields: fields.iter(), value: None, text: self.text })
    }
}

macro_rules! whole {
    ($($name:ident, $visit:ident, $type:ty;)*) => {$(
        fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            match self.whole().map(<$type>::try_from) {
                Some(Ok(number)) => visitor.$visit(number),
                Some(Err(_)) => Err(self.wrong(format_args!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX))),
                None => Err(self.wrong("a whole number, such as 3")),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Field<'de> {
    type Error = Wrong;

    whole! {
        deserialize_u8, visit_u8, u8;
        deserialize_u16, visit_u16, u16;
        deserialize_u32, visit_u32, u32;
        deserialize_u64, visit_u64, u64;
        deserialize_i8, visit_i8, i8;
        deserialize_i16, visit_i16, i16;
        deserialize_i32, visit_i32, i32;
        deserialize_i64, visit_i64, i64;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(found) => visitor.visit_bool(*found),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (None, Some(number), _) => visitor.visit_i64(number),
                (None, None, Some(number)) => visitor.visit_f64(number),
                (None, None, None) => Err(self.wrong("a number")),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let found = match self.value {
            Value::String(text) if self.text => text.parse().ok(),
            value => value.as_bool(),
        };
        found.map_or_else(|| Err(self.wrong("true or false")), |found| visitor.visit_bool(found))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.value {
            Value::String(text) => visitor.visit_borrowed_str(text),
            _ => Err(self.wrong(&visitor as &dyn Expected)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let items = self.value.as_array().ok_or_else(|| self.wrong("an array"))?;
        visitor.visit_seq(Items { items: items.iter().enumerate(), text: self.text })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, _: usize, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_map(self.fields().ok_or_else(|| self.wrong("a JSON object"))?)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match (self.value, self.fields()) {
            (Value::String(text), _) => visitor.visit_enum(text.as_str().into_deserializer()),
            (_, Some(fields)) => visitor.visit_enum(MapAccessDeserializer::new(fields)),
            (_, None) => Err(self.wrong(format_args!("one of {}", list(variants)))),
        }
    }

    serde::forward_to_deserialize_any! { i128 u128 f32 f64 char bytes byte_buf unit unit_struct identifier ignored_any }
}

struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Value>>,
    text: bool,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        let Some((at, value)) = self.items.next() else { return Ok(None) };
        seed.deserialize(Field { value, text: self.text }).map(Some).map_err(|wrong| wrong.within(&format!("[{at}]")))
    }
}

struct Fields<'a> {
    fields: serde_json::map::Iter<'a>,
    value: Option<(&'a str, &'a Value)>,
    text: bool,
}

impl<'de> de::MapAccess<'de> for Fields<'de> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        let Some((name, value)) = self.fields.next() else { return Ok(None) };
        self.value = Some((name, value));
        let name: StrDeserializer<'_, Wrong> = name.as_str().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let Some((name, value)) = self.value.take() else { return Err(Wrong::new("a value was read before its name")) };
        seed.deserialize(Field { value, text: self.text }).map_err(|wrong| wrong.within(name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stillframe_api::{
        audit::ListAudit,
        cluster::{CreateCluster, PageQuery},
        restore::StartRestore,
    };

    use super::*;

    fn said<T: DeserializeOwned + fmt::Debug>(value: Value) -> String {
        of_json::<T>(&value).expect_err("it is wrong").to_string()
    }

    fn asked<T: DeserializeOwned + fmt::Debug>(name: &str, value: &str) -> String {
        of_query::<T>(vec![(name.to_owned(), value.to_owned())]).expect_err("it is wrong").to_string()
    }

    #[test]
    fn what_is_wrong_names_the_field_what_it_takes_and_what_was_found() {
        let create = |field: &str, value: Value| {
            let mut body = json!({"name": "bank", "min_members": 2});
            body[field] = value;
            said::<CreateCluster>(body)
        };
        assert_eq!(create("min_members", json!("two")), "min_members: expected a whole number, such as 3, found \"two\"");
        assert_eq!(create("min_members", json!(-1)), "min_members: expected a whole number from 0 to 4294967295, found -1");
        assert_eq!(create("snapshot_timeout", json!(30)), "snapshot_timeout: expected a duration such as \"30s\", found 30");
        assert_eq!(create("on_loss", json!("cry")), "on_loss: expected one of restore_latest, halt, found \"cry\"");
        assert_eq!(create("on_loss", json!(1)), "on_loss: expected one of restore_latest, halt, found 1");
        assert_eq!(
            create("rollback", json!({"limit": []})),
            "rollback.limit: expected a whole number, such as 3, found an array"
        );
        assert_eq!(create("rollback", json!([])), "rollback: expected a JSON object, found an array");
        assert!(create("colour", json!("red")).starts_with("there is no field \"colour\": expected some of name, "));
        assert_eq!(said::<CreateCluster>(json!({"name": "bank"})), "min_members: it is missing");
        let restore = |field: &str, value: Value| said::<StartRestore>(json!({ field: value }));
        for found in [json!("yesterday"), json!(7)] {
            let says = restore("before", found.clone());
            assert!(says.starts_with("before: expected a time as RFC 3339 such as \"2026-03-01T14:00:00Z\""), "{says}");
            assert!(says.ends_with(&format!("found {found}")), "{says}");
        }
        assert!(restore("snapshot", json!("7")).starts_with("snapshot: \"7\" is no id: expected a UUID such as "));
        assert!(restore("snapshot", json!(7)).ends_with("found 7"));
        assert_eq!(restore("latest", json!("yes")), "latest: expected true or false, found \"yes\"");
    }

    #[test]
    fn what_is_wrong_with_a_query_is_told_the_same_way() {
        assert_eq!(asked::<PageQuery>("limit", "abc"), "limit: expected a whole number from 1 to 500, found \"abc\"");
        assert!(asked::<ListAudit>("since", "foo").starts_with("since: expected a time as RFC 3339 such as "));
        let twice = vec![("limit".to_owned(), "1".to_owned()), ("limit".to_owned(), "2".to_owned())];
        assert_eq!(of_query::<PageQuery>(twice).expect_err("twice").to_string(), "limit: expected once, found several times");
        let query: PageQuery = of_query(vec![("limit".to_owned(), "7".to_owned())]).expect("it is right");
        assert_eq!(query.limit, Some(7));
    }
}
