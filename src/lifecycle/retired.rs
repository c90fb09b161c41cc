//! What a reload replaced, kept until nobody uses it any more and then dropped here, on control: to drop the rules and
//! callers of a large configuration takes long, and no shard is to be the last that holds them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::admin::ProcessState;
use crate::admit::caller::CallerBook;
use crate::config::Callers;
use crate::service::Service;

/// How often it is looked whether somebody still does.
const LOOK: Duration = Duration::from_secs(1);

/// Services and callers of an earlier configuration.
pub(super) struct Retired {
    services: Vec<Arc<Service>>,
    book: Arc<CallerBook>,
    /// Counts it among the configurations in memory.
    _counted: Arc<()>,
}

impl Retired {
    pub(super) fn new(
        services: impl IntoIterator<Item = Arc<Service>>,
        book: Arc<CallerBook>,
        state: &ProcessState,
    ) -> Self {
        Self { services: services.into_iter().collect(), book, _counted: state.keep_earlier() }
    }

    /// Keeps them as long as requests from before the reload need them: nearly always not at all, and the next reload
    /// does not find two earlier ones in memory.
    pub(super) async fn fade(mut self) {
        loop {
            self.services.retain(|service| Arc::strong_count(service) > 1);
            if self.services.is_empty() {
                break;
            }
            sleep(LOOK).await;
        }
        let callers: Arc<Callers> = Arc::clone(self.book.callers());
        while Arc::strong_count(&self.book) > 1 {
            sleep(LOOK).await;
        }
        drop(self.book);
        while Arc::strong_count(&callers) > 1 {
            sleep(LOOK).await;
        }
    }
}
