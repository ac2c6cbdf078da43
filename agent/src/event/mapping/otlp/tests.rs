//! Both encodings, read by the messages that the OpenTelemetry project publishes.

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest, common::v1::any_value::Value as Theirs,
};
use proptest::{prelude::any, proptest};
use prost::Message as _;
use serde_json::{Value, json};

use super::{Item, gathered, json};

fn event(uid: &str, host: &str) -> Value {
    json!({
        "event": {"uid": uid, "type": "access", "time": "2026-11-22T10:04:31.118204Z",
            "observed_time": "2026-11-22T10:04:31.121204Z", "severity": "high", "outcome": "success"},
        "host": {"id": "8f4e", "name": host},
        "agent": {"version": "0.1.0"},
        "http": {"method": "POST", "path": "/v1/refunds/{int}", "status": 201},
        "authz": {"scopes": ["orders:read", "refunds:write"]},
        "observation": {"complete": true},
        "trace": {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"},
        "odd": {"large": u64::MAX, "half": 0.5, "nothing": null},
    })
}

/// The same records, read from both encodings.
fn read(events: &[Value]) -> ExportLogsServiceRequest {
    let ours = gathered(events.iter().map(|event| Item::of(event).unwrap()));
    let from_bytes = ExportLogsServiceRequest::decode(ours.encode_to_vec().as_slice()).unwrap();
    let from_text: ExportLogsServiceRequest =
        serde_json::from_str(&json::logs(&ours).to_string()).unwrap();
    assert_eq!(from_bytes, from_text);
    from_bytes
}

#[test]
fn every_member_is_where_the_protocol_has_it() {
    let request = read(&[event("a", "h7")]);
    let resource = &request.resource_logs[0].resource.as_ref().unwrap().attributes;
    assert_eq!(resource[0].key, "service.name");
    let scope = request.resource_logs[0].scope_logs[0].scope.as_ref().unwrap();
    assert_eq!((scope.name.as_str(), scope.version.as_str()), ("scopewatch", "0.1.0"));
    let record = &request.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!(record.time_unix_nano, 1_795_341_871_118_204_000);
    assert_eq!(record.observed_time_unix_nano, 1_795_341_871_121_204_000);
    assert_eq!((record.severity_number, record.severity_text.as_str()), (17, "high"));
    assert_eq!(record.event_name, "scopewatch.access");
    assert_eq!(record.trace_id[..4], [0x4b, 0xf9, 0x2f, 0x35]);
    assert_eq!(record.span_id, [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
    let value = |key: &str| {
        let found = record.attributes.iter().find(|pair| pair.key == key);
        found.and_then(|pair| pair.value.clone()).and_then(|value| value.value)
    };
    let text = |text: &str| Some(Theirs::StringValue(text.to_owned()));
    assert_eq!(value("log.record.uid"), text("a"));
    assert_eq!(value("http.response.status_code"), Some(Theirs::IntValue(201)));
    assert_eq!(value("scopewatch.observation.complete"), Some(Theirs::BoolValue(true)));
    assert_eq!(value("scopewatch.odd.large"), text("18446744073709551615"));
    assert_eq!(value("scopewatch.odd.half"), Some(Theirs::DoubleValue(0.5)));
    let Some(Theirs::ArrayValue(scopes)) = value("scopewatch.authz.scopes") else { panic!() };
    assert_eq!(scopes.values.len(), 2);
}

#[test]
fn records_of_one_resource_are_together_and_stay_in_order() {
    let events = [event("a", "h7"), event("b", "h7"), event("c", "h8"), event("d", "h7")];
    let counts: Vec<_> = read(&events)
        .resource_logs
        .iter()
        .map(|resource| resource.scope_logs[0].log_records.len())
        .collect();
    assert_eq!(counts, [2, 1, 1]);
}

#[test]
fn ids_that_are_none_are_left_out() {
    for id in ["", "4bf9", "xyz", "4bf92f3577b34da6a3ce929d0e0e473\u{e9}"] {
        let mut event = event("a", "h7");
        event["trace"]["trace_id"] = json!(id);
        let request = read(&[event]);
        assert!(request.resource_logs[0].scope_logs[0].log_records[0].trace_id.is_empty());
    }
}

proptest! {
    #[test]
    fn both_encodings_say_the_same(
        text in any::<String>(),
        number in any::<i64>(),
        list in proptest::collection::vec(any::<String>(), 0..4),
        trace in any::<[u8; 16]>(),
    ) {
        let mut event = event(&text, "h7");
        event["http"]["status"] = json!(number);
        event["authz"]["scopes"] = json!(list);
        let hex = u128::from_be_bytes(trace);
        event["trace"]["trace_id"] = json!(format!("{hex:032x}"));
        let request = read(&[event]);
        let record = &request.resource_logs[0].scope_logs[0].log_records[0];
        assert_eq!(record.trace_id, trace);
    }
}
