//! An answer on its way. It keeps its connection's place until its last piece is handed over, and is known as unread while the connection asks
//! for none: on HTTP/2 a stream whose window stays shut is waited for by nobody else, since the socket itself is never full.

use super::crowd::Answering;
use axum::{
    Error,
    body::{Body, Bytes, HttpBody},
    http::Version,
};
use hyper::body::{Frame, SizeHint};
use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, sleep, sleep_until};

/// What is handed over to a stream of HTTP/2 at once. The rest stays here, where it is seen to be unread, and not in the connection's own
/// buffer. On HTTP/1 the connection asks for no more than the socket takes.
const PIECE: usize = 16 << 10;

/// The answers of one connection that are ready and not taken, and since when. Cheap to clone: a handle.
#[derive(Clone, Default)]
pub(super) struct Unread(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    since: BTreeMap<u64, Instant>,
    last: u64,
}

impl Unread {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once the client has left an answer untaken for `patience`.
    pub async fn for_long(&self, patience: Duration) {
        loop {
            let oldest = self.lock().since.values().min().copied();
            match oldest.map(|since| since + patience) {
                None => sleep(patience).await,
                Some(end) if end > Instant::now() => sleep_until(end).await,
                Some(_) => return,
            }
        }
    }
}

/// The body of an answer.
pub(super) struct Answer {
    body: Body,
    /// Of the body's last frame, what was not handed over.
    rest: Bytes,
    /// Bytes that are handed over at once.
    most: usize,
    unread: Unread,
    number: u64,
    _answering: Answering,
}

impl Answer {
    pub fn new(body: Body, version: Version, unread: Unread, answering: Answering) -> Self {
        let most = if version == Version::HTTP_2 { PIECE } else { usize::MAX };
        let mut waiting = unread.lock();
        waiting.last += 1;
        let number = waiting.last;
        waiting.since.insert(number, Instant::now());
        drop(waiting);
        Self { body, rest: Bytes::new(), most, unread, number, _answering: answering }
    }

    fn piece(&mut self) -> Frame<Bytes> {
        let most = self.rest.len().min(self.most);
        Frame::data(self.rest.split_to(most))
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        // Whoever asks has room for more than was handed over before; until there is more it is the client that waits.
        let (number, unread) = (self.number, self.unread.clone());
        unread.lock().since.remove(&number);
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()?.map(Frame::into_data) {
                None => return Poll::Ready(None),
                Some(Err(trailers)) => return Poll::Ready(Some(Ok(trailers))),
                Some(Ok(data)) => self.rest = data,
            }
        }
        unread.lock().since.insert(number, Instant::now());
        Poll::Ready(Some(Ok(self.piece())))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.unread.lock().since.remove(&self.number);
    }
}
