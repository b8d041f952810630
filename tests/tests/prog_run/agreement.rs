//! The kernel build against the host build of the same core.
