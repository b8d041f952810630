//! Kernels that tests of one process hand to each other: to load one is to have it verified, which takes seconds, and
//! most of the time of a suite in an emulated machine.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use crate::kernel::Kernel;

static LOADED: Mutex<Vec<Kernel>> = Mutex::new(Vec::new());

/// A [`Kernel`] that no other test has at the same time. It goes back when it is dropped, unless the test has failed.
/// [`Kernel::prepare`] clears what the test before left; a test that changes more (members, trunks, sizes of maps) loads
/// a kernel of its own.
#[derive(Debug)]
pub struct Lent(Option<Kernel>);

impl Lent {
    /// One that is free, or a new one.
    pub fn take() -> Result<Self> {
        let free = LOADED.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut kernel = free.map_or_else(Kernel::load, Ok)?;
        kernel.records()?;
        kernel.messages()?;
        Ok(Self(Some(kernel)))
    }
}

impl Deref for Lent {
    type Target = Kernel;

    fn deref(&self) -> &Kernel {
        #[expect(clippy::expect_used, reason = "only `drop` takes it out")]
        self.0.as_ref().expect("there until it is dropped")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Kernel {
        #[expect(clippy::expect_used, reason = "only `drop` takes it out")]
        self.0.as_mut().expect("there until it is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !std::thread::panicking()
            && let Some(kernel) = self.0.take()
        {
            LOADED.lock().unwrap_or_else(PoisonError::into_inner).push(kernel);
        }
    }
}
