//! A few threads of our own for what computes and does not wait: rendering, schemas, counting. Handlers share the runtime's
//! threads with everything else, so none of that is done in place; and it is not done on tokio's blocking threads either,
//! where the store's readers would queue behind it.

use super::run::Early;
use crate::engine::worker::Outcome;
use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    thread,
};
use tokio::sync::{Semaphore, oneshot};

/// Pieces of one kind's work that run at once. Two keep a kind going when one piece is slow, and leave cores to the rest.
const THREADS: usize = 2;
/// What a template of the largest size needs if every byte of it nests; memory is only taken as it is touched.
pub(super) const STACK: usize = 128 << 20;

/// One kind's pool: whoever makes it slow slows down that kind only. Cheap to clone; clones are one pool.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    name: &'static str,
    free: Arc<Semaphore>,
}

impl Pool {
    pub fn new(name: &'static str) -> Self {
        Self { name, free: Arc::new(Semaphore::new(THREADS)) }
    }

    /// What `work` returns, computed elsewhere. Waits for a free thread first. Whoever stops waiting leaves the queue at
    /// once; work that has begun goes on to its end and keeps its place until then, so there is never more of it than
    /// places. A panic goes on in the caller.
    ///
    /// # Errors
    /// A retry, when the machine has no thread to give.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Early> {
        let place = Arc::clone(&self.free).acquire_owned().await.map_err(|_| no_thread("the pool is closed"))?;
        let (tell, told) = oneshot::channel();
        // A thread for each piece: milliseconds of work are worth the microseconds, and a deep stack is given back.
        let thread = thread::Builder::new().name(self.name.to_owned()).stack_size(STACK).spawn(move || {
            let done = catch_unwind(AssertUnwindSafe(work));
            let _ = tell.send(done);
            drop(place);
        });
        thread.map_err(|error| no_thread(&error.to_string()))?;
        match told.await {
            Ok(done) => Ok(done.unwrap_or_else(|panic| resume_unwind(panic))),
            Err(_) => Err(no_thread("the thread ended without an answer")),
        }
    }
}

fn no_thread(why: &str) -> Early {
    Box::new(Outcome::retry("no_thread", format!("there is no thread for this work at the moment: {why}")))
}

#[cfg(test)]
mod tests {
    use super::{Pool, THREADS};
    use futures_util::FutureExt as _;
    use std::sync::mpsc;

    #[tokio::test]
    async fn work_that_nobody_waits_for_keeps_its_place_and_whoever_waited_leaves_the_queue() {
        let pool = Pool::new("test");
        let (release, gates): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| mpsc::channel::<()>()).unzip();
        for gate in gates {
            let mut abandoned = Box::pin(pool.run(move || gate.recv().is_ok()));
            assert!(futures_util::poll!(&mut abandoned).is_pending());
        }
        assert!(pool.run(|| 1).now_or_never().is_none(), "every place is taken");
        drop(release);
        assert!(matches!(pool.run(|| 2).await, Ok(2)));
    }

    #[tokio::test]
    async fn a_panic_reaches_the_caller_and_leaves_the_pool_whole() {
        let pool = Pool::new("test");
        for _ in 0..=THREADS {
            let run = std::panic::AssertUnwindSafe(pool.run(|| panic!("on purpose")));
            let panic = run.catch_unwind().await.map(drop).expect_err("a panic");
            assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
        }
        assert!(matches!(pool.run(|| 3).await, Ok(3)));
    }
}
