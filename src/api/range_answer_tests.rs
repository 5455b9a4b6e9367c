//! Answers put together by hand, against what a protobuf library makes of them.

use proptest::prelude::*;

use super::*;
use crate::proto::{etcdserverpb::RangeStreamResponse, mvccpb::KeyValue};

/// The one message that the pieces are, without its prefix.
fn message(message: &Message) -> Bytes {
    let mut all = Bytes::from(message.pieces.iter().flatten().copied().collect::<Vec<_>>());
    assert_eq!(all.get_u8(), 0);
    assert_eq!(usize::try_from(all.get_u32()).unwrap(), all.len());
    all
}

fn answer(mut answer: Answer, kvs: &[KeyValue]) -> Answer {
    for kv in kvs {
        answer.take(&kv.encode_to_vec());
    }
    answer
}

fn any_pair() -> impl Strategy<Value = KeyValue> {
    let number = || prop_oneof![Just(0), 0..300_i64, any::<i64>()];
    let bytes = |len_max: usize| {
        (any::<u8>(), 0..len_max).prop_map(|(byte, len): (u8, usize)| Bytes::from(vec![byte; len]))
    };
    let value = prop_oneof![30 => bytes(300), 1 => bytes(200_000)];
    (bytes(40), value, number(), number(), number(), number()).prop_map(
        |(key, value, create_revision, mod_revision, version, lease)| KeyValue {
            key,
            create_revision,
            mod_revision,
            version,
            value,
            lease,
        },
    )
}

fn any_header() -> impl Strategy<Value = ResponseHeader> {
    let number = || prop_oneof![Just(0), Just(1), any::<u64>()];
    (number(), number(), any::<i64>(), number()).prop_map(
        |(cluster_id, member_id, revision, raft_term)| ResponseHeader {
            cluster_id,
            member_id,
            revision,
            raft_term,
        },
    )
}

proptest! {
    /// The bytes are those that the library would have sent, in a stream and outside of one.
    #[test]
    fn the_bytes_are_those_of_the_library(
        kvs in prop::collection::vec(any_pair(), 0..40),
        header in any_header(),
        more in any::<bool>(),
        count in prop_oneof![0..3_i64, any::<i64>()],
    ) {
        let rest = Rest { header, more, count };
        let expected = RangeResponse { header: Some(header), kvs: kvs.clone(), more, count };
        let whole = answer(Answer::of_many(), &kvs).whole(rest).unwrap();
        prop_assert_eq!(message(&whole), expected.encode_to_vec());

        let last = answer(Answer::of_many(), &kvs).part(Some(rest)).unwrap();
        let expected = RangeStreamResponse { range_response: Some(expected) };
        prop_assert_eq!(message(&last), expected.encode_to_vec());

        let part = RangeResponse { kvs: kvs.clone(), ..RangeResponse::default() };
        let expected = RangeStreamResponse { range_response: Some(part) };
        let part = answer(Answer::of_many(), &kvs).part(None).unwrap();
        prop_assert_eq!(message(&part), expected.encode_to_vec());
    }
}

fn pair(value_len: usize) -> KeyValue {
    KeyValue { key: "key".into(), value: vec![b'v'; value_len].into(), ..KeyValue::default() }
}

fn any_rest() -> Rest {
    Rest { header: ResponseHeader::default(), more: false, count: 1 }
}

/// One pair is in one piece, whatever its size, and so is no pair at all.
#[test]
fn one_pair_is_in_one_piece() {
    for len in [0, 1, 100, 1_000_000] {
        let one = answer(Answer::of_one(), &[pair(len)]).whole(any_rest()).unwrap();
        assert_eq!(one.pieces.len(), 1);
    }
    assert_eq!(Answer::of_one().whole(any_rest()).unwrap().pieces.len(), 1);
}

/// Pieces grow to a bound, and hold hardly more memory than bytes.
#[test]
fn many_pairs_are_in_pieces_of_a_bounded_size() {
    let kvs = vec![pair(100); 10_000];
    let filled = answer(Answer::of_many(), &kvs);
    let memory: usize = filled.pieces.iter().map(Vec::capacity).sum();
    assert!(memory < filled.len + filled.len / 10, "{memory} for {}", filled.len);

    let pieces = filled.whole(any_rest()).unwrap().pieces;
    assert!(pieces.iter().all(|piece| piece.len() <= PIECE_BYTES_MAX));
    assert!(pieces.len() < 30, "{}", pieces.len());
}

/// What is larger than may be sent is refused with its size, and takes no memory from there on.
#[test]
fn an_answer_too_large_is_refused_with_its_size() {
    let mut answer = Answer::of_many();
    answer.take(&[b'v'; 100_000]);
    answer.len += SENT_BYTES_MAX - 200_000; // as if so much had come
    answer.take(&[b'v'; 50_000]);
    assert!(!answer.pieces.is_empty());
    answer.take(&[b'v'; 50_000]);
    assert!(answer.pieces.is_empty());
    answer.take(b"v");

    let refused = answer.whole(any_rest()).unwrap_err();

    // Four and three bytes before each record, an empty header and the count after them.
    let len = SENT_BYTES_MAX - 200_000 + 100_004 + 2 * 50_004 + 3 + 2 + 2;
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert_eq!(
        refused.message(),
        format!("grpc: trying to send message larger than max ({len} vs. 2147483647)")
    );
}

/// A header that makes the answer one byte too large counts, too.
#[test]
fn the_bound_is_that_of_the_whole_message() {
    let almost = |missing: usize| Answer {
        pieces: Vec::new(),
        next_piece_bytes: 0,
        len: SENT_BYTES_MAX - missing,
    };
    assert!(almost(4).whole(any_rest()).is_ok());
    assert!(almost(3).whole(any_rest()).is_err());
}
