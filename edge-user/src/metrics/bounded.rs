//! Connections that are few and short: whoever reaches the port must not get at the file descriptors that `edged` needs
//! for its links, its database and `edgectl`, nor hold up its end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use axum::{Router, serve as http};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;

/// What clients may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at once; more wait in the kernel.
    pub(super) connections: usize,
    /// How long each may last, a request and its answer.
    pub(super) lifetime: Duration,
    /// How long those under way may go on at shutdown.
    pub(super) drain: Duration,
}

impl Bounds {
    /// A few of everything that asks, and three times as long as Prometheus waits unless told otherwise.
    pub(super) const STANDARD: Self =
        Self { connections: 32, lifetime: Duration::from_secs(30), drain: Duration::from_secs(5) };
}

/// Serves until shutdown, and while it is drained.
pub(super) async fn serve(
    listener: TcpListener,
    bounds: Bounds,
    router: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let free = Arc::new(Semaphore::new(bounds.connections));
    let listener = Bounded { listener, lifetime: bounds.lifetime, free };
    let serving = http(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let drained = async {
        shutdown.cancelled().await;
        sleep(bounds.drain).await;
    };
    tokio::select! {
        ended = serving.into_future() => ended,
        // Whoever is still there does not read his answer, or has not asked to the end.
        () = drained => Ok(()),
    }
}

/// A listener that keeps to its bounds.
struct Bounded {
    listener: TcpListener,
    lifetime: Duration,
    free: Arc<Semaphore>,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Nobody closes the semaphore.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Connection { stream, over: Box::pin(sleep(self.lifetime)), _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection; an error once its time is over.
struct Connection {
    stream: TcpStream,
    over: Pin<Box<Sleep>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// The stream while there is time; who waits for it is woken when there is none.
    fn stream(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        if self.over.is_elapsed() || self.over.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Pin::new(&mut self.stream))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream(context)?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream(context)?.poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream(context)?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream(context)?.poll_shutdown(context)
    }
}
