//! What is stored: entries of the journal and schedules of limits.

use imquota::domain::time::Timestamp;
use imquota::journal::codec;
use imquota::ledger::schedule_codec::{
    decode_limits, decode_schedule, encode_limits, encode_schedule,
};

/// An entry of the journal: what is read is written as bytes that are read as the same.
pub fn journal_codec(bytes: &[u8]) -> bool {
    let Ok(entry) = codec::decode(bytes) else { return false };
    let written = codec::encode(&entry);
    assert_eq!(codec::decode(&written), Ok(entry), "{}", written.escape_ascii());
    true
}

/// A schedule, or one of its segments. A schedule has limits at every instant.
pub fn schedule_codec(bytes: &[u8]) -> bool {
    let limits = decode_limits(bytes);
    let Ok(schedule) = decode_schedule(bytes) else { return limits.is_ok() };
    let written = encode_schedule(&schedule);
    let again = decode_schedule(&written).expect("what was written is read");
    assert_eq!(again, schedule, "{}", written.escape_ascii());
    for segment in schedule.segments() {
        let written = encode_limits(segment);
        assert_eq!(decode_limits(&written), Ok(segment.limits.clone()));
    }
    for millis in [i64::MIN, -1, 0, 1_795_737_600_000, i64::MAX] {
        let at = Timestamp::from_millis(millis);
        let next = schedule.next_change(at);
        assert!(next.is_none_or(|next| next > at), "{next:?} after {at:?}");
        assert!(schedule.segments().iter().any(|it| &it.limits == schedule.at(at)));
    }
    true
}
