//! Keeps the rules current while the agent runs. In: a [`Rulebook`], SIGHUP. Out: newer rules, to
//! whoever follows, and what became of them, to whoever writes events. The only thread that reads
//! the policy's files; judging waits for none of it.

use std::io;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::lookout::{Look, Lookout};
use crate::{
    clock::Timestamp,
    config::rulebook::{Renewal, Rulebook},
    identity::boot,
    rules::Standing,
};

/// Renewals that wait to be told; more come only if files change faster than events are written.
const RENEWALS: usize = 64;

/// The thread, and what it has to tell.
pub struct Keeper {
    renewals: Receiver<(Renewal, Timestamp)>,
    thread: Lookout,
}

impl Keeper {
    /// Starts to keep what `standing` shows as `book` has it.
    ///
    /// # Errors
    /// The thread cannot be started, or SIGHUP cannot be handled.
    pub fn start(book: Rulebook, standing: Standing) -> io::Result<Self> {
        let (tell, renewals) = bounded(RENEWALS);
        let first = Renewal::Policy(book.loaded());
        let _ = tell.try_send((first, boot::now()));
        let thread = Lookout::start("rules", Rules { book, standing, tell })?;
        Ok(Self { renewals, thread })
    }

    /// What became of the rules since it was last asked.
    pub fn renewals(&self) -> impl Iterator<Item = (Renewal, Timestamp)> {
        self.renewals.try_iter()
    }

    /// Ends the thread.
    pub fn stop(self) {
        self.thread.stop();
    }
}

struct Rules {
    book: Rulebook,
    standing: Standing,
    tell: Sender<(Renewal, Timestamp)>,
}

impl Look for Rules {
    fn look(&mut self, is_asked: bool) {
        let renewals = self.book.renew(is_asked);
        if renewals.is_empty() {
            return;
        }
        self.standing.replace(self.book.rules());
        for renewal in renewals {
            tracing::info!("{}", said(&renewal));
            // Whoever writes events looks every second.
            let _ = self.tell.try_send((renewal, boot::now()));
        }
    }

    fn has_cause(&self) -> bool {
        self.book.has_newer_keys()
    }
}

fn said(renewal: &Renewal) -> String {
    use crate::config::policyfile::Reload;
    match renewal {
        Renewal::Policy(Reload::Loaded(id)) => format!("judging by the policy {}", id.file),
        Renewal::Policy(Reload::Changed { to, .. }) => format!("the policy {} changed", to.file),
        Renewal::Policy(Reload::Rejected { kept, problems }) => {
            format!("the policy {} stays as it was: {problems}", kept.file)
        }
        Renewal::Keys(_) => "keys of issuers changed".to_owned(),
        Renewal::KeysRejected { reason, .. } => format!("keys stay as they were: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::Path,
        thread,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::config::policyfile::Reload;

    const POLICY: &str = "version: 1\nservices: [{id: a, select: {ports: [1]}}]\n";

    /// Far beyond [`PERIOD`](super::super::lookout::PERIOD).
    const PATIENCE: Duration = Duration::from_secs(30);

    /// As editors do it.
    fn write(path: &Path, text: &str) {
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
    }

    fn next(keeper: &Keeper) -> Renewal {
        let start = Instant::now();
        loop {
            if let Some((renewal, at)) = keeper.renewals().next() {
                assert!(at > Timestamp::default());
                return renewal;
            }
            assert!(start.elapsed() < PATIENCE, "nothing became of the change");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn who_follows_judges_by_a_policy_that_changed_and_not_by_one_that_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.yaml");
        write(&path, POLICY);
        let book = Rulebook::open(&path).unwrap();
        let standing = Standing::new(book.rules());
        let mut follower = standing.follow();
        let mut services = || follower.current().engine.as_ref().unwrap().policy().services.len();
        let keeper = Keeper::start(book, standing).unwrap();
        assert!(matches!(next(&keeper), Renewal::Policy(Reload::Loaded(_))));

        write(&path, "version: 2\n");
        assert!(matches!(next(&keeper), Renewal::Policy(Reload::Rejected { .. })));
        assert_eq!(services(), 1);

        write(&path, &POLICY.replace("[{", "[{id: b, select: {ports: [2]}}, {"));
        assert!(matches!(next(&keeper), Renewal::Policy(Reload::Changed { .. })));
        assert_eq!(services(), 2);
        keeper.stop();
    }
}
