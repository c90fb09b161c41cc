//! HTTP/2 as the state machine of PyPI's `h2` sees it: windows, settings, large heads, trailers, resets, the goodbye of
//! a drain. Frames that break the rules are tested elsewhere, byte by byte.

use crate::python::{self, Server};
use crate::world::World;

/// All cases, the drain last, with `more` in the service.
fn no_fault_is_found(world: &World, more: &str, arguments: &[&str]) {
    let origin = Server::start("origin.py", &[]);
    let buckler = world.buckler(&format!(
        "services:\n  api:\n    listen: 127.0.0.1:{{port}}\n    workers: {{ addresses: [\"{}\"] }}\n{more}",
        origin.address()
    ));
    let (address, pid) =
        (format!("127.0.0.1:{}", buckler.port()), buckler.pid().as_raw_nonzero().to_string());
    let results = python::cases("h2_check.py", &[&[&address, "--drain", &pid], arguments].concat());
    assert!(results.len() > 30, "only {} cases ran", results.len());
    assert_eq!(buckler.wait_exit(), 0);
}

#[test]
fn the_h2_package_finds_no_fault() {
    no_fault_is_found(&World::new(), "", &[]);
}

#[test]
fn the_h2_package_finds_no_fault_over_tls() {
    let world = World::new();
    world.certificates();
    let tls = "    tls: { certificates: [{ chain: localhost.pem, key: localhost.key }] }\n";
    no_fault_is_found(&world, tls, &["--ca", &world.path("ca.pem")]);
}
