//! What is not told is said, with the reason and with whose it is.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use scopewatch_harness::{openssl::Opening, require_root};

use super::pair::Pair;

/// Longer than a connection waits for its secret before it is given up.
const PATIENCE: Duration = Duration::from_secs(7);

#[test]
fn connections_of_libraries_that_are_not_found_are_named_with_the_reason() -> Result<()> {
    require_root()?;
    let mut pair = Pair::start_hidden("system")?;
    pair.client.open("one", Opening::default())?;
    pair.exchange("one", "/api/unseen")?;
    thread::sleep(PATIENCE);
    // Open still, so that its holders can be found.
    let (stopped, pids) = pair.finish_untold()?;
    let uncovered = stopped.counters().get("uncovered_no_secret").copied();
    ensure!(uncovered == Some(1), "{uncovered:?}: {}", stopped.stderr);
    for pid in pids {
        let named = format!("[{pid}] no_secret=1");
        ensure!(stopped.stderr.contains(&named), "{named} is not in: {}", stopped.stderr);
    }
    Ok(())
}
