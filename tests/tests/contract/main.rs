//! What must hold of the repository and of the object file, without root and without a kernel.
#![expect(clippy::unwrap_used, reason = "a test panics: the backtrace says where")]

mod layering;
mod object;
mod prometheus;
mod source_tree;
mod stack;
