//! wire
pub mod ledger;
pub mod segment;
pub mod sequence;
