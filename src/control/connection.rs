//! The listening socket: how long a client may take over a header or over reading an answer, and how the port closes; how many
//! clients there may be is in `crowd.rs`. axum's own server has none of these bounds, so hyper is driven directly.

use super::{
    State,
    crowd::{Crowd, Seated},
    router,
};
use axum::{Router, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    future::Future as _,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Sleep, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service as _;

/// Who is at the other end; rides on every request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub SocketAddr);

/// A header block beyond this is nobody's: our longest is a token and two keys of 255 characters.
const HEADER_BYTES: usize = 64 << 10;
const HEADERS: usize = 100;

/// `accept` fails when the process is out of file handles; looping at once would only burn the processor until one is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the control port until `shutdown`, then lets requests that began end within `close_deadline_ms`, and returns.
///
/// # Errors
/// When the socket cannot be asked for its address, which means it is not listening.
pub async fn serve(listener: TcpListener, state: State, shutdown: CancellationToken) -> io::Result<()> {
    let address = listener.local_addr()?;
    let in_force = state.in_force();
    let config = &in_force.config;
    let connections = Connections {
        router: router(state),
        crowd: Crowd::new(config.max_connections, config.max_connections_per_peer),
        builder: builder(config.header_deadline()),
        first_header_deadline: config.first_header_deadline(),
        write_deadline: config.idle_deadline(),
        closing: shutdown.clone(),
        cut: CancellationToken::new(),
        open: TaskTracker::new(),
    };
    tracing::info!(%address, "the control port listens");
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &connections.crowd) => accepted,
        };
        match accepted {
            Ok((stream, peer, Some(seated))) => connections.begin(stream, peer, seated),
            Ok((_, peer, None)) => tracing::debug!(%peer, "a connection beyond its peer's share was closed"),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.end(config.close_deadline()).await;
    Ok(())
}

async fn accept(listener: &TcpListener, crowd: &Crowd) -> io::Result<(TcpStream, SocketAddr, Option<Seated>)> {
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, crowd.seat(peer).await))
}

fn builder(header_deadline: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(header_deadline).max_header_size(HEADER_BYTES).max_headers(HEADERS);
    builder
}

struct Connections {
    router: Router,
    crowd: Crowd,
    builder: http1::Builder,
    first_header_deadline: Duration,
    write_deadline: Duration,
    closing: CancellationToken,
    /// Fires when the time to close in order is over.
    cut: CancellationToken,
    open: TaskTracker,
}

impl Connections {
    fn begin(&self, stream: TcpStream, peer: SocketAddr, seated: Seated) {
        // Answers are small and complete; waiting for more to send along would add 40 ms to some.
        let _ = stream.set_nodelay(true);
        let (router, crowd, seat) = (self.router.clone(), self.crowd.clone(), seated.seat.clone());
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            let (mut router, crowd, seat) = (router.clone(), crowd.clone(), seat.clone());
            async move {
                if !seat.begin() {
                    return Err(io::Error::from(io::ErrorKind::ConnectionAborted));
                }
                let request: Request = request.map(axum::body::Body::new);
                let answer = router.call(request).await.map_err(|never| match never {});
                crowd.rests(&seat);
                answer
            }
        });
        let connection = self.builder.serve_connection(TokioIo::new(Patient::new(stream, self.write_deadline)), service);
        let (closing, cut, patience) = (self.closing.clone(), self.cut.clone(), self.first_header_deadline);
        self.open.spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                biased;
                ended = connection.as_mut() => Some(ended),
                at_once = seated.seat.has_to_go(patience) => at_once.then_some(Ok(())),
                () = closing.cancelled() => None,
            };
            let ended = match ended {
                Some(ended) => ended,
                None => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = connection => ended,
                        () = cut.cancelled() => Ok(()),
                    }
                }
            };
            // A client that goes away is no failure of ours.
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
        });
    }

    async fn end(self, deadline: Duration) {
        self.open.close();
        if tokio::time::timeout(deadline, self.open.wait()).await.is_err() {
            tracing::warn!(open = self.open.len(), "requests that would not end were cut");
            self.cut.cancel();
            self.open.wait().await;
        }
    }
}

/// A socket that gives a peer so long to take what is written. One that never reads would otherwise hold its connection, and
/// the answer in memory, for ever.
struct Patient {
    stream: TcpStream,
    patience: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    const fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, waiting: None }
    }

    fn bounded<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        ready!(self.waiting.get_or_insert_with(|| Box::pin(sleep(patience))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bounded(cx, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
