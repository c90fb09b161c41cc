//! Requests that say again what was said before: they are heard as if they were read, and their fields have one number.

use std::num::NonZeroU64;

use proptest::prelude::*;

use super::*;
use crate::message::RequestHead;

/// All requests of a stream that comes in these pieces, and how it ends: what is said of each, and which fields those
/// are.
fn said(stream: &[u8], cuts: &[usize]) -> (Vec<String>, Vec<[Option<NonZeroU64>; 2]>) {
    run(async {
        let (line, far) = line();
        // It takes the line with it: nobody would read on after a refusal.
        let listening = async move {
            let (mut said, mut numbers) = (Vec::new(), Vec::new());
            loop {
                let (Request { head, mut body }, asked) = match next(&line).await {
                    Ok(heard) => heard,
                    Err(End::Refused(refused)) => {
                        said.push(format!("{refused:?}"));
                        return (said, numbers);
                    }
                    Err(_) => return (said, numbers),
                };
                let mut content = Vec::new();
                while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                    content.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                }
                drop(body);
                assert!(settles(&line).await);
                let RequestHead { method, target, version, fields, section, names, .. } = head;
                let fields = pairs(&fields);
                said.push(format!("{method} {target:?} {version:?} {fields:?} {asked:?} {content:?}"));
                numbers.push([section, names]);
            }
        };
        tokio::join!(listening, write_in_pieces(far, stream, cuts)).0
    })
}

/// Requests that mostly say again what was said before.
fn repetitive_stream() -> impl Strategy<Value = Vec<u8>> {
    #[rustfmt::skip]
    let lines = vec![
        "GET / HTTP/1.1", "GET /a?b HTTP/1.1", "HEAD / HTTP/1.1", "\r\nGET http://b/ HTTP/1.1", "GET / HTTP/1.0",
        "GET / HTTP/1.0",
    ];
    #[rustfmt::skip]
    let sections = vec![
        "Host: a\r\n\r\n", "Host: a\r\nTE: trailers\r\nX-A:b\r\n\r\n", "Host: a\r\nX-A:  b\r\n\r\n",
        "host: a\r\nConnection: keep-alive\r\n\r\n", "host: a\r\nConnection: keep-alive, close\r\n\r\n",
        "\r\n", "Host: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
        "Host: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: y\r\n\r\n",
        "Host: a\r\nContent-Length: 3\r\n\r\nabc", "Host: a\r\nHost: a\r\n\r\n",
        "Host: a\r\nX-A: {}\r\nX-B: c {}\r\nTE: trailers\r\n\r\n", "Host: a\r\nx-a:{}\r\nx-b: {} \r\n\r\n",
    ];
    let lines = proptest::collection::vec(proptest::sample::select(lines), 1..6);
    let run = (proptest::sample::select(sections), lines).prop_map(|(section, lines)| {
        // Some of them have other values in each head, of one length or of two.
        let heads = lines.into_iter().enumerate();
        let heads =
            heads.map(|(n, line)| format!("{line}\r\n{}", section.replace("{}", &(7 + n).to_string())));
        heads.collect::<String>().into_bytes()
    });
    proptest::collection::vec(run, 1..6).prop_map(|runs| runs.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Byte by byte, all is read.
    #[test]
    fn what_is_said_again_is_heard_as_if_it_were_read(
        stream in repetitive_stream(),
        cuts in proptest::collection::vec(1_usize..600, 1..6),
    ) {
        let (read, _) = said(&stream, &[1]);
        let (heard, numbers) = said(&stream, &cuts);
        prop_assert_eq!(&heard, &read);
        // Who has one number has one version and the same fields.
        let fields = |n: usize| read[n].split_once(" HTTP/").map(|(_, rest)| rest.split(" Asked").next());
        for (n, [section, _]) in numbers.iter().enumerate().filter(|(_, [section, _])| section.is_some()) {
            let first = numbers.iter().position(|[other, _]| other == section).unwrap_or(n);
            prop_assert_eq!(fields(n), fields(first));
        }
    }
}

/// The numbers of sections and of names as plain ones, zero where there is none.
fn plain(numbers: &[[Option<NonZeroU64>; 2]]) -> Vec<[u64; 2]> {
    numbers.iter().map(|both| both.map(|number| number.map_or(0, NonZeroU64::get))).collect()
}

#[test]
fn requests_with_the_same_fields_have_one_number_whatever_they_ask_for() {
    let one = "Host: a\r\nX-A: b\r\n\r\n";
    let other = "Host: a\r\n\r\n";
    let stream = [one, one, one, one, other, other, one].map(|fields| format!("GET / HTTP/1.1\r\n{fields}"));
    let (said, numbers) = said(stream.concat().as_bytes(), &[stream.concat().len()]);
    assert_eq!(said.len(), stream.len());
    assert_eq!(
        plain(&numbers),
        [0, 2, 2, 2, 5, 5, 7].map(|number| [number; 2]),
        "of the fields, and of their names"
    );
}

#[test]
fn requests_whose_fields_differ_in_a_value_are_heard_with_that_value() {
    let stream = ["one", "two", "six", "six", "ten", "three", "ten"]
        .map(|value| format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {value}\r\nX-B: b\r\n\r\n"));
    let (said, numbers) = said(stream.concat().as_bytes(), &[stream.concat().len()]);
    for (n, value) in ["one", "two", "six", "six", "ten", "three", "ten"].into_iter().enumerate() {
        assert!(said[n].contains(&format!("{:?}", value.as_bytes())), "{value}: {}", said[n]);
    }
    let (fields, names) = ([0, 2, 0, 3, 0, 6, 7], [0, 2, 2, 2, 2, 6, 7]);
    assert_eq!(plain(&numbers), std::array::from_fn::<_, 7, _>(|n| [fields[n], names[n]]));
}
