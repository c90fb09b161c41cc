//! What callers are told of their limit, and which of them.

use super::*;

#[test]
fn what_is_left_is_told_to_the_second() {
    let book = book(limits(Some(quota("default", SECOND / 20, 40))), &ledger());
    let standing = ask(&book, &stranger(1), START).unwrap().standing.unwrap();
    assert_eq!((standing.quota, standing.window, standing.remaining, standing.reset), (40, 2, 39, 1));
    pass(&book, &stranger(1), START);
    let refused = ask(&book, &stranger(1), START).unwrap_err();
    assert_eq!(
        (refused.refusal.reason, refused.refusal.retry_after),
        (Reason::CallerRate, Some(Duration::from_millis(50)))
    );
    let standing = refused.standing.unwrap();
    assert_eq!((standing.remaining, standing.reset), (0, 2));
    assert_eq!(book.limit_name(standing.limit), "\"default\"");
    assert_eq!(book.peek(&stranger(1), later(SECOND)).unwrap().remaining, 20);
    assert_eq!(book.peek(&stranger(1), later(SECOND)).unwrap().remaining, 20, "looking charges nothing");
    assert_eq!(book.peek(&stranger(2), START).unwrap().remaining, 40);
}

#[test]
fn headers_go_to_whom_the_configuration_says() {
    for (mode, named, stranger_passes, stranger_refused) in [
        (LimitHeaders::Always, true, true, true),
        (LimitHeaders::Named, true, false, true),
        (LimitHeaders::Refused, false, false, true),
        (LimitHeaders::Never, false, false, false),
    ] {
        let mut limits = limits(Some(quota("default", SECOND, 1)));
        limits.headers = mode;
        let book = book(limits, &ledger());
        for (who, refused, want) in [
            (known(0), false, named),
            (stranger(0), false, stranger_passes),
            (stranger(0), true, stranger_refused),
        ] {
            assert_eq!(book.tells(&who, refused), want, "{mode:?}");
        }
    }
}
