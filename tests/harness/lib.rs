//! Real servers, clients and tokens.
