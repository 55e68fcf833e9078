//! One thing that is asked for again and again: how often that may be, and what its last refusal was.

use super::heard::Answer;
use crate::{cli::exit, client, store};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Who has not answered by then does not answer.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// What was refused is not asked for again sooner: it would only fill the daemon's log.
pub const REFUSED_FOR: Duration = Duration::from_secs(30);
/// What takes long is asked for less often: asking takes one part of so many of the time.
const SHARE: u32 = 10;

#[derive(Debug)]
pub struct Question {
    patience: Duration,
    /// Nothing works where this is not answered in time.
    is_vital: bool,
    asked: Option<Instant>,
    took: Duration,
    refused: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("no answer came within {} s", PATIENCE.as_secs())]
pub struct Silent;

impl Default for Question {
    fn default() -> Self {
        Self { patience: PATIENCE, is_vital: false, asked: None, took: Duration::ZERO, refused: None }
    }
}

impl Question {
    #[must_use]
    pub fn vital() -> Self {
        Self { is_vital: true, ..Self::default() }
    }

    /// The answer or the last refusal; None while it is too early to ask again. Not sooner than after `least`.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn ask<T>(&mut self, least: Duration, asking: impl AsyncFnOnce() -> anyhow::Result<T>) -> anyhow::Result<Option<Answer<T>>> {
        let began = Instant::now();
        if self.rests(least, began) {
            return Ok(self.refused.clone().map(Err));
        }
        let answered = timeout(self.patience, asking()).await.unwrap_or_else(|_| Err(Silent.into()));
        (self.asked, self.took) = (Some(Instant::now()), began.elapsed());
        match answered {
            Ok(answer) => {
                self.refused = None;
                Ok(Some(Ok(answer)))
            }
            Err(error) if is_lost(&error) || (self.is_vital && error.is::<Silent>()) => Err(error),
            Err(error) => Ok(Some(Err(self.refused.insert(exit::sentence(&error)).clone()))),
        }
    }

    #[must_use]
    pub const fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    fn rests(&self, least: Duration, now: Instant) -> bool {
        let rest = if self.is_refused() { REFUSED_FOR } else { least.max(self.took * SHARE) };
        self.asked.is_some_and(|asked| now.saturating_duration_since(asked) < rest)
    }
}

/// Whether nobody is there, in place of somebody who says no.
fn is_lost(error: &anyhow::Error) -> bool {
    let of_client = error.downcast_ref::<client::Error>().is_some_and(|error| {
        error.is_temporary() || matches!(error, client::Error::Unreadable { .. }) || error.code() == Some("unauthorized")
    });
    of_client
        || error
            .downcast_ref::<store::Error>()
            .is_some_and(|error| matches!(error, store::Error::Unavailable(_) | store::Error::Unknown(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn refuse() -> anyhow::Result<()> {
        Err(anyhow::Error::msg("not for you"))
    }

    #[tokio::test]
    async fn what_was_refused_is_not_asked_for_at_once_again() {
        let mut question = Question::default();
        assert_eq!(question.ask(Duration::ZERO, refuse).await.expect("an answer"), Some(Err("not for you".into())));
        let again = question.ask(Duration::ZERO, async || -> anyhow::Result<()> { panic!("it is asked again") }).await;
        assert_eq!(again.expect("an answer"), Some(Err("not for you".into())));
        question.asked = question.asked.and_then(|asked| asked.checked_sub(REFUSED_FOR));
        assert_eq!(question.ask(Duration::ZERO, async || Ok(7)).await.expect("an answer"), Some(Ok(7)));
        assert!(!question.is_refused());
    }

    #[test]
    fn what_takes_long_is_asked_for_less_often() {
        let asked = Instant::now();
        let question = Question { asked: Some(asked), took: SECOND, ..Question::default() };
        assert!(question.rests(Duration::ZERO, asked + 9 * SECOND) && !question.rests(Duration::ZERO, asked + 10 * SECOND));
        assert!(question.rests(20 * SECOND, asked + 19 * SECOND) && !question.rests(20 * SECOND, asked + 20 * SECOND));
        assert!(!Question::default().rests(SECOND, asked));
    }

    #[tokio::test]
    async fn nobody_is_there_when_what_is_vital_is_not_answered() {
        let never = || async { std::future::pending::<anyhow::Result<()>>().await };
        let impatient = |question| Question { patience: Duration::from_millis(1), ..question };
        let lost = impatient(Question::vital()).ask(Duration::ZERO, never).await.expect_err("nobody answers");
        assert!(lost.is::<Silent>());
        let put_off = impatient(Question::default()).ask(Duration::ZERO, never).await.expect("others may be answered");
        assert_eq!(put_off, Some(Err("no answer came within 5 s".into())));
    }
}
