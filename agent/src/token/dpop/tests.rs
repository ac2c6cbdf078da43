//! The example of RFC 9449, and what is made of it.

use proptest::prelude::{any, proptest};
use sha2::{Digest, Sha256};

use super::*;
use crate::token::testing::{at, request};

/// RFC 9449 §7.1, figures 12 and 13.
const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
const PROOF: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4\
    dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VO\
    SmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRt\
    IjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6\
    MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35\
    yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";

fn checked(proof: &[u8], token: &str) -> Result<Proof, ProofCheck> {
    let mut request = request("/protectedresource", &[("host", "resource.example.org")]);
    request.started = at(1_562_262_618);
    let token = Sha256::digest(token).into();
    let transport = Transport::Tls;
    check(
        proof,
        &Proved { request: &request, transport, public_base_url: None, token: &token, leeway: 0 },
    )
}

#[test]
fn the_example_of_rfc_9449_is_in_order() {
    let expected = Proof {
        // §6.1, figure 8
        jkt: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I".into(),
        jti: "e1j3V_bKic8-LAEB".into(),
        nonce: None,
        is_uncertain: false,
    };
    assert_eq!(key_of(PROOF.as_bytes()).as_ref(), Some(&expected.jkt));
    assert_eq!(checked(PROOF.as_bytes(), TOKEN), Ok(expected));
    assert_eq!(checked(PROOF.as_bytes(), "another"), Err(ProofCheck::Ath));
}

proptest! {
    #[test]
    fn a_proof_with_any_bit_turned_is_not_in_order(
        place in any::<proptest::sample::Index>(), bit in 0_u8..8
    ) {
        let mut proof = PROOF.as_bytes().to_vec();
        let at = place.index(proof.len());
        proof[at] ^= 1_u8 << bit;
        assert!(checked(&proof, TOKEN).is_err());
    }

    #[test]
    fn no_field_makes_the_check_panic(proof in any::<Vec<u8>>()) {
        let _ = (checked(&proof, TOKEN), key_of(&proof));
    }
}
