//! The stack of the kernel programs, as the verifier of Linux 6.1 adds it up: it allows 512 octets over any chain of calls,
//! each function's share rounded up to 32 (kernel/bpf/verifier.c, `check_max_stack_depth`). Newer kernels round to 16, so that
//! a program which loads here may be refused there.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use aya_obj::generated::{
    BPF_ADD, BPF_ALU64, BPF_CALL, BPF_DW, BPF_IMM, BPF_JMP, BPF_K, BPF_LD, BPF_LDX, BPF_MOV, BPF_PSEUDO_CALL,
    BPF_PSEUDO_FUNC, BPF_ST, BPF_STX, BPF_X, bpf_insn,
};
use aya_obj::{Object, Program};
use edge_tests::object::object_bytes;

/// `MAX_BPF_STACK`, and to what shares are rounded (6.1).
const STACK_BYTES: usize = 512;
const SHARE_BYTES: usize = 32;
/// The register that points to a function's frame.
const FRAME: u8 = 10;
const TAIL_CALL: i32 = 12;
/// The bits of an opcode that say its class.
const CLASS: u8 = 0x07;

const CALL: u32 = BPF_JMP | BPF_CALL;
const LOAD_FUNCTION: u32 = BPF_LD | BPF_IMM | BPF_DW;
const COPY: u32 = BPF_ALU64 | BPF_MOV | BPF_X;
const ADD: u32 = BPF_ALU64 | BPF_ADD | BPF_K;

/// One function of a linked program.
#[derive(Debug)]
struct Function {
    bytes: usize,
    calls: BTreeSet<usize>,
    has_tail_call: bool,
}

#[test]
fn no_chain_of_calls_needs_more_stack_than_the_oldest_kernel_allows() {
    let mut object = Object::parse(&object_bytes().unwrap()).unwrap();
    let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_calls(&sections).unwrap();
    assert!(object.programs.len() > 5, "{:?}", object.programs.keys());
    for (name, program) in &object.programs {
        let functions = functions(&object, program);
        let mut deepest = (0, Vec::new());
        let mut paths = vec![(0, 0, Vec::new())];
        while let Some((start, above, mut path)) = paths.pop() {
            let function = &functions[&start];
            path.push((start, function.bytes));
            let depth = above + function.bytes.max(1).next_multiple_of(SHARE_BYTES);
            assert!(depth <= STACK_BYTES, "{name}: {depth} octets, by instruction and octets: {path:?}");
            // Elsewhere a tail call halves what all callers may have.
            assert!(start == 0 || !function.has_tail_call, "{name}: a tail call from within: {path:?}");
            deepest = deepest.max((depth, path.clone()));
            paths.extend(function.calls.iter().map(|called| (*called, depth, path.clone())));
        }
        println!("{name}: {} octets, by instruction and octets: {:?}", deepest.0, deepest.1);
    }
}

/// The functions by their first instructions.
fn functions(object: &Object, program: &Program) -> BTreeMap<usize, Function> {
    let instructions = &object.functions[&program.function_key()].instructions;
    let starts: BTreeSet<usize> =
        std::iter::once(0).chain((0..instructions.len()).filter_map(|at| called(instructions, at))).collect();
    let end = |start: usize| starts.range(start + 1..).next().copied().unwrap_or(instructions.len());
    starts
        .iter()
        .map(|start| {
            let range = *start..end(*start);
            let function = Function {
                bytes: range.clone().map(|at| frame_bytes(instructions, at)).max().unwrap_or_default(),
                calls: range.clone().filter_map(|at| called(instructions, at)).collect(),
                has_tail_call: instructions[range]
                    .iter()
                    .any(|it| u32::from(it.code) == CALL && it.src_reg() == 0 && it.imm == TAIL_CALL),
            };
            (*start, function)
        })
        .collect()
}

/// The function that an instruction calls, or hands to a helper that will.
fn called(instructions: &[bpf_insn], at: usize) -> Option<usize> {
    let it = &instructions[at];
    let is_call = u32::from(it.code) == CALL && u32::from(it.src_reg()) == BPF_PSEUDO_CALL;
    let is_handed = u32::from(it.code) == LOAD_FUNCTION && u32::from(it.src_reg()) == BPF_PSEUDO_FUNC;
    let behind = i64::try_from(at + 1).unwrap();
    (is_call || is_handed).then(|| usize::try_from(behind + i64::from(it.imm)).unwrap())
}

/// How far below its frame's end an instruction reaches.
fn frame_bytes(instructions: &[bpf_insn], at: usize) -> usize {
    let it = &instructions[at];
    let class = u32::from(it.code & CLASS);
    let loads = class == BPF_LDX && it.src_reg() == FRAME;
    let stores = (class == BPF_ST || class == BPF_STX) && it.dst_reg() == FRAME;
    let offset = if loads || stores {
        i32::from(it.off)
    } else if u32::from(it.code) == ADD && at > 0 {
        let before = &instructions[at - 1];
        let is_frame =
            u32::from(before.code) == COPY && before.src_reg() == FRAME && before.dst_reg() == it.dst_reg();
        if is_frame { it.imm } else { 0 }
    } else {
        0
    };
    usize::try_from(-offset).unwrap_or_default()
}
