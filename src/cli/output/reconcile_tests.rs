//! Output after a comparison, as text and as JSON.

use super::super::table::PLAIN;
use super::*;

fn comparison(
    mode: &'static str,
    as_of: Option<&str>,
    differences: Vec<Differences>,
) -> Comparison {
    let summary =
        Summary { facts_compared: 12, members_ignored: 1, differences, ..Summary::default() };
    Comparison { mode, as_of: as_of.map(ToOwned::to_owned), summary }
}

fn members(found: u64, repaired: u64, left_alone: u64) -> Differences {
    let sample = Sample {
        outcome: "left_alone".into(),
        group_id: "g1".into(),
        user_fingerprint: "0a\u{1b}b".into(),
        ..Sample::default()
    };
    let (kind, side) = ("member".into(), "missing_there".into());
    Differences { kind, side, found, repaired, left_alone, samples: vec![sample] }
}

#[test]
fn a_dry_run_shows_the_differences_and_how_to_repair_them() {
    let friends = Differences {
        kind: "friend".into(),
        side: "missing_here".into(),
        found: 1,
        samples: vec![Sample {
            outcome: "found".into(),
            user_id: "u1".into(),
            friend_id: "u2".into(),
            ..Sample::default()
        }],
        ..Differences::default()
    };
    let shown = comparison("compare", None, vec![friends, members(2, 0, 3)]).text(PLAIN);
    assert_eq!(
        shown,
        "\
WHAT    DIFFERENCE          FOUND  REPAIRED  LEFT ALONE
friend  only in the export      1         0           0
member  only in imquota         2         0           3

SAMPLE  DIFFERENCE          GROUP  USER              FRIEND  OUTCOME
friend  only in the export         u1                u2      found
member  only in imquota     g1     fingerprint 0a\u{fffd}b          left alone

12 facts compared
1 exported member ignored: groups of their types do not track members
3 differences left alone, because live traffic has changed them since the export
3 differences found; this was a dry run, which changes nothing: --apply repairs
changes made since the export may be among these: see `imquota reconcile begin` and --as-of
"
    );
}

#[test]
fn the_last_sentence_explains_the_result() {
    let as_of = Some("2026-12-01T00:00:00Z");
    for (mode, counts, wanted) in [
        ("apply", (0, 2, 0), "2 differences repaired: nothing else to do\n"),
        ("apply", (1, 2, 0), "1 difference not repaired: a group's type is never changed\n"),
        ("import", (0, 2, 0), "2 differences added: nothing else to do\n"),
        (
            "import",
            (1, 0, 0),
            "1 difference skipped: a group of another type keeps its type and members\n",
        ),
    ] {
        let (found, repaired, left_alone) = counts;
        let shown = comparison(mode, as_of, vec![members(found, repaired, left_alone)]);
        let shown = shown.text(PLAIN);
        assert!(shown.ends_with(wanted), "{shown}");
    }
    let shown = comparison("compare", None, vec![]).text(PLAIN);
    assert!(shown.ends_with("no differences\n"), "{shown}");
}

#[test]
fn json_has_all_counts_and_samples() {
    let shown = comparison("apply", Some("2026-12-01T00:00:00Z"), vec![members(0, 1, 0)]).json();
    assert_eq!(
        shown,
        r#"{
  "mode": "apply",
  "as_of": "2026-12-01T00:00:00Z",
  "facts_compared": 12,
  "members_ignored": 1,
  "members_skipped": 0,
  "differences": [
    {
      "kind": "member",
      "side": "missing_there",
      "found": 0,
      "repaired": 1,
      "left_alone": 0,
      "samples": [
        {
          "outcome": "left_alone",
          "group_id": "g1",
          "user_fingerprint": "0a\u001bb"
        }
      ]
    }
  ],
  "finished": true
}
"#
    );
}

#[test]
fn an_export_may_begin_ten_seconds_after_tracking_began() {
    let at = |seconds, nanos| Some(Timestamp { seconds, nanos });
    let answer = TrackChangesResponse { since: at(1_552_320_000, 1), until: at(1_552_406_400, 1) };
    assert_eq!(
        answer.text(PLAIN),
        "\
CHANGES  TRACKED
since    2019-03-12T00:00:00+08:00
until    2019-03-13T00:00:00+08:00

Next:
  1. Wait until 2019-03-12T00:00:11+08:00 (10 s), and at least as long as the longest transaction \
  of the IM.
  2. Note the time, and then export.
  3. imquota reconcile --app APP --groups FILE --friends FILE --accounts FILE --as-of TIME
     where TIME is the noted time. --apply repairs the differences.
"
    );
}
