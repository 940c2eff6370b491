//! Hand-over from one task to another where only the latest value counts.
//!
//! The sender never waits and nothing queues up: what has not been taken yet is amended in place.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// A value under way between tasks. Clones share it.
#[derive(Debug, Default)]
pub(super) struct Mailbox<T>(Arc<Inner<T>>);

#[derive(Debug, Default)]
struct Inner<T> {
    value: Mutex<T>,
    changed: Notify,
    taken: Notify,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Default> Mailbox<T> {
    /// Amends the value and wakes the receiver.
    pub(super) fn amend(&self, change: impl FnOnce(&mut T)) {
        // A panic inside `change` ends the process with its task; the value is whole otherwise.
        change(&mut self.0.value.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.changed.notify_one();
    }

    /// Waits for a change and takes the value out.
    pub(super) async fn take(&self) -> T {
        self.0.changed.notified().await;
        self.0.taken.notify_one();
        std::mem::take(&mut *self.0.value.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives the receiver its turn while too much has piled up.
    pub(super) async fn relieve(&self, is_too_much: impl Fn(&T) -> bool) {
        while is_too_much(&self.0.value.lock().unwrap_or_else(PoisonError::into_inner)) {
            self.0.taken.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn changes_before_the_taking_arrive_as_one() {
        let mailbox = Mailbox::<Vec<u8>>::default();
        mailbox.amend(|v| v.push(1));
        mailbox.amend(|v| v.push(2));
        assert_eq!(mailbox.take().await, [1, 2]);
        let later = mailbox.clone();
        let taker = tokio::spawn(async move { later.take().await });
        mailbox.amend(|v| v.push(3));
        assert_eq!(taker.await.unwrap(), [3]);
    }
}
