//! What a token grants, by the dialect of its issuer. In: its claims and a [`Dialect`]. Out: a
//! [`Grant`] of bounded size, without anything that has the shape of a token.

use serde_json::{Map, Value};

use super::{
    examination::{Confirmation, Grant},
    jwt::{self, MAX_CLAIM, MAX_ITEMS, MAX_SCOPE},
    profile::{Dialect, Path},
    shape,
};
use crate::text::Cuts;

/// Most scopes and most roles kept of a token. Directories put some 200 groups into tokens before
/// they resort to links.
pub const MAX_GRANTED: usize = 256;
/// Most claims and members of claims kept, nested ones included.
pub const MAX_VALUES: usize = 1024;
/// Deepest nesting of claims that is kept.
pub const MAX_DEPTH: usize = 8;

/// What stands for every member of an object.
const EACH: &str = "*";

/// What `claims` grant, told in `dialect`.
pub(in crate::token) fn read(claims: &Map<String, Value>, dialect: &Dialect) -> Grant {
    let mut cuts = Cuts::default();
    let mut read = Reader { claims, cuts: &mut cuts };
    let mut grant = Grant {
        subject: read.text(dialect.subject),
        username: read.text(dialect.username),
        client_id: read.text(dialect.client_id),
        tenant: read.text(dialect.tenant),
        audience: read.audience(dialect),
        scopes: read.scopes(dialect),
        roles: read.roles(dialect),
        acr: read.text(&[&["acr"]]),
        amr: read.list(&["amr"]),
        auth_time: claims.get("auth_time").and_then(jwt::as_date),
        is_service: (dialect.is_service)(claims),
        confirmation: confirmation(claims.get("cnf"), read.cuts),
        ..Grant::default()
    };
    grant.claims = pruned_members(claims, MAX_DEPTH, &mut { MAX_VALUES }, &mut cuts);
    grant.is_cut = cuts.iter().next().is_some();
    grant
}

/// Members of a JSON object that may be shown, within the same limits.
pub(in crate::token) fn without_secrets(members: &Map<String, Value>) -> Map<String, Value> {
    pruned_members(members, MAX_DEPTH, &mut { MAX_VALUES }, &mut Cuts::default())
}

/// Reads claims within limits.
struct Reader<'a> {
    claims: &'a Map<String, Value>,
    cuts: &'a mut Cuts,
}

impl Reader<'_> {
    fn text(&mut self, paths: &[Path]) -> Option<String> {
        let text = paths.iter().find_map(|path| jwt::as_text(at(self.claims, path)?))?;
        Some(jwt::keep(self.cuts, "claims", &text, MAX_CLAIM))
    }

    fn list(&mut self, path: Path) -> Vec<String> {
        let items = jwt::as_slice(at(self.claims, path)).iter().filter_map(jwt::as_text);
        let items = self.cuts.list("claims", items, MAX_ITEMS);
        items.iter().map(|item| jwt::keep(self.cuts, "claims", item, MAX_CLAIM)).collect()
    }

    fn audience(&mut self, dialect: &Dialect) -> Vec<String> {
        let mut audience = self.list(&["aud"]);
        if audience.is_empty() {
            audience.extend(self.text(dialect.audience));
        }
        if let ([only], Some(idle)) = (audience.as_slice(), dialect.idle_audience)
            && only == idle
        {
            audience.clear();
        }
        audience
    }

    fn scopes(&mut self, dialect: &Dialect) -> Vec<String> {
        let found = dialect.scopes.iter().find_map(|path| at(self.claims, path));
        let separates = |c: char| c.is_ascii_whitespace() || dialect.commas && c == ',';
        let texts = jwt::as_slice(found).iter().filter_map(Value::as_str);
        let words = texts.flat_map(|text| text.split(separates)).filter(|word| !word.is_empty());
        let words = self.cuts.list("claims", words, MAX_GRANTED);
        words.iter().map(|word| jwt::keep(self.cuts, "claims", word, MAX_SCOPE)).collect()
    }

    fn roles(&mut self, dialect: &Dialect) -> Vec<String> {
        let mut roles = Vec::new();
        for path in dialect.roles {
            collect(self.claims, path, "", &mut roles);
        }
        let roles = self.cuts.list("claims", roles, MAX_GRANTED);
        roles.iter().map(|role| jwt::keep(self.cuts, "claims", role, MAX_SCOPE)).collect()
    }
}

/// The value at `path`.
fn at<'a>(claims: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let value = claims.get(*first)?;
    if rest.is_empty() { Some(value) } else { at(value.as_object()?, rest) }
}

/// Adds the texts at `path` to `found`, at most one more than are kept.
fn collect(claims: &Map<String, Value>, path: &[&str], prefix: &str, found: &mut Vec<String>) {
    match path {
        [] => {}
        [EACH, rest @ ..] => {
            for (name, value) in claims {
                if let Value::Object(members) = value {
                    collect(members, rest, &format!("{prefix}{name}:"), found);
                }
            }
        }
        [name, rest @ ..] => match claims.get(*name) {
            Some(Value::Object(members)) => collect(members, rest, prefix, found),
            Some(value) if rest.is_empty() => {
                let room = (MAX_GRANTED + 1).saturating_sub(found.len());
                let texts = jwt::as_slice(Some(value)).iter().filter_map(jwt::as_text);
                found.extend(texts.take(room).map(|text| format!("{prefix}{text}")));
            }
            _ => {}
        },
    }
}

fn confirmation(cnf: Option<&Value>, cuts: &mut Cuts) -> Confirmation {
    let Some(cnf) = cnf else { return Confirmation::default() };
    let Some(methods) = cnf.as_object() else {
        return Confirmation { other: true, ..Confirmation::default() };
    };
    let mut text = |name: &str| {
        let text = methods.get(name).and_then(Value::as_str)?;
        // A thumbprint has the shape of a secret, and is none: 43 characters of base64url.
        Some(cuts.text("claims", text, MAX_CLAIM))
    };
    let (jkt, x5t_s256) = (text("jkt"), text("x5t#S256"));
    let known = usize::from(jkt.is_some()) + usize::from(x5t_s256.is_some());
    Confirmation { jkt, x5t_s256, other: methods.len() != 1 || known != 1 }
}

/// `value` without secrets, cut to limits; `None` if there is no room for it.
fn pruned(value: &Value, depth: usize, room: &mut usize, cuts: &mut Cuts) -> Option<Value> {
    *room = room.checked_sub(1).or_else(|| {
        cuts.record("claims");
        None
    })?;
    let Some(below) = depth.checked_sub(1) else {
        cuts.record("claims");
        return None;
    };
    Some(match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::String(text) => Value::String(jwt::keep(cuts, "claims", text, MAX_CLAIM)),
        Value::Array(items) => {
            items.iter().filter_map(|item| pruned(item, below, room, cuts)).collect()
        }
        Value::Object(members) => Value::Object(pruned_members(members, below, room, cuts)),
    })
}

fn pruned_members(
    members: &Map<String, Value>,
    depth: usize,
    room: &mut usize,
    cuts: &mut Cuts,
) -> Map<String, Value> {
    let mut kept = Map::new();
    for (name, value) in members {
        if name.len() > MAX_CLAIM || shape::is_token(name) {
            cuts.record("claims");
        } else if let Some(value) = pruned(value, depth, room, cuts) {
            kept.insert(name.clone(), value);
        }
    }
    kept
}

#[cfg(test)]
mod tests;
