//! What is written is what serde says, and is called canonical exactly where it is.

use std::collections::BTreeMap;

use proptest::{
    collection::{btree_map, vec},
    prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest},
};
use serde::Serialize;
use serde_json::{Value, json, value::to_raw_value};

use super::*;
use crate::{integrity::canonical, text::is_hostile};

/// What serde can describe, one of each shape.
#[derive(Debug, Serialize)]
struct Shapes<'a> {
    a_text: &'a str,
    b_number: i64,
    c_large: u64,
    d_list: &'a [u8],
    e_pair: (char, Option<bool>),
    f_nothing: (),
    g_new: New<'a>,
    h_inner: Inner<'a>,
    i_variants: [Variant<'a>; 4],
}

#[derive(Debug, Serialize)]
struct New<'a>(&'a str);

#[derive(Debug, Serialize)]
struct Inner<'a> {
    text: &'a str,
}

#[derive(Debug, Serialize)]
enum Variant<'a> {
    Bare,
    New(&'a str),
    Tuple(u8, i8),
    Struct { member: &'a str },
}

fn shapes(text: &str, number: i64, large: u64) -> Shapes<'_> {
    Shapes {
        a_text: text,
        b_number: number,
        c_large: large,
        d_list: text.as_bytes(),
        e_pair: (text.chars().next().unwrap_or('x'), Some(number > 0)),
        f_nothing: (),
        g_new: New(text),
        h_inner: Inner { text },
        i_variants: [
            Variant::Bare,
            Variant::New(text),
            Variant::Tuple(1, -1),
            Variant::Struct { member: text },
        ],
    }
}

fn written(value: &impl Serialize) -> (String, bool) {
    let mut out = "before".to_owned();
    let is_canonical = append(value, &mut out).unwrap();
    (out.strip_prefix("before").unwrap().to_owned(), is_canonical)
}

/// Text of all kinds of characters, most of which stand for themselves.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,40}", "[a\"\\\\\u{7f}\u{1b}\t\u{202e}\u{10ffff}é]{0,20}", any::<String>()]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // As far as readers of JSON agree on them to the last bit.
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            btree_map(text(), inner, 0..5).prop_map(|members| json!(members)),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_means_the_same_and_no_terminal_acts_on_it(value in value()) {
        let (line, _) = written(&value);
        prop_assert!(!line.chars().any(is_hostile), "{line:?}");
        prop_assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }

    #[test]
    fn every_shape_is_written_as_others_write_it(
        text in text(), number in any::<i64>(), large in any::<u64>()
    ) {
        let shapes = shapes(&text, number, large);
        let (line, is_canonical) = written(&shapes);
        let value: Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(value, serde_json::to_value(&shapes).unwrap());
        // Said exactly where it is so: the members are in order.
        let plain = !text.chars().any(|c| is_hostile(c) && c >= ' ');
        let small = number.unsigned_abs().max(large) <= canonical::MAX_INTEGER;
        prop_assert_eq!(is_canonical, plain && small, "{}", line);
        if is_canonical {
            let mut form = Vec::new();
            canonical::append(&line, "", &mut form).unwrap();
            prop_assert_eq!(String::from_utf8(form).unwrap(), line);
        }
    }

    #[test]
    fn a_byte_that_is_not_plain_is_found_wherever_it_stands(
        before in "[ a-z]{0,20}", odd in any::<u8>(), after in "[ a-z]{0,20}"
    ) {
        let text = [before.as_bytes(), &[odd], after.as_bytes()].concat();
        let plain = matches!(odd, b' '..=b'~') && !matches!(odd, b'"' | b'\\');
        prop_assert_eq!(writer::is_plain(&text), plain, "{:?}", text);
    }
}

#[test]
fn members_that_are_not_in_order_are_not_called_canonical() {
    #[derive(Serialize)]
    struct Twisted {
        b: u8,
        a: u8,
    }
    assert_eq!(written(&Twisted { b: 1, a: 2 }), (r#"{"b":1,"a":2}"#.to_owned(), false));
    // Of a map it is not looked at.
    let map = BTreeMap::from([("a", 1), ("b", 2)]);
    assert_eq!(written(&map), (r#"{"a":1,"b":2}"#.to_owned(), false));
    // Nor of what is JSON already, which is copied.
    let raw = to_raw_value(&json!({"z": [1, "x"]})).unwrap();
    assert_eq!(written(&[raw]), (r#"[{"z":[1,"x"]}]"#.to_owned(), true));
    assert_eq!(written(&1.0_f32), ("1.0".to_owned(), false));
}

#[test]
fn what_cannot_be_written_leaves_nothing() {
    let numbered = BTreeMap::from([(vec![1], "x")]);
    let mut out = "before".to_owned();
    assert!(append(&numbered, &mut out).is_err());
    assert_eq!(out, "before");
}
