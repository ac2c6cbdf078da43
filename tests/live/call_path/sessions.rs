//! Whose bytes are whose: session objects that are used again, shared, nested, inherited, left.

use anyhow::{Result, ensure};
use scopewatch_harness::openssl::{How, Opening};

use super::lab::{Behaviour, Lab};

/// Session objects that are used again.
pub const SESSIONS: [(&str, Behaviour); 12] = [
    ("a handshake within the first write", a_handshake_within_the_first_write),
    ("an object cleared for another connection", an_object_cleared_for_another_connection),
    ("an object at the address of one freed", an_object_at_the_address_of_one_freed),
    ("an object freed by one of two owners", an_object_freed_by_one_of_two_owners),
    ("an exchange within a write on another", |lab| two(lab, "nested_exchanges")),
    ("a process killed inside a call", a_process_killed_inside_a_call),
    ("a thread that ends inside a call", a_thread_that_ends_inside_a_call),
    ("two sessions that take turns", |lab| two(lab, "interleaved_exchanges")),
    ("a thread that writes and one that reads", a_thread_that_writes_and_one_that_reads),
    ("a child that inherits a session", a_child_that_inherits_a_session),
    ("a process with the id and the addresses of one that ended", one_pid),
    ("a process that ends without freeing", a_process_that_ends_without_freeing),
];

fn exchange(lab: &mut Lab, name: &str) -> Result<u64> {
    exchange_by(lab, "exchange", name)
}

/// An exchange on the session `one`, and the address of its object.
fn exchange_by(lab: &mut Lab, command: &str, name: &str) -> Result<u64> {
    let request = lab.request("GET", name)?;
    let exchanged = lab.client().exchange_by(command, "one", &request, How::default())?;
    let object = exchanged.object;
    lab.tell(request, exchanged);
    Ok(object)
}

/// What its probes remember of the call is left behind, and in nobody's way.
fn a_process_killed_inside_a_call(lab: &mut Lab) -> Result<()> {
    lab.client().open("one", Opening::default())?;
    exchange(lab, "first")?;
    for (function, name) in [("SSL_read", "second"), ("SSL_read_ex", "third")] {
        lab.client().make("die_in_a_call", function)?;
        exchange(lab, name)?;
    }
    Ok(())
}

/// Calls of the two behaviours above that never return, at least.
pub const ABANDONED: u64 = 8;

/// The process and the session go on: in another thread, and in one that has its id and its stack.
fn a_thread_that_ends_inside_a_call(lab: &mut Lab) -> Result<()> {
    lab.client().open("one", Opening::default())?;
    exchange(lab, "before")?;
    for how in ["exit_in_a_call", "cancel_in_a_call"] {
        lab.client().make(how, "one")?;
        exchange(lab, how)?;
    }
    exchange_by(lab, "exchange_in_the_place_of_another", "in-its-place")?;
    exchange(lab, "after").map(drop)
}

fn a_handshake_within_the_first_write(lab: &mut Lab) -> Result<()> {
    for name in ["first", "second"] {
        let opening = Opening { handshake: false, ..Opening::default() };
        lab.client().open("one", opening)?;
        exchange(lab, name)?;
    }
    exchange(lab, "third").map(drop)
}

fn an_object_cleared_for_another_connection(lab: &mut Lab) -> Result<()> {
    lab.client().open("one", Opening::default())?;
    let first = exchange(lab, "first")?;
    for name in ["second", "third"] {
        lab.client().make("clear", "one")?;
        ensure!(exchange(lab, name)? == first, "another object");
    }
    Ok(())
}

/// Objects that are freed, at most, until one has the address of another before it.
const MOST_ROUNDS: usize = 60;

fn an_object_at_the_address_of_one_freed(lab: &mut Lab) -> Result<()> {
    lab.client().open("one", Opening::default())?;
    let mut objects = vec![exchange(lab, "first")?];
    let mut repeated = false;
    // Allocators choose: as often as it takes.
    for round in 0..MOST_ROUNDS {
        lab.client().make("free_and_open", "one")?;
        let object = exchange(lab, &format!("round-{round}"))?;
        repeated |= objects.contains(&object);
        objects.push(object);
        if repeated && round >= 4 {
            break;
        }
    }
    lab.client().make("free", "one")?;
    ensure!(repeated, "the allocator reuses no address: {objects:x?}");
    Ok(())
}

fn an_object_freed_by_one_of_two_owners(lab: &mut Lab) -> Result<()> {
    lab.client().open("one", Opening::default())?;
    exchange(lab, "before")?;
    lab.client().make("free_one_of_two_references", "one")?;
    exchange(lab, "after").map(drop)
}

/// Exchanges on two sessions of one thread, neither of which was used before.
fn two(lab: &mut Lab, command: &str) -> Result<()> {
    for session in ["one", "two"] {
        lab.client().open(session, Opening::default())?;
    }
    for round in ["first", "second"] {
        let requests = [
            lab.request("GET", &format!("{round}-a"))?,
            lab.request("GET", &format!("{round}-b"))?,
        ];
        let [one, two] = &requests;
        let made = lab.client().exchange_two(command, ["one", "two"], [one, two])?;
        for (request, exchanged) in requests.into_iter().zip(made) {
            lab.tell(request, exchanged);
        }
    }
    Ok(())
}

fn a_thread_that_writes_and_one_that_reads(lab: &mut Lab) -> Result<()> {
    lab.client().open("one", Opening::default())?;
    for name in ["first", "second", "third"] {
        exchange_by(lab, "exchange_in_two_threads", name)?;
    }
    Ok(())
}

fn a_child_that_inherits_a_session(lab: &mut Lab) -> Result<()> {
    lab.client().open("one", Opening::default())?;
    exchange_by(lab, "exchange_in_a_child", "by-the-child").map(drop)
}

/// As prefork servers do, whose children come and go until process ids repeat.
fn one_pid(lab: &mut Lab) -> Result<()> {
    let requests = [lab.request("GET", "first")?, lab.request("GET", "second")?];
    let [first, second] = &requests;
    let command = "exchange_in_children_of_one_pid";
    let made = lab.client().exchange_two(command, ["", ""], [first, second])?;
    let [one, two] = made.each_ref().map(|one| (one.reply.client_pid, one.object));
    ensure!(one == two, "not the same pid and address: {made:x?}");
    for (request, exchanged) in requests.into_iter().zip(made) {
        lab.tell(request, exchanged);
    }
    Ok(())
}

fn a_process_that_ends_without_freeing(lab: &mut Lab) -> Result<()> {
    lab.client().open("one", Opening::default())?;
    exchange(lab, "last")?;
    lab.another_client()?.leave()?;
    lab.client().open("one", Opening::default())?;
    exchange(lab, "of-another-process").map(drop)
}
