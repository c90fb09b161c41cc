//! Large bodies in one direction, one after another on each connection. Every byte that is reported has arrived: at
//! this client, or, as `x-drained` of the answer says, at the origin.

use std::time::Instant;

use serde_json::{Value, json};

use super::wire::{Link, PIECE, request};
use super::{Failure, Target, on_each};

/// Bodies of `bytes` from the worker, or with `up` to it, until the time is over and the last ones are complete.
pub(crate) fn run(target: &Target, bytes: u64, up: bool) -> Result<Value, Failure> {
    let began = Instant::now();
    let end = began + target.length();
    let piece = vec![b'x'; PIECE];
    let bodies = on_each(target.connections, |_| {
        let mut link = Link::connect(target.address)?;
        let mut bodies = 0_u64;
        while bodies == 0 || Instant::now() < end {
            if up {
                send(&mut link, target, bytes, &piece)?
            } else {
                fetch(&mut link, target, bytes)?
            }
            bodies += 1;
        }
        Ok(bodies)
    })?;
    let bodies: u64 = bodies.iter().sum();
    Ok(json!({ "bodies": bodies, "bytes": bodies * bytes, "seconds": began.elapsed().as_secs_f64() }))
}

fn fetch(link: &mut Link, target: &Target, bytes: u64) -> Result<(), Failure> {
    link.send(&request("GET", &target.path, &target.key, None))?;
    let answer = link.answer()?;
    if answer.status != 200 || answer.length != bytes {
        return Err(
            format!("wanted 200 with {bytes} bytes, got {} with {}", answer.status, answer.length).into()
        );
    }
    Ok(link.skip(bytes)?)
}

fn send(link: &mut Link, target: &Target, bytes: u64, piece: &[u8]) -> Result<(), Failure> {
    link.send(&request("POST", &target.path, &target.key, Some(bytes)))?;
    let mut left = bytes;
    while left > 0 {
        let length = piece.len().min(usize::try_from(left)?);
        link.send(&piece[..length])?;
        left -= length as u64;
    }
    let answer = link.answer()?;
    link.skip(answer.length)?;
    match answer.drained {
        Some(drained) if answer.status == 200 && drained == bytes => Ok(()),
        drained => Err(format!("sent {bytes} bytes, got {} and x-drained {drained:?}", answer.status).into()),
    }
}
