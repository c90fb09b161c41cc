//! Callers by their key, which is known by its SHA-256.

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::{constant_time, digest};

use super::{CachedCaller, Caller, CallerBook, Keys, Via, Who};
use crate::admit::seed::keyed_hash;
use crate::config::UnknownKey;
use crate::refusal::{Reason, Refusal};

/// A longer key is hashed whenever a connection asks for its caller, instead of being remembered.
const LONGEST_REMEMBERED: usize = 256;

impl CallerBook {
    /// Who sends these keys. None: no key was sent.
    pub(super) fn by_key(
        &self,
        client: IpAddr,
        keys: Keys<'_>,
        cached: &mut CachedCaller,
    ) -> Option<Result<Caller, Refusal>> {
        let key = match keys {
            Keys::None => return None,
            Keys::One(key) => key.trim_ascii(),
            Keys::Several => {
                return Some(Err(Refusal::new(Reason::BadRequest, "the key header comes more than once")));
            }
        };
        // Another client's key, if a proxy brings the requests of both.
        if let Some((last, caller)) = &cached.key
            && constant_time::verify_slices_are_equal(last, key).is_ok()
        {
            return Some(Ok(Caller { client, ..caller.clone() }));
        }
        let Some(caller) = self.key_caller(key, client) else {
            return Some(Err(Refusal::new(Reason::NoIdentity, "the key is not known")));
        };
        if key.len() <= LONGEST_REMEMBERED {
            // Written over in place: whoever brings another one each time allocates nothing for it.
            let (last, of) = cached.key.get_or_insert_with(|| (Vec::new(), caller.clone()));
            last.clear();
            last.extend_from_slice(key);
            of.clone_from(&caller);
        }
        Some(Ok(caller))
    }

    fn key_caller(&self, key: &[u8], client: IpAddr) -> Option<Caller> {
        if key.is_empty() {
            return None;
        }
        let digest = digest::digest(&digest::SHA256, key);
        let digest: [u8; 32] = digest.as_ref().try_into().ok()?;
        let hash = keyed_hash(digest);
        let mut candidates = self.keys.get(&hash).into_iter().flatten();
        let found =
            candidates.find(|(known, _)| constant_time::verify_slices_are_equal(known, &digest).is_ok());
        match (found, self.callers.unknown_key) {
            (Some((_, number)), _) => Some(self.known_caller(*number, Via::ApiKey, client)),
            (None, UnknownKey::Refuse) => None,
            (None, UnknownKey::Anonymous) => {
                let who = Who::Other(name(&digest));
                Some(Caller { who, tier: None, via: Via::ApiKey, client, hash })
            }
        }
    }
}

/// What a key that nobody knows is called: by the first bytes of its digest, in hex.
fn name(digest: &[u8; 32]) -> Arc<str> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut name = *b"api_key:............";
    for (digits, byte) in name[8..].as_chunks_mut::<2>().0.iter_mut().zip(digest) {
        *digits = [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
    }
    std::str::from_utf8(&name).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_nobody_knows_is_called_by_the_first_bytes_of_its_digest() {
        let digest = std::array::from_fn(|n| (n as u8).wrapping_mul(37));
        assert_eq!(&*name(&digest), "api_key:00254a6f94b9");
    }
}
