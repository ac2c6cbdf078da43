//! What a secret's record shows: from the kernel half's two byte strings to what `tls/` knows.

use scopewatch_common::SecretKind;

use crate::tls::secret::{Digest, Label, Secret, Shown};

/// What a record of the kernel half shows; `None` if its lengths fit no key schedule.
pub(super) fn shown(kind: SecretKind, secret: &[u8], context: &[u8]) -> Option<Shown> {
    let secret = Secret::new(secret)?;
    let derivation = |label| {
        let transcript = Some(Digest::new(context)?);
        Some(Shown::Derivation { label, parent: secret.clone(), transcript })
    };
    match kind {
        SecretKind::Handshake => derivation(Label::ServerHandshake),
        SecretKind::Master => derivation(Label::ServerApplication),
        SecretKind::Early => derivation(Label::ClientEarly),
        SecretKind::Tls12 => {
            let (server, client) = context.split_at_checked(32)?;
            Some(Shown::Master {
                master: secret.clone(),
                client_random: client.try_into().ok()?,
                server_random: Some(server.try_into().ok()?),
            })
        }
    }
}
