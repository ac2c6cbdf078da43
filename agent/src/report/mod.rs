//! Questions over events that were kept. In: events. Out: what people want to know of them.

pub mod pair;
pub mod show;
