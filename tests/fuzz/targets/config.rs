//! Any text as a configuration: it ends with a configuration or with errors that can be shown, and the effective
//! configuration of a good one is a good one too.

#![no_main]

use buckler::clock::Moment;
use buckler::config::{Loaded, NoFiles, load_str};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let loaded = load(text);
    let shown = loaded.render();
    assert_eq!(loaded.config.is_none(), loaded.errors().count() > 0, "{shown}");
    assert_eq!(shown.is_empty(), loaded.problems.is_empty());
    assert_eq!(loaded.to_json().as_array().map(Vec::len), Some(loaded.problems.len()));
    for problem in &loaded.problems {
        assert!(!problem.message.is_empty());
        assert!(problem.line as usize <= text.lines().count() + 1, "{shown}");
    }
    if let Some(effective) = loaded.effective() {
        let yaml = effective.to_yaml();
        let again = load(&yaml);
        assert_eq!(again.errors().count(), 0, "{}\n{yaml}", again.render());
    }
});

fn load(text: &str) -> Loaded {
    // 2027-01-15, in the middle of a day.
    let today = Moment::at(1_800_012_345_000_000_000);
    load_str("t.yaml", text, &NoFiles, today, &|name| (name == "X").then(|| "127.0.0.1:80".to_owned()))
}
