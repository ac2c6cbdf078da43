//! Conditions on claims. In: a condition of the policy, a token's claims, and the parameters of
//! the route. Out: whether it holds.

use serde_json::{Map, Value};

use crate::policy::{glob::Glob, raw};

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Name in reasons.
    pub id: String,
    /// Where the claim is.
    pub path: ClaimPath,
    /// What it must be.
    pub test: Test,
}

/// Where a claim is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClaimPath {
    /// RFC 6901.
    Pointer(String),
    /// A claim of that name, or names joined by dots.
    Name(String),
}

/// What a claim must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// This value.
    Equals(Value),
    /// The value of this parameter.
    EqualsParam(String),
    /// One of these values.
    OneOf(Vec<Value>),
    /// A list with this value, or words with this word.
    Contains(Value),
    /// Text like this.
    Like(Glob),
    /// There, or not.
    Exists(bool),
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// It has no path, no test, or more than one; the text says which.
    pub fn read(raw: &raw::Claim) -> Result<Self, &'static str> {
        let raw::Claim { id, path, equals, equals_param, one_of, contains, like, exists } = raw;
        let tests = [
            equals.clone().map(Test::Equals),
            equals_param.clone().map(Test::EqualsParam),
            one_of.clone().map(Test::OneOf),
            contains.clone().map(Test::Contains),
            like.as_deref().map(|pattern| Test::Like(Glob::new(pattern))),
            exists.map(Test::Exists),
        ];
        let mut tests = tests.into_iter().flatten();
        let (Some(test), None) = (tests.next(), tests.next()) else {
            return Err("a condition has exactly one of `equals`, `equals_param`, `one_of`, \
                        `contains`, `like` and `exists`");
        };
        if path.is_empty() {
            return Err("a condition needs `path`, the claim that it is about");
        }
        let id = id.clone().unwrap_or_else(|| path.clone());
        let path = if path.starts_with('/') {
            ClaimPath::Pointer(path.clone())
        } else {
            ClaimPath::Name(path.clone())
        };
        Ok(Self { id, path, test })
    }

    /// Whether it holds. `params` are the route's.
    #[must_use]
    pub fn holds(&self, claims: &Map<String, Value>, params: &[(&str, String)]) -> bool {
        let found = self.path.find(claims);
        if let Test::Exists(expected) = self.test {
            return found.is_some() == expected;
        }
        let Some(found) = found else { return false };
        match &self.test {
            Test::Exists(_) => false,
            Test::Equals(value) => same(found, value),
            Test::OneOf(values) => values.iter().any(|value| same(found, value)),
            Test::Contains(value) => contains(found, value),
            Test::Like(pattern) => found.as_str().is_some_and(|text| pattern.matches(text)),
            Test::EqualsParam(name) => {
                let param = params.iter().find(|(param, _)| param == name);
                let text = match found {
                    Value::String(text) => Some(text.clone()),
                    Value::Number(number) => Some(number.to_string()),
                    _ => None,
                };
                param.is_some_and(|(_, value)| text.as_deref() == Some(value))
            }
        }
    }
}

impl ClaimPath {
    fn find<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        match self {
            Self::Pointer(pointer) => {
                let mut names = pointer.split('/').skip(1).map(unescaped);
                let first = claims.get(&names.next()?)?;
                names.try_fold(first, |value, name| step(value, &name))
            }
            // Names of claims may be addresses, which have dots (OpenID Connect Core §5.1.2).
            Self::Name(name) => claims.get(name).or_else(|| {
                let mut names = name.split('.');
                let first = claims.get(names.next()?)?;
                names.try_fold(first, step)
            }),
        }
    }
}

fn step<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Object(members) => members.get(name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    }
}

fn unescaped(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}

/// Numbers are equal by value, however they are written.
fn same(found: &Value, expected: &Value) -> bool {
    match (found.as_f64(), expected.as_f64()) {
        (Some(found_number), Some(number)) => found == expected || found_number == number,
        _ => found == expected,
    }
}

fn contains(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Array(items), _) => items.iter().any(|item| same(item, expected)),
        (Value::String(text), Value::String(word)) => text.split_whitespace().any(|it| it == word),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(condition: &Value, expected: bool) {
        let raw: raw::Claim = serde_saphyr::from_str(&condition.to_string()).unwrap();
        let claims = json!({
            "tenant": "t1", "level": 3, "roles": ["a", "b"], "scope": "x y",
            "https://example.com/org": "o1",
            "realm_access": {"roles": ["admin"]},
        });
        let params = [("tenant_id", "t1".to_owned()), ("level", "3".to_owned())];
        let found = Condition::read(&raw).unwrap().holds(claims.as_object().unwrap(), &params);
        assert_eq!(found, expected, "{condition}");
    }

    #[test]
    fn each_test_holds_and_fails() {
        check(&json!({"path": "tenant", "equals": "t1"}), true);
        check(&json!({"path": "tenant", "equals": "t2"}), false);
        check(&json!({"path": "level", "equals": 3.0}), true);
        check(&json!({"path": "level", "equals": "3"}), false);
        check(&json!({"path": "tenant", "equals_param": "tenant_id"}), true);
        check(&json!({"path": "level", "equals_param": "level"}), true);
        check(&json!({"path": "tenant", "equals_param": "level"}), false);
        check(&json!({"path": "tenant", "equals_param": "other"}), false);
        check(&json!({"path": "tenant", "one_of": ["t0", "t1"]}), true);
        check(&json!({"path": "tenant", "one_of": []}), false);
        check(&json!({"path": "roles", "contains": "b"}), true);
        check(&json!({"path": "roles", "contains": "c"}), false);
        check(&json!({"path": "scope", "contains": "y"}), true);
        check(&json!({"path": "tenant", "contains": "t"}), false);
        check(&json!({"path": "tenant", "like": "t*"}), true);
        check(&json!({"path": "level", "like": "*"}), false);
        check(&json!({"path": "tenant", "exists": true}), true);
        check(&json!({"path": "tenant", "exists": false}), false);
        check(&json!({"path": "nothing", "exists": false}), true);
    }

    #[test]
    fn claims_are_found_by_name_path_and_pointer() {
        check(&json!({"path": "https://example.com/org", "equals": "o1"}), true);
        check(&json!({"path": "realm_access.roles", "contains": "admin"}), true);
        check(&json!({"path": "realm_access.roles.0", "equals": "admin"}), true);
        check(&json!({"path": "/https:~1~1example.com~1org", "equals": "o1"}), true);
        check(&json!({"path": "/realm_access/roles/0", "equals": "admin"}), true);
        check(&json!({"path": "tenant.x", "exists": false}), true);
    }

    #[test]
    fn a_condition_has_one_test() {
        for text in ["{path: a}", "{path: a, equals: 1, exists: true}", "{equals: 1}"] {
            let raw: raw::Claim = serde_saphyr::from_str(text).unwrap();
            assert!(Condition::read(&raw).is_err(), "{text}");
        }
    }
}
