//! TLS at the door: what certificates are shown to clients, what clients must show, and what a finished handshake says
//! of who is there. The handshake itself is driven by `listen`; who a caller is decides `admit`.
//!
//! [`files`] reads PEM; [`certificate`] reads one X.509 certificate; [`inspect`] judges them for `check`, the start and
//! reloads ([`finding`]); [`server`] keeps one service's terms and replaces them when the files change ([`watch`]);
//! [`identity`] is the client's certificate and [`session`] what one connection agreed on.

pub mod certificate;
pub mod files;
pub mod finding;
pub mod identity;
pub mod inspect;
mod names;
pub mod server;
pub mod session;
pub mod watch;

pub use finding::Finding;
pub use identity::ClientCertificate;
pub use server::TlsTerms;
pub use session::Session;

#[cfg(test)]
mod tests;
