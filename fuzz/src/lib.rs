//! What is fuzzed: every reader of bytes that somebody else chose.
//!
//! In: an input of libFuzzer. Out: a panic where a promise is broken. A target is a function of
//! bytes and the inputs to begin with; one program holds them all, so that the agent is linked
//! once. Promises are more than not to panic: bounds of what is held, streams that never show a
//! wrong byte, and the same result however the bytes were cut.

mod answers;
mod bodies;
mod capture;
mod files;
mod http;
mod packets;
mod play;
mod policy;
mod spool;
mod tls;
mod tokens;

/// One thing that is fuzzed.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Takes an input; panics if a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs to begin with, small ones.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets, in the order in which data flows.
pub const TARGETS: &[Target] = &[
    Target { name: "elf", run: files::elf, seeds: files::elf_seeds },
    Target { name: "site", run: files::site, seeds: files::site_seeds },
    Target { name: "maps", run: files::maps, seeds: files::maps_seeds },
    Target { name: "config", run: files::config, seeds: files::config_seeds },
    Target { name: "subject_key", run: files::subject_key, seeds: files::subject_key_seeds },
    Target { name: "record", run: capture::record, seeds: capture::record_seeds },
    Target { name: "live", run: capture::live, seeds: capture::live_seeds },
    Target { name: "recording", run: capture::recording, seeds: capture::recording_seeds },
    Target { name: "reassembly", run: packets::reassembly, seeds: random },
    Target { name: "flows", run: packets::flows, seeds: random },
    Target { name: "tls_record", run: tls::record, seeds: tls::record_seeds },
    Target { name: "tls_handshake", run: tls::handshake, seeds: tls::handshake_seeds },
    Target { name: "tls_flow", run: tls::flow, seeds: tls::flow_seeds },
    Target { name: "http1_head", run: http::head, seeds: http::head_seeds },
    Target { name: "http1_chunked", run: http::chunked, seeds: random },
    Target { name: "http1_connection", run: http::http1, seeds: http::http1_seeds },
    Target { name: "hpack", run: http::hpack, seeds: http::hpack_seeds },
    Target { name: "http2_frames", run: http::frames, seeds: http::hpack_seeds },
    Target { name: "http2_connection", run: http::http2, seeds: http::http2_seeds },
    Target { name: "http_detect", run: http::detect, seeds: http::http2_seeds },
    Target { name: "http_talk", run: http::talk, seeds: random },
    Target { name: "http_coding", run: bodies::coding, seeds: bodies::coding_seeds },
    Target { name: "http_operation", run: bodies::operation, seeds: bodies::operation_seeds },
    Target { name: "token", run: tokens::token, seeds: tokens::seeds },
    Target { name: "binding", run: tokens::binding, seeds: tokens::binding_seeds },
    Target { name: "challenge", run: tokens::challenge, seeds: tokens::challenge_seeds },
    Target { name: "key_set", run: tokens::key_set, seeds: tokens::key_set_seeds },
    Target { name: "policy", run: policy::policy, seeds: policy::policy_seeds },
    Target { name: "openapi", run: policy::document, seeds: policy::document_seeds },
    Target { name: "router", run: policy::router, seeds: policy::router_seeds },
    Target { name: "kept_lines", run: spool::kept_lines, seeds: spool::kept_lines_seeds },
    Target { name: "succession", run: spool::succession, seeds: spool::succession_seeds },
    Target { name: "spool_recovery", run: spool::recovery, seeds: spool::recovery_seeds },
    Target { name: "otlp_answer", run: answers::answer, seeds: answers::answer_seeds },
];

/// Inputs by chance, for targets that make something of any bytes.
fn random() -> Vec<Vec<u8>> {
    (0..4).map(|seed| scopewatch_harness::talks::Dice::seeded(seed).bytes(200)).collect()
}

/// Bytes of hexadecimal digits.
fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}
