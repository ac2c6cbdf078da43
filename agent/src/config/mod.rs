//! What the operator decided: settings and key files, read before anything else starts.

pub mod keyfile;
