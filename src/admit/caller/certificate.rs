//! Callers by their certificate. That it is valid was the handshake's to say.

use std::net::IpAddr;
use std::sync::Arc;

use super::{CachedCaller, Caller, CallerBook, Via, Who};
use crate::admit::seed::keyed_hash;
use crate::refusal::{Reason, Refusal};
use crate::tls::identity::Identity;

impl CallerBook {
    /// Who shows this certificate.
    pub(super) fn by_certificate(
        &self,
        client: IpAddr,
        shown: &Identity,
        cached: &mut CachedCaller,
    ) -> Result<Caller, Refusal> {
        if let Some((last, caller)) = &cached.certificate
            && last == shown
        {
            return Ok(Caller { client, ..caller.clone() });
        }
        let caller = self.certificate_caller(shown, client)?;
        cached.certificate = Some((shown.clone(), caller.clone()));
        Ok(caller)
    }

    fn certificate_caller(&self, shown: &Identity, client: IpAddr) -> Result<Caller, Refusal> {
        if let Some(fault) = shown.fault {
            return Err(Refusal::new(Reason::NoIdentity, fault));
        }
        let mut known = shown.names.iter().filter_map(|name| self.certificates.get(&**name));
        match known.next() {
            Some(number) if known.any(|other| other != number) => Err(Refusal::new(
                Reason::NoIdentity,
                "the client certificate holds the names of two known callers",
            )),
            Some(number) => Ok(self.known_caller(*number, Via::Certificate, client)),
            None => Ok(Self::stranger_with(&shown.display, client)),
        }
    }

    /// The caller of a valid certificate that nobody knows.
    pub(super) fn stranger_with(name: &Arc<str>, client: IpAddr) -> Caller {
        Caller {
            who: Who::Other(Arc::clone(name)),
            tier: None,
            via: Via::Certificate,
            client,
            hash: keyed_hash(("certificate", &**name)),
        }
    }
}
