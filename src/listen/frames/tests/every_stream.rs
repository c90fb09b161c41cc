//! What holds for whatever comes: how it is cut changes no verdict, and nothing panics.

use proptest::prelude::*;

use super::*;

/// Frames that are mostly sound, some of them on a few streams.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        4 => (1_u32..8).prop_map(headers),
        4 => (1_u32..8).prop_map(open_headers),
        2 => (1_u32..8, 0_u32..14).prop_map(|(stream, code)| reset(stream, code)),
        2 => (0_u32..8, 0_u32..3).prop_map(|(stream, by)| window_update(stream, by)),
        2 => payload.clone().prop_map(|payload| frame(SETTINGS, 0, 0, &payload[..payload.len() / 6 * 6])),
        4 => (0_u8..11, any::<u8>(), 0_u32..8, payload)
            .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload)),
    ]
}

proptest! {
    #[test]
    fn how_bytes_are_cut_changes_no_verdict(
        stream in prop::collection::vec(any_frame(), 0..30),
        junk in prop::collection::vec(any::<u8>(), 0..20),
        cuts in prop::collection::vec(1_usize..40, 1..20),
    ) {
        let bytes = [&stream.concat()[..], &junk].concat();
        let mut whole = begun();
        let verdict = whole.received(&bytes, 5);
        let mut pieces = begun();
        let mut rest = &bytes[..];
        let mut told = Ok(());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() || told.is_err() {
                break;
            }
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            told = pieces.received(piece, 5);
            rest = behind;
        }
        prop_assert_eq!(told, verdict);
        if verdict.is_ok() {
            prop_assert_eq!(pieces.head_since(), whole.head_since());
            prop_assert_eq!(pieces.open_streams(), whole.open_streams());
        }
    }

    #[test]
    fn any_bytes_are_judged_and_nothing_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        sent in prop::collection::vec(any::<u8>(), 0..300),
        now in any::<u64>(),
    ) {
        for mut frames in [begun(), Frames::new(BOUNDS, now)] {
            let _ = frames.received(&bytes, now);
            let _ = frames.sent(&sent, now / 2);
            let _ = frames.head_since();
        }
    }
}
