//! Why servers refuse: whatever a response says, what is kept of it is bounded and no free text.

use scopewatch::{
    http::message::Fields,
    text::Cuts,
    token::{
        jwt::{MAX_SCOPE, MAX_SCOPES},
        refusal::{MAX_CLASSES, Refusal},
    },
};

/// Lines of `WWW-Authenticate`.
pub fn challenge(input: &[u8]) {
    let (mut fields, mut cuts) = (Fields::default(), Cuts::default());
    for line in input.split(|byte| *byte == b'\n') {
        fields.push(b"www-authenticate", line);
    }
    let Some(refusal) = Refusal::read(&fields, &mut cuts) else { return };
    assert!(refusal.scopes.len() <= MAX_SCOPES && refusal.classes.len() <= MAX_CLASSES);
    let words = refusal.scopes.iter().chain(&refusal.classes);
    assert!(words.into_iter().all(|word| word.len() <= MAX_SCOPE && !word.contains(' ')));
}

pub fn seeds() -> Vec<Vec<u8>> {
    vec![
        b"Bearer realm=\"a, b\", error=\"insufficient_scope\", scope=\"x y\", DPoP algs=\"ES256\""
            .to_vec(),
        b"Negotiate YII=\nBearer error=\"insufficient_user_authentication\", acr_values=\"phr\", \
          max_age=600"
            .to_vec(),
    ]
}
