//! `policy check`, `explain`, `test` and `suggest`, and `token inspect --policy`.

use std::{fs, path::PathBuf, time::SystemTime};

use anyhow::Result;
use scopewatch::clock::Timestamp;
use scopewatch_harness::tokens::{AUDIENCE, Claims, ISSUER, Mint, Token};

use crate::{
    BAD_DATA, CONFIG, NO_INPUT,
    audit_log::{self, Call, PORT, path},
    run, run_on,
};

/// A policy beside the key of its issuer, and tokens of that issuer.
struct Desk {
    dir: tempfile::TempDir,
    mint: Mint,
    policy: PathBuf,
}

/// Lines are counted by tests.
const POLICY: &str = r#"version: 1
issuers:
- {id: corp, match: ["@ISSUER@"], profile: lax, jwks: {file: "@KEYS@"}}
services:
- id: orders
  select: {ports: [@PORT@]}
  audiences: ["@AUDIENCE@"]
  routes:
  - match: {methods: [GET], path: "/orders/{id}"}
    require: {scopes: {any: ["orders:read"]}}
  - match: {methods: [POST], path: /refunds}
    require: {scopes: {all: ["refunds:write"]}}
"#;

impl Desk {
    fn open() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mint = Mint::make(dir.path())?;
        let keys = dir.path().join("keys.pem");
        fs::write(&keys, mint.public_key()?)?;
        let policy = dir.path().join("policy.yaml");
        let text = POLICY.replace("@ISSUER@", ISSUER).replace("@AUDIENCE@", AUDIENCE);
        let text = text.replace("@KEYS@", path(&keys)?).replace("@PORT@", &PORT.to_string());
        fs::write(&policy, text)?;
        Ok(Self { dir, mint, policy })
    }

    fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.dir.path().join(name);
        fs::write(&file, text)?;
        Ok(file)
    }

    fn token(&self, client: &str, scope: &str) -> Result<Token> {
        self.mint.sign(&Claims::of("alice").client_id(client).scope(scope))
    }
}

#[test]
fn a_policy_that_is_in_order_is_counted() -> Result<()> {
    let desk = Desk::open()?;
    let said = run(&["policy", "check", path(&desk.policy)?])?.well();
    assert!(said.contains("policy.yaml: 1 issuers, 1 services, 2 routes, 0 warnings"), "{said}");
    Ok(())
}

#[test]
fn each_mistake_in_a_policy_is_told_with_its_place_and_a_hint() -> Result<()> {
    let desk = Desk::open()?;
    let text = fs::read_to_string(&desk.policy)?;
    for (from, to, words) in [
        (
            "{scopes: {all",
            "{scops: {all",
            "policy.yaml:12:15: unknown key `scops`, did you mean `scopes`?",
        ),
        ("profile: lax", "profile: keycloack", "did you mean `keycloak`?"),
        (
            "[POST], path: /refunds",
            "[POST], path: \"/refunds/{id\"",
            "policy.yaml:11:36: `/refunds/{id` is no template",
        ),
        ("version: 1", "version: 2", "policy.yaml:1:10: version 2 of the format is not known"),
        ("version: 1", "version: [", "policy.yaml:"),
    ] {
        let bad = desk.dir.path().join("bad");
        fs::create_dir_all(&bad)?;
        let bad = bad.join("policy.yaml");
        fs::write(&bad, text.replacen(from, to, 1))?;
        let out = run(&["policy", "check", path(&bad)?])?.badly(CONFIG, &[words]);
        assert_eq!(out, "", "{to}");
    }
    let absent = desk.dir.path().join("absent.yaml");
    run(&["policy", "check", path(&absent)?])?.badly(CONFIG, &["absent.yaml"]);
    Ok(())
}

#[test]
fn an_explanation_names_the_line_of_the_policy() -> Result<()> {
    let desk = Desk::open()?;
    let token = desk.file("token", desk.token("web", "orders:read")?.as_str())?;
    let explain = |request: &str, more: &[&str]| {
        let request = desk.file("call.http", &format!("{request} HTTP/1.1\nHost: api\n\n"))?;
        let arguments = ["policy", "explain", path(&desk.policy)?, "--request", path(&request)?];
        run(&[&arguments, more].concat())
    };
    let with_token = ["--token", path(&token)?];
    for (request, arguments, lines) in [
        (
            "GET /orders/7",
            &with_token[..],
            &["verdict    allow", "policy.yaml:9)", "signature ok", "scopes     orders:read"][..],
        ),
        (
            "POST /refunds",
            &with_token,
            &["verdict    deny", "policy.yaml:11)", "scope_missing", "needs all  refunds:write"],
        ),
        ("GET /orders/7", &[], &["verdict    deny", "policy.yaml:9)", "credential_missing"]),
        ("GET /elsewhere", &with_token, &["verdict    indeterminate", "route      none matches"]),
    ] {
        let said = explain(request, arguments)?.well();
        lines.iter().for_each(|line| assert!(said.contains(line), "{line:?} is not in: {said}"));
    }
    let letter = desk.file("letter", "Dear all\n")?;
    let said = run(&["policy", "explain", path(&desk.policy)?, "--request", path(&letter)?])?;
    said.badly(BAD_DATA, &["letter is no request"]);
    Ok(())
}

#[test]
fn an_explanation_names_both_places_of_a_route_that_refines_a_document() -> Result<()> {
    let desk = Desk::open()?;
    let document = "openapi: 3.1.0\npaths:\n  /orders/{order}:\n    get:\n      \
                    {x-scopewatch-sensitivity: internal, security: [{o: [\"orders:read\"]}]}\n\
                    components: {securitySchemes: {o: {type: http, scheme: bearer}}}\n";
    desk.file("api.yaml", document)?;
    let text = fs::read_to_string(&desk.policy)?;
    let text = text.replace("  routes:\n", "  openapi: {file: api.yaml}\n  routes:\n");
    let own = "    require: {scopes: {any: [\"orders:read\"]}}\n";
    let request = desk.file("call.http", "GET /orders/7 HTTP/1.1\nHost: api\n\n")?;
    for (instead, line) in [
        (
            "    sensitivity: pii\n",
            "policy.yaml:10 refines api.yaml:5; needs by api.yaml:5, class by policy.yaml:10",
        ),
        (own, "policy.yaml:10 refines api.yaml:5; needs by policy.yaml:10, class by api.yaml:5"),
    ] {
        fs::write(&desk.policy, text.replace(own, instead))?;
        let arguments = ["policy", "explain", path(&desk.policy)?, "--request", path(&request)?];
        let said = run(&arguments)?.well();
        // Places are told with the path of the policy that was given.
        let said = said.replace(&format!("{}/", desk.dir.path().display()), "");
        assert!(said.contains(line) && said.contains("verdict    deny"), "{said}");
    }
    Ok(())
}

#[test]
fn an_explanation_reads_operations_and_tokens_in_the_body() -> Result<()> {
    let desk = Desk::open()?;
    let text = fs::read_to_string(&desk.policy)?.replace(
        "  routes:\n",
        r#"  credential_sources: [authorization, form]
  routes:
  - {id: drop, match: {path: /graph, operation: "mutation:drop*"}, protocol: graphql, require: {scopes: {all: [admin]}}}
  - {id: graph, match: {path: /graph}, protocol: graphql, require: {credentials: []}}
  - {id: tool, match: {path: /mcp, operation: "tools/call:delete_*"}, protocol: mcp, require: {scopes: {all: [admin]}}}
  - {id: mcp, match: {path: /mcp}, protocol: mcp, require: {credentials: []}}
"#,
    );
    fs::write(&desk.policy, text)?;
    let json = "application/json";
    let mcp = |tool: &str| {
        let name = format!("{{\"name\":\"{tool}\"}}");
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{name}}}\n")
    };
    let token = desk.token("web", "refunds:write")?;
    let form = format!("a=b&access_token={}\n", token.as_str());
    for (target, media, body, lines) in [
        (
            "/graph",
            json,
            "{\"query\":\"{orders}\"}\n".to_owned(),
            ["route      graph", "verdict    allow"],
        ),
        (
            "/graph",
            json,
            "{\"query\":\"mutation {dropAll}\"}".to_owned(),
            ["route      drop", "verdict    deny"],
        ),
        ("/mcp", json, mcp("list"), ["route      mcp", "verdict    allow"]),
        ("/mcp", json, mcp("delete_all"), ["route      tool", "verdict    deny"]),
        // What cannot be read may be any of them.
        ("/mcp", json, "{".to_owned(), ["capture_incomplete", "verdict    indeterminate"]),
        (
            "/refunds",
            "application/x-www-form-urlencoded",
            form,
            ["scopes     refunds:write", "verdict    allow"],
        ),
        (
            "/refunds",
            "application/x-www-form-urlencoded",
            "a=b\n".to_owned(),
            ["credential_missing", "verdict    deny"],
        ),
    ] {
        let request = format!("POST {target} HTTP/1.1\nContent-Type: {media}\n\n{body}");
        let request = desk.file("call.http", &request)?;
        let said =
            run(&["policy", "explain", path(&desk.policy)?, "--request", path(&request)?])?.well();
        lines.iter().for_each(|line| assert!(said.contains(line), "{line:?} is not in: {said}"));
        assert!(!said.contains(token.as_str()), "{target}");
    }
    Ok(())
}

#[test]
fn an_explanation_says_which_keys_it_has_not_and_what_that_means() -> Result<()> {
    let desk = Desk::open()?;
    let text = fs::read_to_string(&desk.policy)?;
    let token = desk.file("token", desk.token("web", "orders:read")?.as_str())?;
    let request = desk.file("call.http", "GET /orders/7 HTTP/1.1\nHost: api\n\n")?;
    let keys = format!("jwks: {{file: \"{}\"}}", path(&desk.dir.path().join("keys.pem"))?);
    let open = "the signature is open, and the agent, which has them, denies the call if it is bad";
    for (jwks, lines) in [
        (
            "jwks: {url: \"https://sso.invalid/jwks\"}",
            vec!["keys       those at https://sso.invalid/jwks are not fetched here", open],
        ),
        (
            "jwks: {observe: {from: {unit: a}}}",
            vec![
                "keys       those that this host's processes are answered are not seen here",
                open,
            ],
        ),
        (&keys, vec!["signature ok"]),
    ] {
        fs::write(&desk.policy, text.replace(&keys, jwks))?;
        let arguments = ["policy", "explain", path(&desk.policy)?, "--request", path(&request)?];
        let said = run(&[&arguments[..], &["--token", path(&token)?]].concat())?.well();
        lines.iter().for_each(|line| assert!(said.contains(line), "{line:?} is not in: {said}"));
        assert_eq!(said.contains(open), lines.len() > 1, "{said}");
    }
    Ok(())
}

#[test]
fn cases_hold_or_are_named_with_their_line() -> Result<()> {
    let desk = Desk::open()?;
    let claims = format!(
        "{{iss: {ISSUER}, aud: {AUDIENCE}, sub: a, client_id: web, jti: x, scope: orders:read}}"
    );
    let case = |name: &str, expect: &str| {
        format!("- {{name: {name}, request: GET /orders/7, token: {claims}, expect: {expect}}}\n")
    };
    let head = "policy: policy.yaml\ncases:\n";
    let good = desk.file("good.yaml", &format!("{head}{}", case("reads", "allow")))?;
    let said = run(&["policy", "test", path(&good)?])?.well();
    assert!(said.contains("1 cases hold"), "{said}");
    let cases = format!("{head}{}{}", case("reads", "allow"), case("other", "deny"));
    let bad = desk.file("bad.yaml", &cases)?;
    let out = run(&["policy", "test", path(&bad)?])?.badly(BAD_DATA, &["bad.yaml"]);
    assert!(out.contains("bad.yaml:4: other: allow instead of deny"), "{out}");
    assert!(out.contains("policy.yaml:9)") && !out.contains("reads"), "{out}");
    let typo = desk.file("typo.yaml", &format!("{head}- {{nam: x}}\n"))?;
    let said = run(&["policy", "test", path(&typo)?])?;
    said.badly(CONFIG, &["typo.yaml:3:4: unknown key `nam`, did you mean `name`?"]);
    Ok(())
}

#[test]
fn the_least_that_clients_need_is_told_from_the_agents_log() -> Result<()> {
    let desk = Desk::open()?;
    let web = desk.token("web", "orders:read orders:admin")?;
    let job = desk.token("job", "refunds:write orders:read")?;
    let call = |request, token, status| Call { request, token, status };
    let calls = [
        call("GET /orders/7", &web, 200),
        call("GET /orders/8", &web, 200),
        // Refused: needs nothing.
        call("POST /refunds", &web, 403),
        call("POST /refunds", &job, 201),
    ];
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let now = Timestamp(u64::try_from(now.as_nanos())?);
    let log = audit_log::write(desk.dir.path(), &desk.policy, now, &calls)?;
    let log = desk.file("events.jsonl", &log)?;
    let said = run(&["policy", "suggest", path(&log)?])?.well();
    assert_eq!(
        said,
        "client job\n  \"POST /refunds\"  1 calls  refunds:write (asked for)\n  \
         granted and not needed: orders:read\n\
         client web\n  \"GET /orders/{id}\"  2 calls  orders:read (asked for)\n  \
         granted and not needed: orders:admin\n"
    );
    let absent = desk.dir.path().join("absent.jsonl");
    run(&["policy", "suggest", path(&absent)?])?.badly(NO_INPUT, &["absent.jsonl"]);
    Ok(())
}

#[test]
fn a_token_is_inspected_by_the_keys_and_issuers_of_a_policy() -> Result<()> {
    let desk = Desk::open()?;
    let inspect = |token: &Token| {
        run_on(&["token", "inspect", "--policy", path(&desk.policy)?], token.as_str().as_bytes())
    };
    let own = desk.token("web", "orders:read")?;
    let said = inspect(&own)?.well();
    assert!(said.contains("pass  issuer") && said.contains("pass  signature"), "{said}");
    let foreign = Claims::of("alice").issuer("https://evil.example");
    inspect(&desk.mint.sign(&foreign)?)?.badly(BAD_DATA, &["not valid"]);
    let other = tempfile::tempdir()?;
    let forged = Mint::make(other.path())?.sign(&Claims::of("alice").client_id("web"))?;
    inspect(&forged)?.badly(BAD_DATA, &["not valid: signature"]);
    let expired = desk.mint.sign(&Claims::of("alice").client_id("web").expires_in(-600))?;
    inspect(&expired)?.badly(BAD_DATA, &["not valid: expiry"]);
    Ok(())
}
