//! A worker in a network of its own that is cut off: its packets vanish, and nobody says so. What happens there stands
//! in `tests/python/cut_off.py`, which makes the network, runs Buckler in it, and judges.

use std::process::{Command, Stdio};

use crate::python;
use crate::world::World;

/// The ways to a network of one's own: as root, and as anybody where the kernel lets them.
const WAYS: [&[&str]; 2] = [&["unshare", "-n"], &["unshare", "-Urn"]];

#[test]
fn one_that_is_cut_off_holds_nobody_longer_than_the_timeouts_and_is_used_again_when_it_is_back() {
    let Some(way) = WAYS.into_iter().find(|way| leads_there(way)) else {
        eprintln!(
            "passed over: no network namespace with a veth pair can be made here; it takes iproute2 and util-linux, \
             and root (CAP_NET_ADMIN, CAP_SYS_ADMIN) or user namespaces for everybody"
        );
        return;
    };
    let world = World::new();
    let dir = world.dir().to_str().unwrap();
    let told = python::run_by(way, "cut_off.py", &[env!("CARGO_BIN_EXE_buckler"), dir]);
    assert_eq!(told["passed"], true, "{}\n{}", told["saw"], told["where"].as_str().unwrap_or_default());
    println!("{}", told["saw"]);
}

/// Whether a namespace can be made in this way, with a pair of devices, and in it another one.
fn leads_there(way: &[&str]) -> bool {
    let try_it = "ip link set lo up && ip link add near type veth peer name far && unshare -n true";
    let status = Command::new(way[0])
        .args(&way[1..])
        .args(["sh", "-c", try_it])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
