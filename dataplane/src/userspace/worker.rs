//! Threads that carry packets. An interface stays with one, so that nothing needs a lock; a packet
//! that passes through the node comes in on one and leaves on another.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;

/// As many threads as processors, and interfaces.
#[derive(Default)]
pub(super) struct Workers(Vec<Arc<Worker>>);

/// A thread.
pub(super) struct Worker(Handle);

impl Workers {
    /// The thread with the fewest interfaces: those for which somebody holds it.
    pub(super) fn least_busy(&mut self) -> io::Result<Arc<Worker>> {
        let limit = available_parallelism().map_or(1, usize::from);
        let is_idle = |worker: &Arc<Worker>| Arc::strong_count(worker) == 1;
        if self.0.len() < limit && !self.0.iter().any(is_idle) {
            let worker = if self.0.is_empty() { Handle::current() } else { start()? };
            self.0.push(Arc::new(Worker(worker)));
        }
        let least = self.0.iter().min_by_key(|worker| Arc::strong_count(worker));
        least.cloned().ok_or_else(|| io::Error::other("no thread"))
    }
}

impl Worker {
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        job: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.0.spawn(job)
    }
}

/// A further thread, which lives as long as the process.
fn start() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name("carrier".to_owned()).spawn(run)?;
    Ok(handle)
}
