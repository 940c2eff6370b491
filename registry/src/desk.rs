//! The desk: the registrar on a thread of its own, because SQLite blocks.

use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tracing::{error, warn};

use crate::refusal::Refusal;
use crate::registrar::{Failure, Registrar};
use crate::store::StoreError;

/// Sends work to the registrar's thread.
#[derive(Clone)]
pub struct Desk {
    jobs: mpsc::Sender<Job>,
}

enum Job {
    Work(Box<dyn FnOnce(&mut Registrar) + Send>),
    End,
}

/// Most calls that wait for the registrar; a further one is told to come again.
pub const QUEUE_LIMIT: usize = 512;

impl Desk {
    /// Starts the thread. It ends, and closes the database, at [`Self::close`].
    #[must_use]
    pub fn open(mut registrar: Registrar) -> (Self, JoinHandle<()>) {
        let (jobs, mut waiting) = mpsc::channel::<Job>(QUEUE_LIMIT);
        let thread = std::thread::spawn(move || {
            while let Some(Job::Work(work)) = waiting.blocking_recv() {
                work(&mut registrar);
            }
        });
        (Self { jobs }, thread)
    }

    /// Has the registrar do something, and waits for what comes of it. A failure of the store is
    /// logged here and told as a refusal.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn ask<T, E>(
        &self,
        work: impl FnOnce(&mut Registrar) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Refusal>
    where
        T: Send + 'static,
        E: Into<Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Job::Work(Box::new(move |registrar| {
            // Nobody waits any more when the caller hung up: the work is done all the same.
            let _ = reply.send(work(registrar));
        }));
        self.jobs.try_send(job).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Refusal::Busy(Duration::from_secs(1)),
            mpsc::error::TrySendError::Closed(_) => Refusal::Internal,
        })?;
        match answer.await {
            Ok(outcome) => outcome.map_err(|failure| refusal(failure.into())),
            Err(_) => Err(Refusal::Internal),
        }
    }

    /// Ends the thread behind the work that waits already.
    pub async fn close(&self) {
        // A thread that ended already needs no telling.
        let _ = self.jobs.send(Job::End).await;
    }

    /// Waits until the thread has ended, which it does by itself only by a bug.
    pub async fn closed(&self) {
        self.jobs.closed().await;
    }
}

fn refusal(failure: Failure) -> Refusal {
    match failure {
        Failure::Refused(refusal) => {
            if refusal == Refusal::Internal {
                error!("nothing can be certified: the issuer has expired");
            }
            refusal
        }
        Failure::Store(cause @ StoreError::Locked) => {
            warn!(%cause, "a call failed");
            Refusal::Locked
        }
        Failure::Store(cause) => {
            error!(%cause, "a call failed");
            Refusal::Internal
        }
    }
}
