//! Connections opened from session secrets and ciphertext: every exchange is one event, which
//! tells of both ends, whatever the peers agreed on and however they came to it.

mod bodies;
mod cgroups;
mod client_certificates;
mod coverage;
mod exactly_once;
mod front;
mod go;
mod grpc;
mod handshakes;
mod http2;
mod joined;
mod lab;
mod lasting;
mod lines;
mod marks;
mod matrix;
mod namespaces;
mod netns;
mod node;
mod pair;
mod places;
mod plain;
mod proxied;
mod secrets;
mod servers;
mod small_ring;
mod tcx;
mod tunnelled;
mod under_way;
mod ways;
