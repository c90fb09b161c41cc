//! Honest work at its fastest and at its oddest, of which none is taken for a flood.

use super::*;

/// A second of honest work, step by step: what comes in and what goes out.
#[track_caller]
fn passes(what: &str, seconds: u32, steps: u32, mut step: impl FnMut(u32) -> (Vec<u8>, Vec<u8>)) {
    let mut frames = begun();
    for count in 0..seconds * steps {
        let now = u64::from(count) * SECOND / u64::from(steps);
        let (inward, outward) = step(count);
        frames.received(&inward, now).unwrap_or_else(|flood| panic!("{what}, step {count}: {flood:?}"));
        frames.sent(&outward, now).unwrap_or_else(|flood| panic!("{what}, step {count}: {flood:?}"));
    }
    assert!(frames.open_streams() <= 100, "{what}");
}

fn answer(stream: u32) -> Vec<u8> {
    [
        frame(HEADERS, END_HEADERS, stream, b"\x88"),
        frame(DATA, 0, stream, &[0; 64]),
        frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\x88"),
    ]
    .concat()
}

#[test]
fn honest_clients_are_left_alone() {
    // grpc-go and C core: 20,000 calls a second, each with a message of a few bytes, a PING and two WINDOW_UPDATEs.
    passes("short gRPC calls", 5, 20_000, |count| {
        let id = odd(count);
        let call = [
            open_headers(id),
            frame(DATA, END_STREAM, id, &[0; 7]),
            window_update(0, 9),
            window_update(id, 9),
            frame(PING, 0, 0, &[2; 8]),
        ];
        (call.concat(), answer(id))
    });
    // One stream of small messages, both ways, as fast as a core can.
    passes("a gRPC stream", 5, 200_000, |count| {
        let first = if count == 0 { open_headers(1) } else { Vec::new() };
        ([first, frame(DATA, 0, 1, &[0; 5])].concat(), frame(DATA, 0, 1, &[0; 5]))
    });
    passes("gRPC keepalive of a whole day, every 10 s", 86_400, 1, |count| {
        let ping = if count % 10 == 0 { frame(PING, 0, 0, &[3; 8]) } else { Vec::new() };
        (ping.clone(), ping)
    });
    // A reader whose window is one frame, so that it opens it twice for each frame; with BDP probes and new settings.
    passes("a large download", 10, 10_000, |count| {
        let mut inward = [window_update(0, 16_384), window_update(1, 16_384)].concat();
        if count == 0 {
            inward.splice(0..0, headers(1));
        }
        if count % 1000 == 0 {
            inward.extend(frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]));
        }
        inward.extend(frame(PING, 0, 0, &[4; 8]));
        (inward, frame(DATA, 0, 1, &[0; 1024]))
    });
    // Nine of ten calls run out of time, and the tenth shows that the client means it.
    passes("deadlines that pass", 60, 100, |count| {
        let id = odd(count);
        let end = if count % 10 == 0 { Vec::new() } else { reset(id, 8) };
        let out = if end.is_empty() { answer(id) } else { Vec::new() };
        ([headers(id), end].concat(), out)
    });
}

#[test]
fn browsers_and_load_generators_are_left_alone() {
    // A page of 100 pictures, left before it was there, three times a second; PRIORITY twice a stream, some grease.
    passes("a browser", 20, 1, |count| {
        let mut inward = frame(0x2a, 0, 0, b"grease");
        for picture in 0..100 {
            let id = odd(count * 100 + picture);
            inward.extend(headers(id));
            inward.extend(frame(PRIORITY, 0, id, &[0, 0, 0, 0, 109]));
            inward.extend(frame(PRIORITY_UPDATE, 0, 0, &[0, 0, 0, 0, b'u', b'=', b'1']));
            inward.extend(reset(id, 8));
        }
        (inward, Vec::new())
    });
    // `h2load -m 1000` has not seen our SETTINGS: 900 of its first streams are refused, and opened again later.
    let mut frames = begun();
    (0..1000).for_each(|count| frames.received(&headers(odd(count)), 0).unwrap());
    for count in 0..1000 {
        let out = if count < 100 { answer(odd(count)) } else { reset(odd(count), REFUSED_STREAM) };
        frames.sent(&out, 0).unwrap();
    }
    passes("h2load -m 100", 2, 1000, |count| {
        let streams = || (0..100).map(move |stream| odd(count * 100 + stream));
        (streams().flat_map(headers).collect(), streams().flat_map(answer).collect())
    });
    // Uploads that are answered early (429): what is on its way meets a closed stream.
    passes("refused uploads", 30, 20, |count| {
        let id = odd(count);
        let body = frame(DATA, 0, id, &[0; 4096]);
        let out =
            [frame(HEADERS, END_HEADERS | END_STREAM, id, b"\x88"), reset(id, 0), reset(id, STREAM_CLOSED)];
        ([open_headers(id), body.repeat(4)].concat(), out.concat())
    });
}
