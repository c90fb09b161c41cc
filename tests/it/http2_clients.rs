//! HTTP/2 as the state machine of PyPI's `h2` sees it: windows, settings, large heads, trailers, resets, the goodbye of
//! a drain. Frames that break the rules are tested elsewhere, byte by byte.

use crate::python::{self, Server};
use crate::world::World;

#[test]
fn the_h2_package_finds_no_fault() {
    let (world, origin) = (World::new(), Server::start("origin.py", &[]));
    let buckler = world.buckler(&format!(
        "services:\n  api:\n    listen: 127.0.0.1:{{port}}\n    workers: {{ addresses: [\"{}\"] }}\n",
        origin.address()
    ));
    let pid = buckler.pid().as_raw_nonzero().to_string();
    let results = python::cases("h2_check.py", &[&format!("127.0.0.1:{}", buckler.port()), "--drain", &pid]);
    assert!(results.len() > 30, "only {} cases ran", results.len());
    assert_eq!(buckler.wait_exit(), 0);
}
