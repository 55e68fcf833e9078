//! The HTTP side's listener, which can hang up on a caller in the middle of things, and the playing of faults that are
//! the same for every HTTP provider: no answer, no connection, half a body.

use super::switches::Fault;
use axum::{
    body::{Body, Bytes},
    extract::connect_info::Connected,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    serve::{IncomingStream, Listener},
};
use futures_util::stream;
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

pub(super) struct Door(pub TcpListener);

/// A connection and the scissors for it.
pub(super) struct Line {
    stream: TcpStream,
    scissors: Scissors,
}

/// Cuts one connection: nothing more is written to it.
#[derive(Clone, Default)]
pub(super) struct Scissors(Arc<AtomicBool>);

impl Listener for Door {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Line, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // An answer is one small write; without this it may wait for the caller's acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        (Line { stream, scissors: Scissors::default() }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Door>> for Scissors {
    fn connect_info(incoming: IncomingStream<'_, Door>) -> Self {
        incoming.io().scissors.clone()
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.scissors.0.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// `response` as `fault` lets it arrive. A hanging call is let go when the sandbox closes.
pub(super) async fn play(fault: Option<&Fault>, response: Response, scissors: &Scissors, closing: &CancellationToken) -> Response {
    match fault {
        Some(Fault::Hang { .. }) => {
            closing.cancelled().await;
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Some(Fault::Reset) => {
            scissors.0.store(true, Ordering::Release);
            response
        }
        Some(Fault::CutBody) => halved(response).await,
        _ => response,
    }
}

/// The head with the whole length, half of the body, then the end of the connection.
async fn halved(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let whole = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.insert(header::CONTENT_LENGTH, whole.len().into());
    let half = whole.slice(..whole.len() / 2);
    let pieces = stream::unfold(Some(half), |half| async {
        match half {
            Some(half) => Some((Ok(half), None)),
            None => {
                // Lets the half go out before the connection ends.
                tokio::task::yield_now().await;
                Some((Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionReset)), None))
            }
        }
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}
