//! Several futures at once, in one task.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// How many are under way at once.
const AT_ONCE: usize = 8;

/// What comes of all of them, in their order, or the first error. Some at a time; each is dropped when it is
/// ready, and the rest with an error.
pub(super) async fn together<T, E, F>(futures: Vec<F>) -> Result<Vec<T>, E>
where
    T: Send,
    E: Send,
    F: Future<Output = Result<T, E>> + Send,
{
    let mut outputs: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    let mut waiting = futures.into_iter().map(Box::pin).enumerate();
    let mut running: Vec<(usize, Pin<Box<F>>)> = Vec::new();
    poll_fn(|cx| {
        loop {
            running.extend(waiting.by_ref().take(AT_ONCE - running.len()));
            let before = running.len();
            let mut failed = None;
            running.retain_mut(|(place, future)| match future.as_mut().poll(cx) {
                Poll::Ready(Err(why)) => {
                    failed.get_or_insert(why);
                    false
                }
                Poll::Ready(Ok(output)) => {
                    if let Some(slot) = outputs.get_mut(*place) {
                        *slot = Some(output);
                    }
                    false
                }
                Poll::Pending => true,
            });
            if let Some(why) = failed {
                return Poll::Ready(Err(why));
            }
            if running.is_empty() && waiting.len() == 0 {
                return Poll::Ready(Ok(()));
            }
            // Where one is ready, another one may begin.
            if running.len() == before || waiting.len() == 0 {
                return Poll::Pending;
            }
        }
    })
    .await?;
    Ok(outputs.into_iter().flatten().collect())
}
