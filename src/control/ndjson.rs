//! Bulk as a stream: one envelope a line in, one answer a line out, a commit per thousand lines. A call without `partial` is
//! read and checked as a whole first, so that one bad line means nothing is written; with it, nothing but a batch is ever in
//! memory, and a stream may go on for as long as its producer has jobs.

use super::{
    Problem, State, body,
    bulk::{self, Checked, Each},
    caller::Caller,
    wire::{ItemError, Stopped},
};
use axum::{
    body::{Body, BodyDataStream},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use std::{convert::Infallible, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

/// Jobs of one commit: large enough that the commit's own cost is spread thin, small enough that a lone job behind it does
/// not notice.
const LINES_PER_COMMIT: usize = 1000;
const BYTES_PER_COMMIT: usize = 4 << 20;

/// How long a batch waits for more lines. A producer that is faster fills whole batches; a slow one pays this much.
const GATHER: Duration = Duration::from_millis(5);

/// Answers kept for a client that writes everything before it reads anything: a thousand batches, a million lines.
const UNREAD_BATCHES: usize = 1000;

/// Answers `POST /v1/jobs` with an NDJSON body.
///
/// # Errors
/// What is wrong with the body as a whole, and whatever fails before the first batch is written.
pub(super) async fn enqueue(state: State, caller: Caller, headers: &HeaderMap, sent: Body, partial: bool) -> Result<Response, Problem> {
    let in_force = state.in_force();
    let config = &in_force.config;
    let idle = config.idle_deadline();
    let most = if partial { config.max_stream_bytes } else { config.max_body_bytes as u64 };
    if body::declared_length(headers).is_some_and(|length| length > most) {
        return Err(body::refuse(sent, headers, body::too_large(most)));
    }
    let (sent, share) = if partial {
        (sent, None)
    } else {
        let whole = body::read(&state, headers, sent, config.max_body_bytes).await?;
        all_valid(&state, &caller, whole.bytes.clone()).await?;
        (Body::from(whole.bytes), whole.share)
    };
    let lines = Lines::new(sent.into_data_stream(), config.max_payload_bytes, idle, most);
    let deadline = Instant::now() + config.stream_deadline();
    let (answers, mut answered) = mpsc::channel(UNREAD_BATCHES);
    tokio::spawn(async move {
        write_all(state, caller, lines, deadline, answers).await;
        drop(share);
    });
    let first = answered.recv().await.unwrap_or_else(|| Ok(Bytes::new()))?;
    let mut first = Some(first);
    let rest = stream::poll_fn(move |cx| match first.take() {
        Some(bytes) => std::task::Poll::Ready(Some(Ok::<_, Infallible>(bytes))),
        // A problem later on has been written as the last line.
        None => answered.poll_recv(cx).map(|batch| batch.and_then(Result::ok).map(Ok)),
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(rest)).into_response())
}

async fn all_valid(state: &State, caller: &Caller, whole: Bytes) -> Result<(), Problem> {
    let caller = caller.clone();
    let limits = state.in_force().config.limits();
    let errors = bulk::off_the_way(whole.len(), move || {
        let lines = whole.split(|byte| *byte == b'\n').map(trimmed).filter(|line| !line.is_empty());
        lines.enumerate().filter_map(|(index, line)| bulk::check(&caller, index, line, limits).err()).collect::<Vec<_>>()
    })
    .await?;
    if errors.is_empty() {
        return Ok(());
    }
    bulk::count_rejected(state, errors.len());
    Err(Problem::invalid(errors))
}

/// Batch after batch until the lines end, the store fails or the client goes away. `answers` gets a problem only in place of the
/// first batch; after that a failure is the last line.
async fn write_all(state: State, caller: Caller, mut lines: Lines, deadline: Instant, answers: mpsc::Sender<Result<Bytes, Problem>>) {
    let limits = state.in_force().config.limits();
    let mut index = 0;
    loop {
        let batch = match timeout_at(deadline, lines.batch()).await.unwrap_or_else(|_| Err(took_too_long())) {
            Ok(batch) if batch.is_empty() => return,
            Ok(batch) => batch,
            Err(problem) => {
                let ended = stopped(index, ItemError::new("", problem.code(), problem.detail()));
                let _ = answers.send(if index == 0 { Err(problem) } else { Ok(ended) }).await;
                return;
            }
        };
        let (first_index, count) = (index, batch.len());
        index += count;
        let size = batch.iter().map(|line| line.as_ref().map_or(0, Bytes::len)).sum();
        let whose = caller.clone();
        let check = move || check_batch(&whose, batch, first_index, limits);
        let Ok(checked) = bulk::off_the_way(size, check).await else { return };
        if !caller.is_still_let_in(&state).await {
            let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "the token has ended; go on with another, in a new call");
            let ended = stopped(first_index, ItemError::new("", problem.code(), problem.detail()));
            let _ = answers.send(if first_index == 0 { Err(problem) } else { Ok(ended) }).await;
            return;
        }
        let each = bulk::enqueue_each(&state, &caller, checked, first_index).await;
        let failed = each.stopped.is_some();
        let answer = match each {
            Each { answers, stopped: Some(error) } if first_index == 0 && answers.first().is_none_or(Option::is_none) => Err(error.into()),
            each => Ok(answer_lines(each, first_index)),
        };
        if answers.send(answer).await.is_err() || failed {
            return;
        }
    }
}

fn took_too_long() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "deadline", "the stream has gone on for as long as a stream may; go on in a new call")
        .closing()
}

fn check_batch(caller: &Caller, batch: Vec<Result<Bytes, TooLong>>, first_index: usize, limits: crate::job::Limits) -> Vec<Checked> {
    let check = |(index, line): (usize, Result<Bytes, TooLong>)| match line {
        Ok(text) => bulk::check(caller, index, &text, limits),
        Err(TooLong { limit }) => {
            let message = format!("the line is longer than {limit} bytes; store the data elsewhere and send a reference");
            Err(ItemError { index: Some(index), ..ItemError::new(&format!("/{index}/payload"), "too_large", message) })
        }
    };
    batch.into_iter().enumerate().map(|(at, line)| check((first_index + at, line))).collect()
}

/// One line per answered item; then, if the store stopped answering, the line that says where.
fn answer_lines(each: Each, first_index: usize) -> Bytes {
    // An id, a status and their names are about 90 bytes.
    let mut text = Vec::with_capacity(each.answers.len() * 96);
    let mut answered = 0;
    for answer in each.answers.iter().map_while(Option::as_ref) {
        // Our own words are JSON.
        let _ = serde_json::to_writer(&mut text, answer);
        text.push(b'\n');
        answered += 1;
    }
    if let Some(error) = &each.stopped {
        let at = first_index + answered;
        text.extend_from_slice(&stopped(at, ItemError::of(error, at)));
    }
    text.into()
}

fn stopped(stopped_at: usize, error: ItemError) -> Bytes {
    let mut line = serde_json::to_vec(&Stopped { stopped_at, error }).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

/// A line that did not fit into memory's bound; it was read past.
#[derive(Debug, PartialEq, Eq)]
struct TooLong {
    limit: usize,
}

/// Cuts a body into lines. Empty ones are skipped.
struct Lines {
    stream: BodyDataStream,
    gathered: BytesMut,
    /// Of `gathered`, this much holds no line end.
    searched: usize,
    line_limit: usize,
    /// In the middle of a line that is too long.
    skipping: bool,
    ended: bool,
    idle: Duration,
    most: u64,
    left: u64,
}

impl Lines {
    fn new(stream: BodyDataStream, max_payload_bytes: usize, idle: Duration, most: u64) -> Self {
        let line_limit = max_payload_bytes + super::Config::ENVELOPE_BYTES;
        Self { stream, gathered: BytesMut::new(), searched: 0, line_limit, skipping: false, ended: false, idle, most, left: most }
    }

    /// The next lines: as many as have arrived, up to a commit's worth. None at all: the body is over.
    async fn batch(&mut self) -> Result<Vec<Result<Bytes, TooLong>>, Problem> {
        let (mut batch, mut size) = (Vec::new(), 0);
        while batch.len() < LINES_PER_COMMIT && size < BYTES_PER_COMMIT {
            if let Some(line) = self.next_line() {
                size += line.as_ref().map_or(0, Bytes::len);
                batch.push(line);
            } else if self.ended {
                break;
            } else if batch.is_empty() {
                self.read_on().await?;
            } else {
                match timeout(GATHER, self.read_on()).await {
                    Ok(read) => read?,
                    Err(_) => break,
                }
            }
        }
        Ok(batch)
    }

    async fn read_on(&mut self) -> Result<(), Problem> {
        match body::next_chunk(&mut self.stream, self.idle).await? {
            None => self.ended = true,
            Some(bytes) => {
                self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| body::too_large(self.most))?;
                self.gathered.extend_from_slice(&bytes);
            }
        }
        Ok(())
    }

    /// A line that has arrived as a whole.
    fn next_line(&mut self) -> Option<Result<Bytes, TooLong>> {
        loop {
            let end = self.gathered[self.searched..].iter().position(|byte| *byte == b'\n').map(|at| self.searched + at);
            let line = match end {
                Some(at) => {
                    let line = self.gathered.split_to(at + 1);
                    self.searched = 0;
                    line
                }
                None if self.gathered.len() > self.line_limit => {
                    self.gathered.clear();
                    self.searched = 0;
                    if std::mem::replace(&mut self.skipping, true) {
                        return None;
                    }
                    return Some(Err(TooLong { limit: self.line_limit }));
                }
                None if self.ended && !self.gathered.is_empty() => {
                    self.searched = 0;
                    self.gathered.split()
                }
                None => {
                    self.searched = self.gathered.len();
                    return None;
                }
            };
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if line.len() > self.line_limit {
                return Some(Err(TooLong { limit: self.line_limit }));
            }
            let line = line.freeze();
            let text = trimmed(&line);
            if !text.is_empty() {
                return Some(Ok(line.slice_ref(text)));
            }
        }
    }
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: Vec<&'static str>, line_limit: usize) -> Lines {
        let chunks = stream::iter(chunks.into_iter().map(|chunk| Ok::<_, Infallible>(Bytes::from_static(chunk.as_bytes()))));
        let stream = Body::from_stream(chunks).into_data_stream();
        Lines { line_limit, ..Lines::new(stream, 0, Duration::from_secs(5), u64::MAX) }
    }

    async fn all(mut lines: Lines) -> Vec<Result<String, TooLong>> {
        let mut all = Vec::new();
        loop {
            let batch = lines.batch().await.expect("a good stream");
            if batch.is_empty() {
                return all;
            }
            all.extend(batch.into_iter().map(|line| line.map(|text| String::from_utf8_lossy(&text).into_owned())));
        }
    }

    fn ok(lines: &[&str]) -> Vec<Result<String, TooLong>> {
        lines.iter().map(|line| Ok((*line).to_owned())).collect()
    }

    #[tokio::test]
    async fn lines_are_the_same_however_the_body_was_cut() {
        let expected = ok(&["{1}", "{22}", "{333}"]);
        for chunks in [vec!["{1}\n{22}\n{333}\n"], vec!["{1}\n{22}\n{333}"], vec!["{", "1}\r", "\n\n", "  \n{22}", "\n", "{333", "}"]] {
            assert_eq!(all(lines(chunks.clone(), 100)).await, expected, "{chunks:?}");
        }
        assert_eq!(all(lines(vec![], 100)).await, []);
        assert_eq!(all(lines(vec!["\n", "\r\n", " "], 100)).await, []);
    }

    #[tokio::test]
    async fn a_line_too_long_is_named_once_and_the_next_one_is_read() {
        let too_long = Err(TooLong { limit: 5 });
        for chunks in [vec!["a\n0123456789\nb\n"], vec!["a\n01234", "56789", "01234567", "89\nb"], vec!["a\n", "0123456789", "\n", "b"]] {
            let got = all(lines(chunks.clone(), 5)).await;
            assert_eq!(got.len(), 3, "{chunks:?}: {got:?}");
            assert_eq!((&got[0], &got[1], &got[2]), (&Ok("a".into()), &too_long, &Ok("b".into())), "{chunks:?}");
        }
        assert_eq!(all(lines(vec!["0123456789"], 5)).await.len(), 1, "at the end of the body");
    }
}
