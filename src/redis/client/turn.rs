//! Reads the app of a call, for its turn, from its keys.

use crate::store::fair::Turn;

/// Returns the app's number, with which the hash tag of its keys begins: `q1{APP/PART}KIND`. Keys
/// that belong to no app share the turns of [`Turn::SHARED`].
pub(super) fn app_of(keys: &[&[u8]]) -> u64 {
    let app = || {
        let tag = keys.first()?.strip_prefix(b"q1{")?;
        let digits = tag.split(|byte| *byte == b'/').next()?;
        u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    app().unwrap_or(Turn::SHARED.app)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_an_app_share_its_turns() {
        let app = 0xf8f9_3d5e_4673_d663;
        assert_eq!(app_of(&[b"q1{f8f93d5e4673d663/accounts}limits"]), app);
        assert_eq!(app_of(&[b"q1{f8f93d5e4673d663/groups}m919a4e5b9311e83d", b"x"]), app);
        for key in [&b"q1{directory}audit"[..], b"q1{events}log", b"imquota:identity", b"q1{*/g}"] {
            assert_eq!(app_of(&[key]), 0, "{key:?}");
        }
        assert_eq!(app_of(&[]), 0);
    }
}
