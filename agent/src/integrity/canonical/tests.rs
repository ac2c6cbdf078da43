//! What has a canonical form, which it is, and that both ways to it agree.

use proptest::{
    collection::vec,
    prelude::{BoxedStrategy, Just, Strategy as _, any, prop_oneof, proptest},
};

use super::*;
use crate::event::json;

fn canonical(json: &str) -> Result<String, NotCanonical> {
    let mut out = Vec::new();
    append(json, "integrity", &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[track_caller]
fn check(json: &str, expected: &str) {
    assert_eq!(canonical(json).as_deref(), Ok(expected), "{json}");
}

#[test]
fn members_are_sorted_by_utf_16_units() {
    // RFC 8785 §3.2.3
    check(
        r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#,
        "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}",
    );
    check(r#"{ "b" : [ 1 , { } , [ ] ] , "a" : true }"#, r#"{"a":true,"b":[1,{},[]]}"#);
    // Only the outermost member of that name is left out.
    check(r#"{"integrity":{"x":1},"a":{"integrity":null}}"#, r#"{"a":{"integrity":null}}"#);
}

#[test]
fn strings_are_written_in_one_way() {
    // RFC 8785 §3.2.2: input and output of its sample.
    check(
        r#""\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/""#,
        "\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"",
    );
    check(r#""\b\f\t\r\u007f""#, "\"\\b\\f\\t\\r\u{7f}\"");
}

#[test]
fn numbers_are_written_as_ecmascript_does() {
    // RFC 8785 appendix B.
    for (bits, text) in [
        (0x0000_0000_0000_0000_u64, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
    ] {
        assert_eq!(number(f64::from_bits(bits)).as_deref(), Some(text));
    }
    assert_eq!(number(f64::NAN), None);
    assert_eq!(number(f64::INFINITY), None);
    assert_eq!(number(-0.000_003_671).as_deref(), Some("-0.000003671"));
}

#[test]
fn what_could_be_changed_unseen_is_refused() {
    for (json, why) in [
        (r#"{"a":1,"a":1}"#, NotCanonical::Duplicate),
        (r#"{"a":1,"\u0061":2}"#, NotCanonical::Duplicate),
        ("1.0", NotCanonical::Number),
        ("18446744073709551615", NotCanonical::Number),
        ("-0", NotCanonical::Number),
        ("01", NotCanonical::Number),
        ("1E3", NotCanonical::Number),
        ("{\"a\":1} x", NotCanonical::Syntax),
        ("\"\\ud800\"", NotCanonical::Syntax),
        ("\"\u{1}\"", NotCanonical::Syntax),
        ("\"\\u+123\"", NotCanonical::Syntax),
        ("{\"a\"}", NotCanonical::Syntax),
        ("[1,]", NotCanonical::Syntax),
        ("", NotCanonical::Syntax),
        ("-", NotCanonical::Syntax),
        ("nul", NotCanonical::Syntax),
    ] {
        assert_eq!(canonical(json), Err(why), "{json}");
    }
    assert_eq!(canonical(&"[".repeat(10_000)), Err(NotCanonical::Depth));
    check("9007199254740991", "9007199254740991");
}

#[test]
fn numbers_that_traffic_chose_do_not_cost_the_event() {
    let json = r#"{"exp":18446744073709551615,"left":-9223372036854775808,"f":1.0,"ok":[7]}"#;
    let plain = with_plain_numbers(json).unwrap();
    let expected = r#"{"exp":9007199254740991,"f":"1.0","left":-9007199254740991,"ok":[7]}"#;
    assert_eq!(canonical(&plain).as_deref(), Ok(expected));
    assert_eq!(with_plain_numbers("{"), None);
}

/// JSON, nearly JSON, and JSON that is written otherwise than the agent does.
fn any_json() -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        8 => prop_oneof![
            Just("1"), Just("0"), Just("-30"), Just("9007199254740991"), Just("true"),
            Just("false"), Just("null"), Just("\"a\""), Just("\"é\""), Just("\"\""),
        ],
        1 => prop_oneof![
            Just("1.5"), Just("01"), Just("-0"), Just("-"), Just("9007199254740992"), Just("tru"),
            Just("\"\\n\""), Just("\"\\u0041\""), Just("\"a"), Just(" 1"), Just("1e3"),
        ],
    ];
    let name = prop_oneof![
        8 => prop_oneof![Just("a"), Just("b"), Just("ab"), Just("B"), Just("integrity"), Just("")],
        1 => prop_oneof![Just("é"), Just("\\n"), Just("\u{fb33}"), Just("😀")],
    ];
    let comma = prop_oneof![12 => Just(","), 1 => Just(", "), 1 => Just(",\n")];
    leaf.prop_map(str::to_owned)
        .prop_recursive(5, 60, 6, move |inner| {
            let member =
                (name.clone(), inner.clone()).prop_map(|(name, it)| format!("\"{name}\":{it}"));
            prop_oneof![
                (vec(member, 0..6), comma.clone())
                    .prop_map(|(members, comma)| format!("{{{}}}", members.join(comma))),
                (vec(inner, 0..4), comma.clone())
                    .prop_map(|(values, comma)| format!("[{}]", values.join(comma))),
            ]
        })
        .boxed()
}

#[test]
fn what_the_agent_writes_goes_the_short_way() {
    let event = include_str!("../../../benches/event.json").trim();
    let mut out = Vec::new();
    assert_eq!(tidy::append(event, "agent", &mut out), Some(()));
    let value: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(value.to_string().into_bytes(), out);
    assert!(value.get("agent").is_none());
    let event = json::line(&json::parse(event).unwrap()).unwrap();
    assert!(tidy::is_canonical_without(&event, "integrity"));
    assert!(!tidy::is_canonical_without(&event, "agent"));
}

proptest! {
    #[test]
    fn the_short_way_ends_where_the_long_one_does(json in any_json()) {
        let (mut short, mut long) = (Vec::new(), Vec::new());
        let goes = tidy::append(&json, "integrity", &mut short).is_some();
        let end = append_any(&json, "integrity", &mut long);
        assert!(!goes || end == Ok(()), "{json}: {end:?}");
        if goes {
            assert_eq!(String::from_utf8(short), String::from_utf8(long), "{json}");
        }
    }

    #[test]
    fn what_is_found_canonical_is(json in any_json()) {
        if tidy::is_canonical_without(&json, "integrity") {
            check(&json, &json);
        }
        let Ok(form) = canonical(&json) else { return Ok(()) };
        // What is not ASCII, has escapes or large numbers, is left to the long way.
        let is_odd = form.contains(['\\', '.']) || form.contains("9007199254740992");
        if form.starts_with('{') && form.is_ascii() && !is_odd {
            assert!(tidy::is_canonical_without(&form, "integrity"), "{form}");
        }
    }

    #[test]
    fn what_is_canonical_stays(text in any::<String>(), bits in any::<u64>()) {
        let mut once = Vec::new();
        write_string(&text, &mut once);
        let once = String::from_utf8(once).unwrap();
        assert_eq!(canonical(&once).as_deref(), Ok(&*once));
        assert_eq!(serde_json::from_str::<String>(&once).unwrap(), text);
        let value = f64::from_bits(bits);
        if let Some(text) = number(value) {
            assert_eq!(text.parse::<f64>().unwrap(), value);
            assert_eq!(canonical(&text).as_deref(), Ok(&*text));
        }
    }
}
