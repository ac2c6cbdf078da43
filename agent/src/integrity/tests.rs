//! Chains from end to end: what was made is intact, and nothing can be done to it unseen.

use proptest::{
    prelude::{Strategy, any, prop},
    prop_oneof, proptest,
};

use super::{
    chain::{Chain, name_of},
    checkpoint,
    note::Signer,
    verify::{ChainReport, Problem, Report, Verifier},
};

/// The lines of a whole run: so many events, a checkpoint each five, the end.
fn run(host: &str, events: usize) -> Vec<String> {
    run_by(&Signer::new(host, &[1; 32]).unwrap(), host, events)
}

fn run_by(signer: &Signer, host: &str, events: usize) -> Vec<String> {
    let mut chain = Chain::new(name_of(host, &[7; 16]));
    let mut lines = Vec::new();
    let mut add = |chain: &mut Chain, json: &str| {
        let mut line = Vec::new();
        chain.link(json, &mut line).unwrap();
        lines.push(String::from_utf8(line).unwrap());
    };
    let checkpoint_of = |chain: &Chain| {
        let note = serde_json::to_string(&checkpoint::sign(signer, chain, None, &[])).unwrap();
        format!(r#"{{"event":{{"type":"agent.checkpoint"}},"checkpoint":{{"note":{note}}}}}"#)
    };
    for nth in 0..events {
        add(&mut chain, &format!(r#"{{"event":{{"type":"access","uid":"{nth}"}},"z":[1,true]}}"#));
        if nth % 5 == 4 {
            let note = checkpoint_of(&chain);
            add(&mut chain, &note);
        }
    }
    add(&mut chain, r#"{"event":{"type":"agent.stop"}}"#);
    let note = checkpoint_of(&chain);
    add(&mut chain, &note);
    lines
}

fn verify<L: AsRef<str>>(lines: &[L]) -> Report {
    let key = Signer::new("h7", &[1; 32]).unwrap().verifying_key();
    let mut verifier = Verifier::new(vec![key]);
    lines.iter().for_each(|line| verifier.line(line.as_ref().as_bytes()));
    verifier.conclude()
}

/// What key 1 says of key 2, its successor, in a chain that began after the one of [`run`].
fn succession() -> String {
    let [one, two] = [1, 2].map(|seed| Signer::new("h7", &[seed; 32]).unwrap());
    let chain = Chain::new(name_of("h7", &[8; 16]));
    checkpoint::sign(&one, &chain, Some(&two.verifying_key()), &[])
}

#[test]
fn a_key_that_was_stolen_later_signs_no_other_past() {
    let stolen = Signer::new("h7", &[2; 32]).unwrap();
    let verify = |lines: &[String]| {
        let mut verifier =
            Verifier::new(vec![Signer::new("h7", &[1; 32]).unwrap().verifying_key()]);
        verifier.successions(&succession());
        lines.iter().for_each(|line| verifier.line(line.as_bytes()));
        verifier.conclude()
    };
    let report = verify(&run("h7", 12));
    assert!(report.is_intact() && report.inherited == 1, "{report}");
    let report = verify(&run_by(&stolen, "h7", 12));
    let problems = [5, 11, 15].map(Problem::Early);
    assert_eq!(only(&report).problems, problems, "{report}");
    assert!(report.to_string().contains("checkpoint 5 is signed by a key that was made later"));
    // Without the succession, nobody knows that key.
    let lines = run_by(&stolen, "h7", 12);
    assert_eq!(only(&self::verify(&lines)).checkpoints, (0, 3));
}

#[test]
fn what_a_key_said_before_it_was_replaced_holds_without_the_event() {
    let signer = Signer::new("h7", &[1; 32]).unwrap();
    let next = Signer::new("h7", &[2; 32]).unwrap().verifying_key();
    // Somebody left out the checkpoints, and changed an event.
    let forge = |path: &str| {
        let mut chain = Chain::new(name_of("h7", &[7; 16]));
        let event = |path| format!(r#"{{"event":{{"type":"access"}},"path":"{path}"}}"#);
        let mut lines = Vec::new();
        for path in ["/a", path, "/c"] {
            chain.link(&event(path), &mut lines).unwrap();
            lines.push(b'\n');
        }
        (chain, lines)
    };
    let succession = checkpoint::sign(&signer, &forge("/b").0, Some(&next), &[]);
    for (path, problems) in [("/b", &[][..]), ("/x", &[Problem::Denied(2)])] {
        let mut verifier = Verifier::new(vec![signer.verifying_key()]);
        verifier.successions(&succession);
        forge(path).1.split(|byte| *byte == b'\n').for_each(|line| verifier.line(line));
        assert_eq!(only(&verifier.conclude()).problems, problems);
    }
}

fn only(report: &Report) -> &ChainReport {
    assert_eq!(report.chains.len(), 1, "{report}");
    &report.chains[0]
}

#[test]
fn a_whole_run_is_intact_whatever_the_order() {
    let mut lines = run("h7", 12);
    let report = verify(&lines);
    let chain = only(&report);
    assert!(report.is_intact(), "{report}");
    assert_eq!((chain.events, chain.checkpoints, chain.signed_to), (16, (3, 0), 15));
    assert!(chain.is_closed && chain.out_of_order == 0 && chain.duplicates == 0);
    let twice = lines[3].clone();
    lines.push(twice);
    lines.swap(1, 2);
    let report = verify(&lines);
    let chain = only(&report);
    assert!(report.is_intact(), "{report}");
    assert_eq!((chain.events, chain.duplicates, chain.out_of_order), (16, 1, 2));
}

#[test]
fn chains_of_several_runs_are_told_apart() {
    let lines = [run("h7", 3), run("h8", 4)].concat();
    let report = verify(&lines);
    assert_eq!(report.chains.len(), 2);
    assert!(report.is_intact());
    // The key of the other host was not given.
    assert_eq!(report.chains[1].checkpoints, (0, 1));
    assert_eq!(verify(&["{}", "no event", ""]).foreign, 2);
}

#[test]
fn what_the_agent_dropped_is_explained_exactly() {
    let mut lines = run("h7", 12);
    let name = name_of("h7", &[7; 16]);
    let mut chain = Chain::new(name_of("h7", &[8; 16]));
    let mut tombstone = Vec::new();
    let gap = format!(
        r#"{{"event":{{"type":"agent.gap"}},"gap":{{"chain":"{name}","from":2,"to":5,"count":2}}}}"#
    );
    chain.link(&gap, &mut tombstone).unwrap();
    lines.push(String::from_utf8(tombstone).unwrap());
    lines.drain(2..4);
    let report = verify(&lines);
    assert!(report.is_intact(), "{report}");
    assert_eq!(report.chains[0].dropped, 2);
    // One more than was told.
    let report = verify(&[&lines[..2], &lines[3..]].concat());
    assert_eq!(report.chains[0].problems, [Problem::Missing(2, 4)]);
}

#[test]
fn the_first_thing_that_is_wrong_is_told() {
    let mut lines = run("h7", 12);
    lines[9] = lines[9].replace("access", "excess");
    lines.remove(3);
    let report = verify(&lines).to_string();
    assert!(report.contains("event 3 is missing, and 1 more; 15 events"), "{report}");
}

#[test]
fn of_mapped_formats_the_linkage_is_checked() {
    let mapped = |line: &String| {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        let integrity = &json["integrity"];
        let text = |name: &str| integrity[name].as_str().unwrap().to_owned();
        let (chain, prev, hash, seq) =
            (text("chain"), text("prev"), text("hash"), &integrity["seq"]);
        [
            format!(
                r#"{{"class_uid":6003,"unmapped":{{"scopewatch":{{"integrity":{integrity}}}}}}}"#
            ),
            format!(
                r#"<86>1 - h - - - [scopewatch@1 chain="{chain}" seq="{seq}" prev="{prev}" hash="{hash}"] m"#
            ),
            format!("CEF:0|a|b|1|c|d|1|chain={chain} seq={seq} prev={prev} hash={hash} x=y"),
        ]
    };
    let lines = run("h7", 12);
    for format in 0..3 {
        let mut lines: Vec<_> = lines.iter().map(|line| mapped(line)[format].clone()).collect();
        let report = verify(&lines);
        assert!(report.is_intact(), "{report}");
        assert_eq!(only(&report).mapped, 16);
        lines.remove(4);
        assert_eq!(only(&verify(&lines)).problems, [Problem::Missing(4, 4)]);
    }
}

#[test]
fn what_a_caller_says_of_itself_is_not_taken_for_the_chain() {
    let lines = run("h7", 12);
    let evil = "x chain=evil seq=9 prev=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA \
                hash=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE x";
    let mapped = |line: &String| {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        let pair = |name: &str| {
            let value = &json["integrity"][name];
            (name.to_owned(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        };
        let pairs = ["chain", "seq", "prev", "hash"].map(pair);
        let quoted = pairs.clone().map(|(name, value)| format!(" {name}=\"{value}\"")).concat();
        let joined =
            |by: &str| pairs.clone().map(|(name, value)| format!("{by}{name}={value}")).concat();
        let escaped = evil.replace('=', "\\=");
        [
            format!("<86>1 - h - - - [scopewatch@1 ua=\"{evil}\"{quoted}] {evil}"),
            format!("CEF:0|a|b|1|c|GET {evil}|1|request={escaped}{}", joined(" ")),
            format!("LEEF:2.0|a|b|1|c|x09|userAgent={evil}{}", joined("\t")),
            // A receiver's line with the event as it is in it.
            format!("<86>1 - h - - - [origin software=\"{evil}\"] {line}"),
        ]
    };
    for format in 0..4 {
        let report =
            verify(&lines.iter().map(|line| mapped(line)[format].clone()).collect::<Vec<_>>());
        assert!(report.is_intact() && report.foreign == 0, "{format}: {report}");
        let chain = only(&report);
        assert_eq!((chain.name.as_str(), chain.events), (name_of("h7", &[7; 16]).as_str(), 16));
        assert_eq!(chain.mapped, if format == 3 { 0 } else { 16 });
    }
}

#[derive(Clone, Debug)]
enum Attack {
    Remove(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Flip(prop::sample::Index, prop::sample::Index, u8),
    Renumber(prop::sample::Index, u64),
}

fn attack() -> impl Strategy<Value = Attack> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        index().prop_map(Attack::Remove),
        (index(), index()).prop_map(|(a, b)| Attack::Swap(a, b)),
        (index(), index(), 1..127_u8).prop_map(|(line, at, by)| Attack::Flip(line, at, by)),
        (index(), 0..30_u64).prop_map(|(line, to)| Attack::Renumber(line, to)),
    ]
}

proptest! {
    #[test]
    fn nothing_is_done_to_a_chain_unseen(events in 1..30_usize, attack in attack()) {
        let original = run("h7", events);
        let mut lines = original.clone();
        match &attack {
            Attack::Remove(line) => drop(lines.remove(line.index(original.len()))),
            Attack::Swap(a, b) => lines.swap(a.index(original.len()), b.index(original.len())),
            Attack::Flip(line, at, by) => {
                let line = &mut lines[line.index(original.len())];
                let mut bytes = line.clone().into_bytes();
                let at = at.index(bytes.len());
                bytes[at] ^= by;
                *line = String::from_utf8_lossy(&bytes).into_owned();
            }
            Attack::Renumber(line, to) => {
                let line = &mut lines[line.index(original.len())];
                let at = line.rfind("\"seq\":").unwrap() + 6;
                let end = at + line.get(at..).unwrap().find(',').unwrap();
                line.replace_range(at..end, &to.to_string());
            }
        }
        let untouched = lines == original;
        let report = verify(&lines);
        let told = !report.is_intact()
            || report.foreign > 0
            || report.chains.iter().any(|chain| chain.out_of_order > 0 || !chain.is_closed);
        assert!(told || untouched, "{attack:?} was not told: {report}");
    }
}
