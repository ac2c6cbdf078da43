//! Events as lines of standard output, for whoever collects what services print.

use std::io::{self, Write as _};

use crate::{
    event::mapping::Format,
    sinks::{Delivery, Refusal, Sink},
};

/// The sink.
pub struct Stdout {
    format: Format,
    lines: Vec<u8>,
}

impl Stdout {
    /// A sink of this format.
    #[must_use]
    pub const fn new(format: Format) -> Self {
        Self { format, lines: Vec::new() }
    }
}

impl Sink for Stdout {
    fn deliver(&mut self, records: &mut dyn Iterator<Item = &[u8]>) -> Delivery {
        self.lines.clear();
        let (done, refused) = self.format.append_lines(records, &mut self.lines);
        let mut out = io::stdout().lock();
        if let Err(why) = out.write_all(&self.lines).and_then(|()| out.flush()) {
            // What of it was printed comes again: more than once is better than never.
            return Delivery::Retry { done: 0, why, after: None };
        }
        if refused {
            Delivery::Reject { done, why: Refusal::Unmappable }
        } else {
            Delivery::Delivered
        }
    }
}
