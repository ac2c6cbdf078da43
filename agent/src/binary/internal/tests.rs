//! Functions behind wrappers: of real libraries, and of some that were made to mislead.

use proptest::{collection::vec, prelude::any, proptest};

use super::*;
use crate::binary::{
    code::Segment,
    fixture::{self, bytes},
};

/// Addresses of the functions that are put together here.
const READ_AT: u64 = 0x1000;
const READ_EX_AT: u64 = 0x1040;
const INTERNAL_AT: u64 = 0x1100;

/// `sub rsp,24; mov rcx,rsp; movsxd rdx,edx; call INTERNAL_AT; add rsp,24; ret`
const SSL_READ: &str = "4883ec18 4889e1 4863d2 e8f1000000 4883c418 c3";

/// `sub rsp,8; call INTERNAL_AT; add rsp,8; ret`
const SSL_READ_EX: &str = "4883ec08 e8b7000000 4883c408 c3";

fn library(read: &str, read_ex: &str) -> Library<'static> {
    let mut library = Library::default();
    // A stub of the linkage table: jmp [rip+0xfa], whose slot is at 0x1300.
    let stub = ("stub", 0x1200, "ff25fa000000");
    let parts = [("SSL_read", READ_AT, read), ("SSL_read_ex", READ_EX_AT, read_ex)];
    for (name, address, code) in parts.into_iter().chain([("", INTERNAL_AT, "55 c3"), stub]) {
        let bytes: &[u8] = bytes(code).leak();
        library.code.segments.push(Segment { address, offset: address, bytes });
        if name.starts_with("SSL") {
            library.exports.insert(name, (address, u64::try_from(bytes.len()).unwrap()));
        }
    }
    library.code.slots.insert(0x1300, Linked::Elsewhere);
    library
}

fn check(read: &str, read_ex: &str, expected: Result<u64, NoInternal>) {
    let library = library(read, read_ex);
    let found = behind(&library, &READ).map(|call| call.function.address);
    assert_eq!(found, expected, "{read} / {read_ex}");
}

#[test]
fn the_function_behind_both_wrappers_is_found() {
    check(SSL_READ, SSL_READ_EX, Ok(INTERNAL_AT));
}

#[test]
fn an_error_branch_that_calls_another_library_does_no_harm() {
    // test edx,edx; js to the end; as above; ret; call the stub; ud2
    let read = "4883ec18 85d2 7810 4889e1 4863d2 e8ed000000 4883c418 c3 e8e3010000 0f0b";
    check(read, SSL_READ_EX, Ok(INTERNAL_AT));
}

#[test]
fn arguments_must_agree() {
    let other = Err(NoInternal::OtherArguments("SSL_read"));
    // xor esi,esi before the call: the buffer is gone
    check("31f6 4889e1 4863d2 e8f3000000 c3", SSL_READ_EX, other);
    // the pointer is not set
    check("4883ec18 4863d2 e8f4000000 4883c418 c3", SSL_READ_EX, other);
    // mov rcx,[rsp]: something from the stack, not an address in it
    check("4883ec18 488b0c24 4863d2 e8f0000000 c3", SSL_READ_EX, other);
    // xchg rdi,rsi
    check("4887fe 4889e1 4863d2 e8f2000000 c3", SSL_READ_EX, other);
    // mov dil,1: one byte is enough
    check("40b701 4889e1 4863d2 e8f2000000 c3", SSL_READ_EX, other);
    // mov edi,edi: half a pointer
    check("89ff 4889e1 4863d2 e8f3000000 c3", SSL_READ_EX, other);
    // mov ecx,[rcx] in the other wrapper
    let other = Err(NoInternal::OtherArguments("SSL_read_ex"));
    check(SSL_READ, "8b09 e8b9000000 c3", other);
}

#[test]
fn arguments_may_take_a_detour_through_registers() {
    // mov rax,rdi; xor edi,edi; mov rdi,rax; lea rcx,[rsp+8]; mov edx,edx
    let read = "4889f8 31ff 4889c7 488d4c2408 89d2 e8ec000000 c3";
    check(read, SSL_READ_EX, Ok(INTERNAL_AT));
    // mov rax,rdi; call the stub; mov rdi,rax: the call changes rax
    let read = "4889f8 e8f8010000 4889c7 4889e1 4863d2 e8ea000000 c3";
    check(read, SSL_READ_EX, Err(NoInternal::OtherArguments("SSL_read")));
}

#[test]
fn a_way_around_makes_it_uncertain() {
    let around = Err(NoInternal::LeadsElsewhere("SSL_read"));
    // behind the return, a call of 0x1180
    check(&format!("{SSL_READ} e867010000 c3"), SSL_READ_EX, around);
    // behind the return, call rax
    check(&format!("{SSL_READ} ffd0 c3"), SSL_READ_EX, around);
    // before the call, a conditional jump to 0x1180
    check("4889e1 4863d2 0f8474010000 e8ef000000 c3", SSL_READ_EX, around);
    // what cannot be decoded may lead anywhere
    check(&format!("{SSL_READ} 06"), SSL_READ_EX, around);
}

#[test]
fn a_loop_or_a_tail_jump_ends_the_line() {
    let none = Err(NoInternal::NothingInCommon("SSL_read", "SSL_read_ex"));
    check("ebfe", SSL_READ_EX, none);
    check("", SSL_READ_EX, Err(NoInternal::NotExported("SSL_read")));
    // jmp INTERNAL_AT in place of call and return
    check(SSL_READ, "e9bb000000", Ok(INTERNAL_AT));
}

#[test]
fn only_the_library_itself_counts() {
    // Both call the stub.
    let none = Err(NoInternal::NothingInCommon("SSL_read", "SSL_read_ex"));
    check("4889e1 4863d2 e8f5010000 c3", "e8bb010000 c3", none);
    let mut library = library(SSL_READ, SSL_READ_EX);
    library.code.segments.retain(|segment| segment.address != INTERNAL_AT);
    assert_eq!(behind(&library, &READ).unwrap_err(), NoInternal::NotInFile);
    library.exports.remove("SSL_read_ex");
    assert_eq!(behind(&library, &READ).unwrap_err(), NoInternal::NotExported("SSL_read_ex"));
}

#[test]
fn writes_with_flags_are_told_from_those_without() {
    let flags = fixture::library("debian13-libssl");
    assert!(behind(&flags, &WRITE_WITH_FLAGS).is_ok());
    assert!(behind(&flags, &WRITE).is_err());
    let plain = fixture::library("debian12-libssl");
    assert!(behind(&plain, &WRITE).is_ok());
    let why = NoInternal::NotExported("SSL_write_ex2");
    assert_eq!(behind(&plain, &WRITE_WITH_FLAGS).unwrap_err(), why);
}

proptest! {
    #[test]
    fn arbitrary_wrappers_never_panic(
        read in vec(any::<u8>(), 1..60), read_ex in vec(any::<u8>(), 1..60),
    ) {
        let mut library = library(SSL_READ, SSL_READ_EX);
        let code = [&mut library.code.segments];
        for (segment, bytes) in code.into_iter().flatten().zip([read, read_ex]) {
            segment.bytes = bytes.leak();
        }
        library.exports.values_mut().for_each(|place| place.1 = 0);
        let _ = behind(&library, &READ);
        let _ = behind(&library, &WRITE_WITH_FLAGS);
    }
}
