//! Any bytes as a request target's path: it is refused, or it has one form that stays, and every way in which a
//! worker might read the forwarded path gets the same verdict from the rules.

#![no_main]

use std::sync::OnceLock;

use buckler::admit::path::canonical;
use buckler::admit::pattern::any_path;
use buckler::clock::Moment;
use buckler::config::{Config, NoFiles, PathPattern, load_str};
use libfuzzer_sys::fuzz_target;

const RULES: &str = "services: {s: {listen: '127.0.0.1:1', workers: {addresses: [{address: '127.0.0.1:2'}]}, permissions: \
    {rules: [{deny: {paths: ['/admin/**', '/a/*/b', '/x', '/x/', '/a/*']}}]}}}";

fuzz_target!(|raw: &str| {
    let Ok(path) = canonical(raw) else { return };
    assert!(path.starts_with('/') && !path.contains("//") && !path.contains('\\'), "{raw:?} became {path:?}");
    assert!(path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#' && byte != b'?'), "{path:?}");
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{raw:?} became {path:?}");
    assert_eq!(canonical(&path).as_deref(), Ok(&*path), "{raw:?} has two forms");
    // The parser behind the worker's connection takes what the rules judged, unchanged.
    let forwarded: http::Uri = path.parse().expect("the canonical path is a URI");
    assert_eq!(forwarded.path(), path);
    for pattern in patterns() {
        let verdict = any_path(std::slice::from_ref(pattern), &path);
        for reading in readings(&path) {
            // A reading that is no path at all reaches nothing; every other one must meet the same rule. One that
            // is stricter than the worker's own (a denial of `/admin;x` where it is a name) cannot be told from here.
            if let Ok(read) = canonical(&reading) {
                let other = any_path(std::slice::from_ref(pattern), &read);
                let hidden = other && !verdict;
                assert!(!hidden, "{} does not match {path:?}, but a worker reads {read:?}", pattern.written);
            }
        }
    }
});

/// What workers are known to make of a path: percent-decoding, once; parameters cut off; both.
fn readings(path: &str) -> Vec<String> {
    let bare = |path: &str| {
        let cut: Vec<_> = path.split('/').map(|segment| segment.split(';').next().unwrap_or("")).collect();
        cut.join("/")
    };
    let decoded = decode(path);
    let mut all = vec![bare(path)];
    // Decoded and then written again as a path: what was an encoded `?`, `#` or `%` is a name's part, not a delimiter.
    if let Some(decoded) = decoded {
        all.push(encode(&decoded));
    }
    all
}

fn decode(path: &str) -> Option<Vec<u8>> {
    let (bytes, mut out, mut at) = (path.as_bytes(), Vec::new(), 0);
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%' {
            let digits = std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    Some(out)
}

fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, &byte| {
        match byte {
            b'?' | b'#' | b'%' | 0..=0x20 | 0x7f.. => out.push_str(&format!("%{byte:02X}")),
            _ => out.push(char::from(byte)),
        }
        out
    })
}

fn patterns() -> &'static [PathPattern] {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let loaded = load_str("rules", RULES, &NoFiles, Moment::at(1), &|_| None);
        let told = loaded.render();
        loaded.config.unwrap_or_else(|| panic!("{told}"))
    });
    let service = config.services.values().next().expect("one service");
    &service.permissions.rules[0].paths
}
