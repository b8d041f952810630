//! The database as the daemon's tasks share it: never on a runtime thread, and able to come back.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Store, StoreError};

/// A handle that is cheap to clone. Calls take turns; questions of people take turns among themselves
/// ([`Self::read`]), so that what is done once a second waits for none of them.
///
/// A database that cannot be opened makes every call fail with the reason, and every call tries again to open
/// it, so that nothing has to be restarted once the cause is gone.
#[derive(Clone, Debug)]
pub struct Shared {
    path: Arc<PathBuf>,
    inner: Arc<Mutex<Inner>>,
    /// `None` where there is only one connection: to what is in memory.
    reader: Option<Arc<Mutex<Inner>>>,
}

#[derive(Debug)]
struct Inner {
    open: fn(&Path) -> Result<Store, StoreError>,
    store: Option<Store>,
    last_error: Option<String>,
}

impl Shared {
    /// From a database that is open.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            path: Arc::new(store.path().to_owned()),
            inner: Arc::new(Mutex::new(Inner { open: Store::open, store: Some(store), last_error: None })),
            reader: None,
        }
    }

    /// For a database that may not open now; the first call tries.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        let inner = |open| Arc::new(Mutex::new(Inner { open, store: None, last_error: None }));
        Self {
            path: Arc::new(path.to_owned()),
            inner: inner(Store::open),
            reader: Some(inner(Store::open_to_read)),
        }
    }

    /// Runs a question, which may be long, on a thread that may block, beside what [`Self::run`] does.
    pub async fn read<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = Self { inner: Arc::clone(self.reader.as_ref().unwrap_or(&self.inner)), ..self.clone() };
        reader.run(move |store| call(store)).await
    }

    /// Runs `call` on a thread that may block.
    pub async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = self.clone();
        tokio::task::spawn_blocking(move || shared.run_blocking(call))
            .await
            .unwrap_or_else(|_| Err(StoreError::TaskDied { path: self.path.to_path_buf() }))
    }

    /// Runs `call` here: for start and shutdown, outside the runtime.
    pub fn run_blocking<T>(
        &self,
        call: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // A call that panicked has rolled its transaction back by then: the connection is sound.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = inner.call(&self.path, call);
        inner.last_error = answer.as_ref().err().map(ToString::to_string);
        answer
    }

    /// `ok`, or what was wrong at the last call: for `edgectl status`. May wait for a call under way.
    #[must_use]
    pub fn status(&self) -> String {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.last_error.clone().unwrap_or_else(|| "ok".to_owned())
    }
}

impl Inner {
    fn call<T>(
        &mut self,
        path: &Path,
        call: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.store.is_none() {
            self.store = Some((self.open)(path)?);
        }
        match &mut self.store {
            Some(store) => {
                store.check_place()?;
                call(store)
            }
            None => Err(StoreError::TaskDied { path: path.to_owned() }),
        }
    }
}
