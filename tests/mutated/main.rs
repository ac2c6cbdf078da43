//! Connections of HTTP/1.1 and HTTP/2 under damage of every kind, through detection and codec.
//!
//! In: `MUTATED_CONNECTIONS`, how many (5,000 if it is not set; `cargo xtask mutate` sets it), and
//! `MUTATED_SEED`, the first one's seed. Out: one line of figures. What holds for each connection:
//! no panic, an end within a second of processor time, memory and outputs within the bounds below, the same
//! exchanges however the bytes were cut, and exactly its exchanges if nothing was damaged.

use std::{
    alloc::System,
    env,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::time::{ClockId, clock_gettime};
use peakmem_alloc::{INSTRUMENTED_SYSTEM, PeakMemAlloc, PeakMemAllocTrait as _};
use scopewatch::{
    clock::Timestamp,
    flow::chunk::Direction,
    http::{
        detect::Codec,
        message::{Exchange, Fields},
    },
    http1::MAX_BUFFERED,
    http2::BUFFERED_MAX,
};
use scopewatch_harness::talks::{
    Dice, End, Piece, Talk, damage::damage, flood, http1, http2, talk,
};

#[global_allocator]
static ALLOCATOR: &PeakMemAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Connections of a run that nobody asked more of.
const FEW: u64 = 5_000;

/// Processor time for one connection: thousands of times what it takes, so that only a hang is late.
const SLOW: Duration = Duration::from_secs(1);

/// Most that a codec may say that it holds, in bytes.
const HELD_MAX: usize = if MAX_BUFFERED > BUFFERED_MAX { MAX_BUFFERED } else { BUFFERED_MAX };

/// Most heap that a codec may take with what one feed puts out, in bytes: a vector that grows may
/// have room for twice its content.
const HEAP_MAX: usize = 2 * HELD_MAX;

/// Bytes of input that an exchange takes at least: a frame's head and one octet.
const INPUT_PER_EXCHANGE: usize = 10;

/// Most that one exchange may hold of fields, in bytes: a list of each side, and trailers.
const EXCHANGE_MAX: usize = 4 * 128 * 1024;

/// Most bytes in one feed: what one record of TLS carries.
const RECORD: usize = 1 << 14;

/// What came of all connections.
#[derive(Debug, Default)]
struct Totals {
    connections: u64,
    damaged: u64,
    bytes: usize,
    exchanges: usize,
    whole: usize,
    most_held: usize,
    most_heap: usize,
    slowest: Duration,
}

/// What one connection gave. Exchanges are dropped as they come: what is measured is the codec.
#[derive(Default)]
struct Played {
    exchanges: usize,
    whole: usize,
    /// All that they say.
    digest: DefaultHasher,
    largest: usize,
    held: usize,
    heap: usize,
}

#[test]
fn mutated_connections_neither_panic_nor_hang_nor_pile_up() -> Result<()> {
    let (count, seed) = (number("MUTATED_CONNECTIONS", FEW)?, number("MUTATED_SEED", 0)?);
    let begun = Instant::now();
    let mut totals = Totals::default();
    for seed in seed..seed.saturating_add(count) {
        connection(seed, &mut totals).with_context(|| format!("MUTATED_SEED={seed}"))?;
    }
    println!(
        "mutated: {totals:?} in {:?}; bounds: heap {HEAP_MAX}, held {HELD_MAX}",
        begun.elapsed()
    );
    Ok(())
}

fn number(name: &str, default: u64) -> Result<u64> {
    match env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}={text}")),
        Err(_) => Ok(default),
    }
}

/// Processor time of this thread so far: how long it waits for a processor is not the codec's doing.
fn processor_time() -> Result<Duration> {
    let time =
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("read the thread's clock")?;
    Ok(time.into())
}

/// Makes a connection, damages it nine times in ten, and plays it.
fn connection(seed: u64, totals: &mut Totals) -> Result<()> {
    let mut dice = Dice::seeded(seed);
    let is_flood = dice.one_in(200);
    let mut made = if is_flood { flood::talk(&mut dice) } else { talk(&mut dice) };
    let damages = if dice.one_in(10) { 0 } else { dice.below(8) + 1 };
    if damages > 0 {
        let donor =
            if dice.below(2) == 0 { http1::talk(&mut dice) } else { http2::talk(&mut dice) };
        (0..damages).for_each(|_| damage(&mut dice, &mut made, &donor));
    }
    let begun = processor_time()?;
    let played = play(&made, &mut dice);
    let took = processor_time()?.saturating_sub(begun);
    check(&made, &played, damages == 0)?;
    ensure!(took < SLOW, "took {took:?}");
    if dice.one_in(8) {
        let again = play(&made, &mut dice);
        let digests = [&played, &again].map(|played| played.digest.finish());
        ensure!(digests[0] == digests[1], "another cut gives other exchanges");
    }
    totals.connections += 1;
    totals.damaged += u64::from(damages > 0);
    totals.bytes += made.len();
    totals.exchanges += played.exchanges;
    totals.whole += played.whole;
    totals.most_held = totals.most_held.max(played.held);
    totals.most_heap = totals.most_heap.max(played.heap);
    totals.slowest = totals.slowest.max(took);
    Ok(())
}

/// Feeds a connection, cut at random.
fn play(talk: &Talk, dice: &mut Dice) -> Played {
    let mut played = Played::default();
    ALLOCATOR.reset_peak_memory();
    let (mut codec, mut out) = (Codec::new(), Vec::new());
    for piece in &talk.pieces {
        match piece {
            Piece::Bytes(end, bytes) => {
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let most = if dice.one_in(3) { 8 } else { RECORD };
                    let (now, later) = rest.split_at(rest.len().min(dice.below(most) + 1));
                    codec.feed(direction(*end), Timestamp(0), now, &mut out);
                    played.take(&codec, &mut out);
                    rest = later;
                }
            }
            Piece::Gap(end, len) => codec.gap(direction(*end), Timestamp(0), *len, &mut out),
            Piece::Close(end) => codec.end(direction(*end), Timestamp(0), &mut out),
        }
        played.take(&codec, &mut out);
    }
    codec.finish(Timestamp(0), &mut out);
    played.take(&codec, &mut out);
    played
}

impl Played {
    fn take(&mut self, codec: &Codec, out: &mut Vec<Exchange>) {
        self.held = self.held.max(codec.buffered());
        for exchange in std::mem::take(out) {
            self.exchanges += 1;
            self.hash(&exchange);
            let Exchange { request, response, notes, .. } = exchange;
            self.whole += usize::from(request.is_some() && response.is_some() && notes.is_empty());
            let asked = request.iter().map(|request| request.fields.size() + request.target.len());
            let told = response.iter().map(|it| it.fields.size() + it.trailers.size());
            self.largest = self.largest.max(asked.chain(told).sum());
        }
        self.heap = self.heap.max(ALLOCATOR.get_peak_memory());
    }

    fn hash(&mut self, exchange: &Exchange) {
        let Exchange { index, role, phase: _, request, response, notes, anomalies } = exchange;
        let digest = &mut self.digest;
        (index, role.as_str(), notes, format!("{anomalies:?}")).hash(digest);
        let mut fields = |fields: &Fields| fields.iter().for_each(|field| field.hash(digest));
        request.iter().for_each(|request| fields(&request.fields));
        response.iter().for_each(|response| fields(&response.fields));
        response.iter().for_each(|response| fields(&response.trailers));
        let asked = request.as_ref().map(|it| (&it.method, it.target.as_str(), it.body_bytes));
        (asked, response.as_ref().map(|it| (it.status, it.body_bytes))).hash(digest);
    }
}

const fn direction(end: End) -> Direction {
    match end {
        End::Client => Direction::Outbound,
        End::Server => Direction::Inbound,
    }
}

fn check(talk: &Talk, played: &Played, is_intact: bool) -> Result<()> {
    let Played { exchanges, whole, largest, held, heap, .. } = played;
    ensure!(*held <= HELD_MAX, "{held} bytes held");
    ensure!(*heap <= HEAP_MAX, "{heap} bytes of heap");
    ensure!(*largest <= EXCHANGE_MAX, "an exchange of {largest} bytes");
    let most = talk.len() / INPUT_PER_EXCHANGE + talk.pieces.len() + 1;
    ensure!(*exchanges <= most, "{exchanges} exchanges of {} bytes", talk.len());
    if is_intact && talk.is_plain {
        let counts = (*exchanges, *whole);
        ensure!(counts == (talk.requests, talk.requests), "{counts:?} of {}", talk.requests);
    }
    Ok(())
}
