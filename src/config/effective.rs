//! The effective configuration: every value, also those that nobody wrote, with where it comes from.
