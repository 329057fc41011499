//! Ids against tables written from the rules.

use super::*;

const ASCII: IdRules =
    IdRules { user_max_bytes: 32, group_max_bytes: 48, charset: IdCharset::Ascii };
const NOT_ASCII: &str = "must consist of printable ASCII (0x20-0x7e), but byte ";
const NOT_TEXT: &str = "must not contain control characters, line or paragraph separators, or \
                        bidirectional overrides, but byte ";

#[test]
fn the_published_rules_are_the_default() {
    assert_eq!(IdRules::default(), ASCII);
}

/// Checks ids as a user's and as a group's, by rules with the same bound for both.
fn check(charset: IdCharset, good: &[&str], bad: &[(&str, &str, &str)]) {
    let rules = IdRules { user_max_bytes: 255, group_max_bytes: 255, charset };
    for text in good {
        assert_eq!(rules.user(text).map(|id| id.to_string()), Ok((*text).to_owned()));
        assert_eq!(rules.group(text).map(|id| id.to_string()), Ok((*text).to_owned()));
    }
    for (text, rule, end) in bad {
        let expected = Err(format!("{rule}{end}"));
        assert_eq!(rules.user(text).map_err(|error| error.to_string()).map(drop), expected);
        assert_eq!(rules.group(text).map_err(|error| error.to_string()).map(drop), expected);
    }
}

#[test]
fn ascii_ids_are_printable() {
    let good = ["u", " ", "~", "a b", "{app}", "@ann:matrix.example.org", "a/b", "\"'\\"];
    let bad = [
        ("", "must not be empty", ""),
        ("a\nb", NOT_ASCII, "1 is 0x0a"),
        ("\u{7f}", NOT_ASCII, "0 is 0x7f"),
        ("用户", NOT_ASCII, "0 is 0xe7"),
        ("caf\u{e9}", NOT_ASCII, "3 is 0xc3"),
    ];
    check(IdCharset::Ascii, &good, &bad);
}

#[test]
fn utf8_ids_have_no_controls() {
    let good = [
        "u",
        " ",
        "~",
        "123e4567-e89b-12d3-a456-426614174000",
        "@ann:matrix.example.org",
        "ann@xmpp.example.org/phone",
        "张三",
        "用户 一",
        "caf\u{e9}",
        "cafe\u{301}",
        // Emoji: joined, with a skin tone, a variation selector, a flag, and one made of tags.
        "\u{1f468}\u{200d}\u{1f469}",
        "\u{1f44d}\u{1f3fd}",
        "1\u{fe0f}\u{20e3}",
        "\u{1f1e8}\u{1f1f3}",
        "\u{1f3f4}\u{e0067}\u{e0062}\u{e007f}",
        // Marks of direction.
        "\u{5d0}\u{200f}1\u{200e}\u{61c}",
        "\u{feff}",
        // Not assigned, and never to be.
        "\u{378}",
        "\u{ffff}",
        "\u{645}\u{6cc}\u{200c}\u{62e}",
        "\u{a0}",
        "\u{fffd}",
        "\u{10ffff}",
    ];
    let bad = [
        ("", "must not be empty", ""),
        ("\0", NOT_TEXT, "0 begins U+0000"),
        ("a\nb", NOT_TEXT, "1 begins U+000A"),
        ("a\tb", NOT_TEXT, "1 begins U+0009"),
        ("\u{1b}[31m", NOT_TEXT, "0 begins U+001B"),
        ("\u{7f}", NOT_TEXT, "0 begins U+007F"),
        ("张\u{80}", NOT_TEXT, "3 begins U+0080"),
        ("张三\u{9f}", NOT_TEXT, "6 begins U+009F"),
        ("a\u{2028}", NOT_TEXT, "1 begins U+2028"),
        ("a\u{2029}", NOT_TEXT, "1 begins U+2029"),
        ("\u{202a}", NOT_TEXT, "0 begins U+202A"),
        ("abc\u{202e}cba", NOT_TEXT, "3 begins U+202E"),
        ("\u{2066}", NOT_TEXT, "0 begins U+2066"),
        ("\u{2069}", NOT_TEXT, "0 begins U+2069"),
    ];
    check(IdCharset::Utf8, &good, &bad);
}

#[test]
fn lengths_are_counted_in_bytes() {
    let of = |user_max_bytes, group_max_bytes, charset| IdRules {
        user_max_bytes,
        group_max_bytes,
        charset,
    };
    let table = [
        (ASCII, "u", 32, 48),
        (of(1, 2, IdCharset::Ascii), "u", 1, 2),
        (of(6, 8, IdCharset::Utf8), "三", 2, 2),
        (of(255, 255, IdCharset::Utf8), "三", 85, 85),
        (IdRules::WIDEST, "u", 255, 255),
    ];
    for (rules, letter, user, group) in table {
        assert!(rules.user(&letter.repeat(user)).is_ok(), "{rules:?}");
        assert!(rules.group(&letter.repeat(group)).is_ok(), "{rules:?}");
        let too_long = |max, count: usize| {
            let bytes = letter.len() * count;
            Some(format!("must be at most {max} bytes long, not {bytes}"))
        };
        let error = rules.user(&letter.repeat(user + 1)).err().map(|error| error.to_string());
        assert_eq!(error, too_long(rules.user_max_bytes, user + 1));
        let error = rules.group(&letter.repeat(group + 1)).err().map(|error| error.to_string());
        assert_eq!(error, too_long(rules.group_max_bytes, group + 1));
    }
}

#[test]
fn stored_ids_decode_by_the_widest_rules() {
    let longest = "三".repeat(85);
    for text in ["u", "张三", longest.as_str()] {
        assert!(UserId::try_from(text).is_ok() && GroupId::try_from(text).is_ok(), "{text}");
    }
    let longer = "u".repeat(256);
    for text in ["", "a\n", "\u{202e}", longer.as_str()] {
        assert!(UserId::try_from(text).is_err() && GroupId::try_from(text).is_err(), "{text:?}");
    }
}

#[test]
fn the_prefix_of_the_im_is_its_own_with_every_charset() {
    for rules in [ASCII, IdRules::WIDEST] {
        assert_eq!(rules.group_of_caller("@TGS#1ABC"), Err(InvalidId::ReservedPrefix));
        assert_eq!(rules.group_of_caller("@TGS#"), Err(InvalidId::ReservedPrefix));
        assert!(rules.group("@TGS#1ABC").is_ok());
        assert!(rules.group_of_caller("@tgs#1").is_ok());
    }
    assert_eq!(IdRules::WIDEST.group_of_caller("@TGS#群"), Err(InvalidId::ReservedPrefix));
    assert!(IdRules::WIDEST.group_of_caller("群@TGS#").is_ok());
}

#[test]
fn ids_are_compared_by_bytes() {
    let rules = IdRules::WIDEST;
    assert_ne!(rules.user("caf\u{e9}"), rules.user("cafe\u{301}"));
    assert_ne!(rules.user("Ann"), rules.user("ann"));
    assert_eq!(rules.user("张三"), rules.user("张三"));
}

#[test]
fn a_request_holds_the_largest_batch() {
    for (bytes, at_least) in [(1, 10_000), (32, 10_000), (97, 10_000), (98, 9_900), (255, 3_875)] {
        let rules = IdRules { user_max_bytes: bytes, ..IdRules::default() };
        assert!(rules.batch_max() >= at_least, "{bytes}: {}", rules.batch_max());
        // A tag, a length of at most two bytes, and the text of each.
        assert!(rules.batch_max() * (bytes + 3) <= 1024 * 1024 - 1024, "{bytes}");
    }
}
