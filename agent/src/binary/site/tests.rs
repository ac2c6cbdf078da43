//! Sites in functions that were made to mislead, and in anything.

use proptest::{collection::vec, prelude::any, proptest};

use super::*;
use crate::binary::fixture::{self, bytes};

/// Four arguments in place and the stack pointer at the return address.
const CALL: Needs = Needs { arguments: 4, return_address: true };

/// Two arguments; the stack does not matter.
const ENTRY: Needs = Needs { arguments: 2, return_address: false };

fn function(bytes: &[u8]) -> Function<'_> {
    Function { address: 0x1000, offset: 0x400, bytes }
}

fn check(hex: &str, needs: Needs, expected: Result<(u64, &str, CostClass), NoSite>) {
    let bytes = bytes(hex);
    let found = site(&function(&bytes), needs);
    let found = found.as_ref().map(|site| (site.distance, site.instruction.as_str(), site.cost));
    assert_eq!(found.map_err(|why| *why), expected, "{hex}");
}

#[test]
fn the_first_emulated_instruction_is_the_site() {
    use CostClass::{Emulated, EmulatedAfterEndbr, OptimisedNop};
    // push rbp; ret
    check("55 c3", CALL, Ok((0, "push rbp", Emulated)));
    // push r15; ret
    check("4157 c3", CALL, Ok((0, "push r15", Emulated)));
    // endbr64; push rbp; ret
    check("f30f1efa 55 c3", CALL, Ok((4, "push rbp", EmulatedAfterEndbr)));
    // test rdi,rdi; je +1; ret; ret
    check("4885ff 7401 c3 c3", CALL, Ok((3, "je 0x1006", Emulated)));
    // test rdi,rdi; je far; ret
    check("4885ff 0f8400010000 c3", CALL, Ok((3, "je 0x1109", Emulated)));
    // nop; ret
    check("90 c3", CALL, Ok((0, "nop", Emulated)));
    // mov eax,1; jmp out
    check("b801000000 e9f0000000", CALL, Ok((5, "jmp 0x10fa", Emulated)));
    // mov rax,[rdi]; call out
    check("488b07 e8f8000000", CALL, Ok((3, "call 0x1100", Emulated)));
    // five-byte nop; ret: better than the first instruction, worse than an emulated one
    check("0f1f440000 c3", CALL, Ok((0, "nop dword ptr [rax+rax]", OptimisedNop)));
    check("0f1f440000 55 c3", CALL, Ok((5, "push rbp", Emulated)));
}

#[test]
fn no_site_behind_an_overwritten_argument() {
    // mov rsi,rdi; push rbp; ret
    check("4889fe 55 c3", ENTRY, Err(NoSite::ArgumentOverwritten(0)));
    // xor r8d,r8d; push rbp; ret: the fifth argument is not read
    check("4531c0 55 c3", CALL, Ok((3, "push rbp", CostClass::Emulated)));
    // mov dl,1; push rbp: a part is enough
    check("b201 55 c3", CALL, Err(NoSite::ArgumentOverwritten(0)));
    // xchg rax,rcx; push rbp
    check("4891 55 c3", CALL, Err(NoSite::ArgumentOverwritten(0)));
    // cmovs edx,eax; push rbp: an argument that may be overwritten is
    check("0f48d0 55 c3", CALL, Err(NoSite::ArgumentOverwritten(0)));
    // cpuid; push rbp: overwritten by no operand
    check("0fa2 55 c3", CALL, Err(NoSite::ArgumentOverwritten(0)));
}

#[test]
fn a_moved_stack_matters_only_to_who_needs_the_return_address() {
    // sub rsp,0x18; test rdi,rdi; je +0; ret
    let moved = "4883ec18 4885ff 7400 c3";
    check(moved, CALL, Err(NoSite::StackMoved(0)));
    check(moved, Needs::RETURN, Err(NoSite::StackMoved(0)));
    check(moved, ENTRY, Ok((7, "je 0x1009", CostClass::Emulated)));
    // endbr64; pop rax; push rbp
    check("f30f1efa 58 55 c3", CALL, Err(NoSite::StackMoved(4)));
    // leave; push rbp
    check("c9 55 c3", CALL, Err(NoSite::StackMoved(0)));
}

#[test]
fn no_site_that_is_reached_without_the_start() {
    // endbr64; push rbp; jmp to the push: a recursion that became a loop
    check("f30f1efa 55 ebfd", CALL, Err(NoSite::Entered(5)));
    // the same with a near conditional jump, from behind a return
    check("f30f1efa 55 c3 0f84f8ffffff c3", CALL, Err(NoSite::Entered(6)));
    // into the middle of what is skipped
    check("f30f1efa 55 ebfb c3", CALL, Err(NoSite::Entered(5)));
    // to the very start: as if it were called again
    check("f30f1efa 55 ebf9", CALL, Ok((4, "push rbp", CostClass::EmulatedAfterEndbr)));
    // a site at the start cannot be reached otherwise
    check("55 ebfd", CALL, Ok((0, "push rbp", CostClass::Emulated)));
}

#[test]
fn no_site_in_code_that_cannot_be_read() {
    check("", CALL, Err(NoSite::Undecodable(0)));
    check("48", CALL, Err(NoSite::Undecodable(0)));
    // endbr64; half a push of r15
    check("f30f1efa 41", CALL, Err(NoSite::Undecodable(4)));
    // test rdi,rdi; and nothing
    check("4885ff", CALL, Err(NoSite::Undecodable(3)));
    // The site is fine, but what follows might jump before it.
    check("f30f1efa 55 06", CALL, Err(NoSite::Undecodable(5)));
}

#[test]
fn no_site_where_the_line_ends() {
    check("c3", CALL, Err(NoSite::LineEnds(0)));
    // xor eax,eax; ret
    check("31c0 c3", CALL, Err(NoSite::LineEnds(2)));
    // endbr64; jmp rax
    check("f30f1efa ffe0", CALL, Err(NoSite::LineEnds(4)));
    check("0f05 55", CALL, Err(NoSite::LineEnds(0)));
    check(&"31c0".repeat(100), CALL, Err(NoSite::TooLong));
}

#[test]
fn what_only_looks_like_an_emulated_instruction_is_none() {
    // bnd jmp, notrack jmp rax, a 16-bit push, pause, jmp with a 16-bit prefix
    for hex in ["f2e900000000", "3effe0", "6655", "f390 c3", "66e900000000"] {
        let bytes = bytes(hex);
        let found = site(&function(&bytes), Needs { arguments: 0, return_address: false });
        assert!(found.is_err(), "{hex}: {found:?}");
    }
}

#[test]
fn the_fallback_is_the_first_instruction_with_its_reason() {
    let bytes = bytes("f30f1efa 4883ec18 c3");
    let site = best(&function(&bytes), CALL).unwrap();
    assert_eq!((site.distance, site.offset, site.cost), (0, 0x400, CostClass::SingleStepped));
    assert_eq!(site.reason, Reason::First(NoSite::StackMoved(4)));
    assert!(site.reason.to_string().ends_with("the stack pointer is moved at +0x4"));
    assert_eq!(best(&function(&[]), CALL), Err(NoSite::Undecodable(0)));
}

/// Every site must be an instruction boundary, reached from the start without a jump.
fn check_proof(code: &[u8], needs: Needs) {
    let function = function(code);
    let Ok(found) = site(&function, needs) else { return };
    let mut boundaries = function.instructions().map_while(Result::ok);
    let before = boundaries.by_ref().take_while(|each| each.distance != found.distance);
    for each in before {
        assert!(each.distance < found.distance, "not a boundary: {found:?}");
        assert_eq!(each.instruction.flow_control(), FlowControl::Next, "{found:?}");
    }
    assert_eq!(found.offset, function.offset + found.distance);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_sites_are_proved(
        code in vec(any::<u8>(), 0..200), arguments in 0usize..9, stack: bool,
    ) {
        check_proof(&code, Needs { arguments, return_address: stack });
    }

    #[test]
    fn instructions_in_any_order_never_mislead(
        order in vec(0usize..12, 1..30), arguments in 0usize..7, stack: bool,
    ) {
        const PARTS: [&str; 12] = [
            "f30f1efa", "55", "4157", "4885ff", "7402", "ebf0", "4883ec18", "4889fe", "31c0",
            "0f1f440000", "e800000000", "c3",
        ];
        let code: Vec<u8> = order.iter().flat_map(|&part| bytes(PARTS[part])).collect();
        check_proof(&code, Needs { arguments, return_address: stack });
    }

    #[test]
    fn damaged_functions_of_real_libraries_never_mislead(
        which in 0usize..9, at in 0usize..64, byte: u8, arguments in 0usize..7, stack: bool,
    ) {
        let library = fixture::library(fixture::ALL[which].0);
        for segment in &library.code.segments {
            let mut code = segment.bytes.to_vec();
            if let Some(damaged) = code.get_mut(at) {
                *damaged = byte;
            }
            check_proof(&code, Needs { arguments, return_address: stack });
        }
    }
}
