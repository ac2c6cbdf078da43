//! Events of every type, with every field and with as few as there can be: what other tests map and
//! validate. In: the samples of these tests. Out: `tests/corpora/events/every_type.jsonl`, which
//! `INSTA_UPDATE=always` writes anew.

use std::{collections::BTreeSet, env, fs, path::Path};

use serde_json::Value;

use super::{full, github, grpc, mcp, notices, rfc9068};
use crate::{
    config::{policyfile::Reload, rulebook::Renewal},
    event::{
        control, json,
        model::{EventType, Severity},
        notice::Notice,
        sample::{START, author, connection, event, event_of, exchange, observe, origin},
    },
    flow::chunk::Connection,
    http::message::{Exchange, Phase, Role},
    integrity::{
        canonical,
        chain::{Chain, MEMBER},
    },
    observation::SubjectMode,
    policy::compiled::PolicyId,
};

/// Accesses of all kinds: full, poor, and incomplete ones.
fn accesses() -> Vec<String> {
    let without_answer = Exchange { response: None, ..rfc9068() };
    let without_request = Exchange { request: None, ..rfc9068() };
    let unknown = Connection { socket: None, ..connection(Role::Server) };
    let mut begun = rfc9068();
    begun.phase = Phase::Begun;
    let begun = observe(&begun, &connection(Role::Server), SubjectMode::Plain);
    let mut events = vec![
        full(),
        event(&github()),
        event(&exchange(Role::Server, "GET", "/", &[], 204)),
        event(&exchange(Role::Client, "BREW", "/pot", &[], 418)),
        event(&without_answer),
        event(&without_request),
        event_of(&without_request, &unknown),
        event(&grpc(200, 1, Some("7"))),
        event(&mcp(
            br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"refund"}}"#,
        )),
        author().access(7, &begun),
    ];
    for severity in [Severity::Info, Severity::High, Severity::Critical] {
        let mut check = full();
        (check.event.r#type, check.event.severity) = (EventType::ScopeCheck, severity);
        events.push(check);
    }
    events.iter().map(|event| json::line(event).unwrap()).collect()
}

fn corpus() -> String {
    let loaded = PolicyId { file: "policy.yaml".into(), hash: "a".into() };
    let loaded = Notice::of(&origin(), &Renewal::Policy(Reload::Loaded(loaded)), START);
    let notices = notices().into_iter().chain([loaded]);
    let notices = notices.map(|notice| json::line(&notice).unwrap());
    let (host, agent) = origin().groups();
    let own = control::sample();
    let own = own
        .iter()
        .zip(0..)
        .map(|(each, seq)| each.to_json(&host, &agent, "h7/01KAXQ", seq, START).unwrap());
    let mut chain = Chain::new("h7/01KAXQ".to_owned());
    let mut lines = Vec::new();
    for line in accesses().into_iter().chain(notices).chain(own) {
        chain.link(line.trim_end(), &mut lines).unwrap();
        lines.push(b'\n');
    }
    String::from_utf8(lines).unwrap()
}

#[test]
fn the_corpus_of_events_is_current_and_has_every_type() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = path.join("../tests/corpora/events/every_type.jsonl");
    let made = corpus();
    if env::var_os("INSTA_UPDATE").is_some_and(|how| how == "always") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(path).unwrap();
    assert!(kept == made, "write it anew with INSTA_UPDATE=always");
    let types: BTreeSet<_> = kept
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|event| event["event"]["type"].as_str().unwrap().to_owned())
        .collect();
    for kind in EventType::ALL {
        assert!(types.contains(kind.as_str()), "{kind}");
    }
    assert!(control::sample().iter().all(|each| types.contains(each.type_name())));
}

/// What is canonical as it stands is hashed without being put in order first.
#[test]
fn events_of_exchanges_and_of_policies_are_written_in_canonical_form() {
    let notices = notices().into_iter().map(|notice| json::line(&notice).unwrap());
    for line in accesses().into_iter().chain(notices) {
        let mut canonical = Vec::new();
        canonical::append(&line, MEMBER, &mut canonical).unwrap();
        assert_eq!(String::from_utf8(canonical).unwrap(), line.trim_end());
    }
}
