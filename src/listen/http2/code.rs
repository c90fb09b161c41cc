//! Error codes of HTTP/2 (RFC 9113 section 7) that are sent here.

pub(in crate::listen) const NO_ERROR: u32 = 0;
pub(in crate::listen) const PROTOCOL_ERROR: u32 = 1;
pub(in crate::listen) const INTERNAL_ERROR: u32 = 2;
pub(in crate::listen) const FLOW_CONTROL_ERROR: u32 = 3;
pub(in crate::listen) const STREAM_CLOSED: u32 = 5;
pub(in crate::listen) const REFUSED_STREAM: u32 = 7;
pub(in crate::listen) const CANCEL: u32 = 8;
pub(in crate::listen) const COMPRESSION_ERROR: u32 = 9;
