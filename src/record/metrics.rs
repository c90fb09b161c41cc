//! Metrics, soon.
