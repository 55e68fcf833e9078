//! The listening socket: how long a client may take over a header or over reading an answer, and how the port closes; how many
//! clients there may be is in `crowd.rs`. axum's own server has none of these bounds, so hyper is driven directly.

use super::{
    State,
    answer::{Answer, Unread},
    auth::Reason,
    crowd::{Crowd, Seated},
    proxy, router, tls,
};
use axum::{Router, body::Body, extract::Request};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{HttpService, service_fn},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Sleep, sleep},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{either::Either, sync::CancellationToken, task::TaskTracker};
use tower::Service as _;

/// Who calls, maybe through a proxy; rides on every request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub IpAddr);

/// A header block beyond this is nobody's: our longest is a token and two keys of 255 characters.
const HEADER_BYTES: usize = 64 << 10;
const HEADERS: usize = 100;
/// The same for HTTP/2, which counts in 32 bits.
const HEADER_BYTES_2: u32 = 64 << 10;
/// Requests of one HTTP/2 connection that are answered at once: each may hold a page of 8 MiB until it is taken.
const STREAMS: u32 = 16;
/// A connection of HTTP/2 whose other end is gone would else be kept for ever.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(10);

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
        router: router(state.clone()),
        state: state.clone(),
        crowd: Crowd::new(config.max_connections, config.max_connections_per_peer),
        http1: http1(config.header_deadline()),
        http2: http2(),
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
            accepted = connections.accept(&listener) => accepted,
        };
        match accepted {
            Ok((stream, peer, Some(seated))) => connections.begin(stream, peer, seated),
            Ok((_, peer, None)) => tracing::debug!(%peer, "a connection that is not for its peer was closed"),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    state.live.close();
    connections.end(config.close_deadline()).await;
    Ok(())
}

fn http1(header_deadline: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(header_deadline).max_header_size(HEADER_BYTES).max_headers(HEADERS);
    builder
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).max_header_list_size(HEADER_BYTES_2).max_concurrent_streams(STREAMS);
    builder.keep_alive_interval(PING_EVERY).keep_alive_timeout(PING_PATIENCE);
    builder
}

struct Connections {
    state: State,
    router: Router,
    crowd: Crowd,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    first_header_deadline: Duration,
    write_deadline: Duration,
    closing: CancellationToken,
    /// Fires when the time to close in order is over.
    cut: CancellationToken,
    open: TaskTracker,
}

/// What a connection is when its TLS, if it has any, stands.
type Stream = Either<Patient, TlsStream<Patient>>;

impl Connections {
    /// The next connection, and its place, if it may have one.
    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr, Option<Seated>)> {
        let (stream, peer) = listener.accept().await?;
        let in_force = self.state.in_force();
        let proxies = &in_force.config.behind_proxy;
        if !proxy::may_connect(proxies, in_force.tls.is_some(), peer.ip()) {
            Reason::NotThroughProxy.count(&self.state);
            return Ok((stream, peer, None));
        }
        let seated = self.crowd.seat(peer, proxy::is_one(proxies, peer.ip())).await;
        Ok((stream, peer, seated))
    }

    fn begin(&self, stream: TcpStream, peer: SocketAddr, seated: Seated) {
        // Answers are small and complete; waiting for more to send along would add 40 ms to some.
        let _ = stream.set_nodelay(true);
        let stream = Patient::new(stream, self.write_deadline);
        let tls = self.state.in_force().tls.as_ref().map(|tls| tls.server(self.state.clock.now()));
        let unread = Unread::default();
        let (http1, http2, service) = (self.http1.clone(), self.http2.clone(), self.service(peer, &seated, unread.clone()));
        let ending = Ending {
            closing: self.closing.clone(),
            cut: self.cut.clone(),
            patience: self.first_header_deadline,
            write_patience: self.write_deadline,
        };
        let (state, write_deadline) = (self.state.clone(), self.write_deadline);
        self.open.spawn(async move {
            let stream = match tls {
                None => Either::Left(stream),
                Some(server) => match ending.shaken(TlsAcceptor::from(server).accept(stream), &seated).await {
                    Some(Ok(stream)) => Either::Right(stream),
                    Some(Err(error)) => {
                        Reason::Handshake.count(&state);
                        return tracing::debug!(%peer, %error, "a TLS handshake failed");
                    }
                    None => return,
                },
            };
            let ended = if speaks_http2(&stream) {
                let mut connection = pin!(http2.serve_connection(TokioIo::new(stream), service));
                let ended = ending.of(connection.as_mut(), |connection| connection.graceful_shutdown(), &seated);
                tokio::select! {
                    ended = ended => ended,
                    () = unread.for_long(write_deadline) => Ok(()),
                }
            } else {
                let connection = http1.serve_connection(TokioIo::new(stream), service);
                ending.of(pin!(connection), |connection| connection.graceful_shutdown(), &seated).await
            };
            // A client that goes away is no failure of ours.
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
        });
    }

    /// What answers the requests of one connection.
    fn service(
        &self,
        peer: SocketAddr,
        seated: &Seated,
        unread: Unread,
    ) -> impl HttpService<Incoming, ResBody = Body, Error = io::Error, Future: Send + 'static> + use<> {
        let (state, router, crowd, seat) = (self.state.clone(), self.router.clone(), self.crowd.clone(), seated.seat.clone());
        service_fn(move |mut request: hyper::Request<Incoming>| {
            let caller = proxy::caller(&state.in_force().config.behind_proxy, peer.ip(), request.headers());
            request.extensions_mut().insert(Peer(caller));
            let (mut router, crowd, seat, unread) = (router.clone(), crowd.clone(), seat.clone(), unread.clone());
            async move {
                let Some(answering) = seat.begin(&crowd) else {
                    return Err(io::Error::from(io::ErrorKind::ConnectionAborted));
                };
                let version = request.version();
                let request: Request = request.map(Body::new);
                let response = router.call(request).await.unwrap_or_else(|never| match never {});
                Ok(response.map(|body| Body::new(Answer::new(body, version, unread, answering))))
            }
        })
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

fn speaks_http2(stream: &Stream) -> bool {
    matches!(stream, Either::Right(stream) if stream.get_ref().1.alpn_protocol() == Some(tls::H2))
}

/// When a connection ends that does not end by itself.
struct Ending {
    closing: CancellationToken,
    cut: CancellationToken,
    /// For the handshake, and again for the first header.
    patience: Duration,
    /// For a client to take what is left of its last answer.
    write_patience: Duration,
}

impl Ending {
    /// None: it took too long, or its place is needed, or the port closes.
    async fn shaken<T>(&self, handshake: impl Future<Output = T>, seated: &Seated) -> Option<T> {
        tokio::select! {
            biased;
            shaken = handshake => Some(shaken),
            _ = seated.seat.has_to_go(self.patience) => None,
            () = self.closing.cancelled() => None,
        }
    }

    /// Waits for the end of `connection`, which is told by `close` to begin nothing more once it has to go.
    async fn of<C: Future<Output = hyper::Result<()>>>(
        &self,
        mut connection: Pin<&mut C>,
        close: impl FnOnce(Pin<&mut C>),
        seated: &Seated,
    ) -> hyper::Result<()> {
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => Some(ended),
            at_once = seated.seat.has_to_go(self.patience) => at_once.then_some(Ok(())),
            () = self.closing.cancelled() => None,
        };
        if let Some(ended) = ended {
            return ended;
        }
        close(connection.as_mut());
        tokio::select! {
            ended = connection => ended,
            () = self.cut.cancelled() => Ok(()),
            () = seated.seat.is_idle_for(self.write_patience) => Ok(()),
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
