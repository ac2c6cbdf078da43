//! Keys of issuers, kept current. In: the issuers of a policy, and what the stages ask and saw.
//! Out: [`Trust`], published as an immutable snapshot that verification reads.
//!
//! A thread of its own reads files, fetches from addresses that the policy names, and takes key
//! sets that were seen on their way to a process that the policy names. Whoever asks never waits:
//! queues are bounded, and what finds no room is counted. Keys that cannot be renewed stay: they
//! prove what was signed before, and their age is known.

mod fetch;
mod file;
mod schedule;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use thiserror::Error;

use self::{
    fetch::{Client, FetchError},
    file::KeyFile,
    schedule::Schedule,
};
use crate::{
    clock::{NANOS_PER_SEC, Timestamp},
    failure::chain,
    identity::process::Process,
    token::{
        issuer::{Issuer, KeyOrigin, ObservedFrom},
        keys::{Held, KeySet, KeySetError, MAX_SET, Trust, Trusted},
        reader::MissingKey,
    },
};

/// How often files are looked at.
const POLL: Duration = Duration::from_secs(2);
/// What waits to be looked at: a process asks for key sets every few minutes, and few keys are
/// missing at once.
const QUEUE: usize = 16;
/// How long an observed set is as good as a newer one with the same keys. Each that is published
/// has all tokens examined again.
const SAME_NANOS: u64 = 60 * NANOS_PER_SEC;

/// Why keys cannot be used from the start.
#[derive(Debug, Error)]
pub enum KeyringError {
    /// A file cannot be read.
    #[error("cannot read the keys of issuer {issuer} from {path}")]
    Unreadable {
        /// Id of the issuer.
        issuer: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// What was read is no key set.
    #[error("cannot use the keys of issuer {issuer} from {from}")]
    Unusable {
        /// Id of the issuer.
        issuer: String,
        /// The file, or `jwks.inline`.
        from: String,
        /// Why.
        #[source]
        cause: KeySetError,
    },
    /// The thread, or what it fetches with, cannot be started.
    #[error("cannot start what keeps keys current")]
    Start(#[source] io::Error),
}

/// Keys of the issuers of one policy. Its thread ends by itself when this is dropped, at once
/// unless it is fetching.
pub struct Keyring {
    issuers: Vec<Arc<Issuer>>,
    trust: Arc<RwLock<Arc<Trust>>>,
    news: Sender<News>,
    refused: AtomicU64,
}

/// What the stages tell.
enum News {
    /// A key set was on its way to a process that the policy names.
    Seen { issuer: usize, text: String, at: Timestamp },
    /// A token names a key that is not there.
    Missing(MissingKey),
}

impl Keyring {
    /// Reads the keys of `issuers` and keeps them current. `epoch` differs from that of every other
    /// keyring of this run: what was examined by one is not known by another.
    ///
    /// # Errors
    /// Keys that the policy holds or names cannot be used.
    pub fn start(issuers: Vec<Issuer>, epoch: u32) -> Result<Self, KeyringError> {
        let issuers: Vec<_> = issuers.into_iter().map(Arc::new).collect();
        let shelves = issuers.iter().map(Shelf::read).collect::<Result<Vec<_>, _>>()?;
        let generation = u64::from(epoch) << 32;
        let fetches = shelves.iter().any(|shelf| !shelf.remote.is_empty());
        // Without an address in the policy there is nothing that could go out.
        let client = if fetches { Some(Client::new().map_err(KeyringError::Start)?) } else { None };
        let mut keeper = Keeper { shelves, client, generation };
        let trust = Arc::new(RwLock::new(Arc::new(keeper.trust())));
        let (news, queue) = bounded(QUEUE);
        let published = Arc::clone(&trust);
        thread::Builder::new()
            .name("keys".into())
            .spawn(move || keeper.run(&queue, &published))
            .map_err(KeyringError::Start)?;
        Ok(Self { issuers, trust, news, refused: AtomicU64::new(0) })
    }

    /// Issuers and keys as they are now.
    #[must_use]
    pub fn trust(&self) -> Arc<Trust> {
        // A writer cannot panic while it holds the lock.
        Arc::clone(&self.trust.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the body of an answer that `process` got from `host`, if it is a key set that the
    /// policy has us believe: from a process that it names, and asked for at the issuer's own host.
    pub fn observed(&self, process: &Process, host: &str, body: &[u8], at: Timestamp) {
        if body.len() > MAX_SET {
            return;
        }
        let believed = self.issuers.iter().enumerate().filter(|(_, issuer)| {
            observed_from(issuer).any(|from| from.admits(process))
                && issuer.hosts().any(|own| own.eq_ignore_ascii_case(host))
        });
        for (index, _) in believed {
            let Ok(text) = std::str::from_utf8(body) else { return };
            self.tell(News::Seen { issuer: index, text: text.to_owned(), at });
        }
    }

    /// Has the keys of an issuer fetched, where the policy names an address for them.
    pub fn missing(&self, key: MissingKey) {
        let issuer = self.issuers.get(usize::from(key.issuer.0));
        let is_url = |origin: &KeyOrigin| matches!(origin, KeyOrigin::Url { .. });
        if issuer.is_some_and(|issuer| issuer.keys.iter().any(is_url)) {
            self.tell(News::Missing(key));
        }
    }

    fn tell(&self, news: News) {
        if let Err(TrySendError::Full(_)) = self.news.try_send(news) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Key sets and missing keys that found no room in the queue.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// The issuers with the keys that the policy holds or that lie in files, without fetching any.
///
/// # Errors
/// As of [`Keyring::start`].
pub fn standing(issuers: Vec<Issuer>) -> Result<Trust, KeyringError> {
    let shelves = issuers.into_iter().map(|issuer| Shelf::read(&Arc::new(issuer)));
    let shelves = shelves.collect::<Result<_, _>>()?;
    Ok(Keeper { shelves, client: None, generation: 1 }.trust())
}

fn observed_from(issuer: &Issuer) -> impl Iterator<Item = &ObservedFrom> {
    issuer.keys.iter().filter_map(|origin| match origin {
        KeyOrigin::Observed(from) => Some(from),
        KeyOrigin::File(_) | KeyOrigin::Inline(_) | KeyOrigin::Url { .. } => None,
    })
}

/// What the thread holds.
struct Keeper {
    shelves: Vec<Shelf>,
    client: Option<Client>,
    generation: u64,
}

/// The keys of one issuer.
struct Shelf {
    issuer: Arc<Issuer>,
    inline: Vec<Held>,
    files: Vec<KeyFile>,
    remote: Vec<Remote>,
    observed: Option<Observed>,
}

/// Keys at an address.
struct Remote {
    url: String,
    ca_file: Option<PathBuf>,
    schedule: Schedule,
    held: Option<Held>,
}

struct Observed {
    text: String,
    held: Held,
    at: Timestamp,
}

impl Shelf {
    fn read(issuer: &Arc<Issuer>) -> Result<Self, KeyringError> {
        let (mut inline, mut files, mut remote) = (Vec::new(), Vec::new(), Vec::new());
        for origin in &issuer.keys {
            match origin {
                KeyOrigin::Inline(text) => {
                    let unusable = |cause| KeyringError::Unusable {
                        issuer: issuer.id.clone(),
                        from: "jwks.inline".into(),
                        cause,
                    };
                    inline.push(Held::configured(KeySet::read(text).map_err(unusable)?));
                }
                KeyOrigin::File(path) => files.push(KeyFile::read(path, &issuer.id)?),
                KeyOrigin::Url { url, ca_file } => {
                    let (url, ca_file) = (url.clone(), ca_file.clone());
                    let schedule = Schedule::new(Instant::now());
                    remote.push(Remote { url, ca_file, schedule, held: None });
                }
                KeyOrigin::Observed(_) => {}
            }
        }
        Ok(Self { issuer: Arc::clone(issuer), inline, files, remote, observed: None })
    }

    fn held(&self) -> Vec<Held> {
        let files = self.files.iter().map(|file| &file.held);
        let remote = self.remote.iter().filter_map(|remote| remote.held.as_ref());
        let observed = self.observed.iter().map(|observed| &observed.held);
        self.inline.iter().chain(files).chain(remote).chain(observed).cloned().collect()
    }

    /// Takes a set that was seen. Out: whether that changes what is known.
    fn see(&mut self, text: String, at: Timestamp) -> bool {
        let known = self.observed.as_ref();
        if known.is_some_and(|known| known.text == text && at.since(known.at) < SAME_NANOS) {
            return false;
        }
        match KeySet::read(&text) {
            Ok(set) => {
                self.observed = Some(Observed { text, held: Held::observed(set, at), at });
                true
            }
            Err(error) => {
                tracing::debug!(issuer = self.issuer.id, %error, "an answer is no key set");
                false
            }
        }
    }
}

impl Remote {
    /// Asks the address. Out: whether keys came. What cannot be used leaves those from before.
    fn fetch(&mut self, client: &Client, issuer: &str) -> bool {
        let at = u64::try_from(jiff::Timestamp::now().as_nanosecond()).map(Timestamp);
        let at = at.unwrap_or_default();
        let fetched = client.get(&self.url, self.ca_file.as_deref());
        let fetched = fetched.map_err(RemoteError::Fetch).and_then(|fetched| {
            let set = KeySet::read(&fetched.text).map_err(RemoteError::Keys)?;
            Ok((set, fetched.max_age))
        });
        match fetched {
            Ok((set, max_age)) => {
                self.held = Some(Held::fetched(set, at));
                self.schedule.fetched(max_age, Instant::now());
                true
            }
            Err(error) => {
                let (url, error) = (&self.url, chain(&error));
                tracing::warn!(
                    issuer,
                    url,
                    error,
                    "keys cannot be fetched: those from before stay"
                );
                self.schedule.failed(Instant::now());
                false
            }
        }
    }
}

/// Why an address gave no keys.
#[derive(Debug, Error)]
enum RemoteError {
    #[error(transparent)]
    Fetch(FetchError),
    #[error(transparent)]
    Keys(KeySetError),
}

impl Keeper {
    fn trust(&self) -> Trust {
        let trusted =
            |shelf: &Shelf| Trusted { issuer: Arc::clone(&shelf.issuer), keys: shelf.held() };
        Trust::new(self.shelves.iter().map(trusted).collect(), self.generation)
    }

    fn run(&mut self, queue: &Receiver<News>, published: &RwLock<Arc<Trust>>) {
        let mut wait = Duration::ZERO;
        loop {
            let told = match queue.recv_timeout(wait) {
                Ok(News::Seen { issuer, text, at }) => {
                    self.shelves.get_mut(issuer).is_some_and(|shelf| shelf.see(text, at))
                }
                Ok(News::Missing(MissingKey { issuer, key_id })) => {
                    let shelf = self.shelves.get_mut(usize::from(issuer.0));
                    let remote = shelf.into_iter().flat_map(|shelf| &mut shelf.remote);
                    let now = Instant::now();
                    remote.for_each(|each| each.schedule.miss(key_id.as_deref(), now));
                    false
                }
                Err(RecvTimeoutError::Timeout) => self.renew_files(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            wait = POLL;
            if self.fetch() | told {
                self.generation += 1;
                let trust = Arc::new(self.trust());
                *published.write().unwrap_or_else(PoisonError::into_inner) = trust;
            }
        }
    }

    /// Fetches what is due. Out: whether anything came.
    fn fetch(&mut self) -> bool {
        let Some(client) = &self.client else { return false };
        let mut changed = false;
        for Shelf { issuer, remote, .. } in &mut self.shelves {
            for each in remote.iter_mut().filter(|each| each.schedule.is_due(Instant::now())) {
                changed |= each.fetch(client, &issuer.id);
            }
        }
        changed
    }

    fn renew_files(&mut self) -> bool {
        let files = self.shelves.iter_mut().flat_map(|shelf| &mut shelf.files);
        files.fold(false, |changed, file| file.renew() | changed)
    }
}

#[cfg(test)]
mod tests;
