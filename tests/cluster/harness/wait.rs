//! Waiting for what is to happen, for as long as is reasonable and no longer.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// How often a condition is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Looks at a condition again and again until it yields something.
pub(crate) async fn eventually<T>(
    what: &str,
    limit: Duration,
    look: impl AsyncFnMut() -> Option<T>,
) -> T {
    eventually_or(|| what.to_owned(), limit, look).await
}

/// The same, with a description made when it is needed.
pub(crate) async fn eventually_or<T>(
    what: impl Fn() -> String,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain for {}", what());
        sleep(POLL_INTERVAL).await;
    }
}

/// Waits for something that comes by itself.
pub(crate) async fn within<T>(what: &str, limit: Duration, future: impl Future<Output = T>) -> T {
    match timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {limit:?} in vain for {what}"),
    }
}
