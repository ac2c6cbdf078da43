//! wire
pub mod ledger;
pub mod reassembly;
pub mod segment;
pub mod sequence;
#[cfg(test)]
mod testing;
