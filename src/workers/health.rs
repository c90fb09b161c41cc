//! Health.

/// Placeholder until the state machine is written.
#[derive(Debug, Default)]
pub struct Health;
