//! The tasks that check workers, by service: begun, kept and ended as the configuration changes. What a check is stands
//! in `workers::check`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::task::AbortHandle;

use crate::config::ServiceName;
use crate::service::Service;
use crate::workers::Workers;
use crate::workers::check::{self, Checking};

/// All of them.
#[derive(Default)]
pub(super) struct Checks(HashMap<ServiceName, Running>);

/// A running task; it ends when this is dropped, and the checks under way with it.
struct Running {
    checking: Checking,
    workers: Arc<Workers>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Checks {
    /// From now on these services are checked, as they want it. Where nothing has changed, the task goes on as if
    /// nothing had happened; where checks have changed, workers keep what was found out before.
    pub(super) fn follow(&mut self, services: &BTreeMap<ServiceName, Arc<Service>>) {
        self.0.retain(|name, _| services.contains_key(name));
        for (name, service) in services {
            let Some(checking) = Checking::of(&service.config) else {
                // What checks alone had ejected is free by now: `Workers::adopt` knows that there are none.
                self.0.remove(name);
                continue;
            };
            let goes_on = |running: &Running| {
                running.checking == checking && Arc::ptr_eq(&running.workers, &service.workers)
            };
            if self.0.get(name).is_some_and(goes_on) {
                continue;
            }
            // First, so that two never follow the same workers.
            self.0.remove(name);
            let workers = Arc::clone(&service.workers);
            let task = check::run(checking.clone(), Arc::clone(&workers));
            let task = tokio::task::spawn_local(task).abort_handle();
            self.0.insert(name.clone(), Running { checking, workers, task });
        }
    }
}
