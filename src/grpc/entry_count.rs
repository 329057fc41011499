//! Counts the entries of an encoded request of Reconcile before it is decoded.
//!
//! An empty list takes two bytes in a message and eighty once it is decoded, so the length of a
//! message alone does not bound the memory that it takes.

use prost::decode_length_delimiter as varint;

/// Fields of a request whose content is a message, by depth: `facts`, then `friends` and `groups`.
const MESSAGES: &[&[usize]] = &[&[2], &[2, 3]];

/// Returns the number of fields of a request at any depth; `None` if it is malformed.
pub fn entries(request: &[u8]) -> Option<usize> {
    count(request, MESSAGES)
}

fn count(mut bytes: &[u8], messages: &[&[usize]]) -> Option<usize> {
    let mut found = 0;
    while !bytes.is_empty() {
        let key = varint(&mut bytes).ok()?;
        let (field, wire_type) = (key >> 3, key & 7);
        let length = match wire_type {
            0 => varint(&mut bytes).map(|_| 0).ok()?,
            1 => 8,
            2 => varint(&mut bytes).ok()?,
            5 => 4,
            _ => return None,
        };
        let (content, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        found += 1;
        if let Some((here, deeper)) = messages.split_first()
            && wire_type == 2
            && here.contains(&field)
        {
            found += count(content, deeper)?;
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::grpc::pb;
    use crate::grpc::pb::reconcile_request::Part;

    fn encoded(facts: pb::ReconcileFacts) -> Vec<u8> {
        pb::ReconcileRequest { part: Some(Part::Facts(facts)) }.encode_to_vec()
    }

    fn texts(count: usize) -> Vec<String> {
        vec![String::new(); count]
    }

    #[test]
    fn texts_and_lists_are_counted_at_every_depth() {
        let friends = |count| pb::ExportedFriends { user_id: "u".into(), friend_ids: texts(count) };
        let group = pb::ExportedGroup {
            group_id: "群".into(),
            r#type: "Public".into(),
            max_members: Some(7),
            member_ids: texts(5),
        };
        let facts = |change: fn(&mut pb::ReconcileFacts)| {
            let mut facts = pb::ReconcileFacts::default();
            change(&mut facts);
            facts
        };
        for (facts, expected) in [
            (pb::ReconcileFacts::default(), 1),
            (facts(|it| it.account_user_ids = texts(3)), 4),
            (facts(|it| it.done_group_ids = texts(2)), 3),
            (facts(|it| it.friends = vec![pb::ExportedFriends::default(); 9]), 10),
            (pb::ReconcileFacts { friends: vec![friends(4), friends(0)], ..Default::default() }, 9),
            (pb::ReconcileFacts { groups: vec![group], ..Default::default() }, 10),
        ] {
            assert_eq!(entries(&encoded(facts)), Some(expected));
        }
    }

    #[test]
    fn a_malformed_request_has_no_count() {
        let good = encoded(pb::ReconcileFacts { account_user_ids: texts(3), ..Default::default() });
        for end in 1..good.len() {
            assert_eq!(entries(&good[..end]), None, "{end}");
        }
        // A group, which protobuf 3 has not, and a length beyond the end.
        for bad in [&[0x13][..], &[0x12, 0xff, 0xff, 0xff, 0xff, 0x7f]] {
            assert_eq!(entries(bad), None, "{bad:?}");
        }
    }
}
