//! Tests of the lines of checks, with one fault at a time.

use super::*;
use crate::engine::fallback::JournalCondition;
use crate::store::Refusal;

const TOLERANCE: Duration = Duration::from_secs(10);

fn healthy() -> State {
    State {
        answered: Some(Stopwatch::start()),
        fails_open: true,
        servers: vec![server_at("a:1")],
        clock_skews: vec![("a:1".into(), 0.2)],
        journal: JournalCondition { is_kept: true, ..Default::default() },
        ..State::default()
    }
}

fn server_at(address: &str) -> ServerState {
    ServerState {
        address: address.into(),
        is_absent: false,
        refusal: None,
        replication: Replication::default(),
    }
}

fn lines(state: &State, tolerance: Duration) -> Vec<String> {
    of_state(state, tolerance).iter().map(ToString::to_string).collect()
}

/// Returns the lines that differ from those of a healthy sidecar.
fn differing(change: impl FnOnce(&mut State)) -> Vec<String> {
    let mut state = healthy();
    change(&mut state);
    let before = lines(&healthy(), TOLERANCE);
    lines(&state, TOLERANCE).into_iter().filter(|line| !before.contains(line)).collect()
}

#[test]
fn a_healthy_sidecar_has_a_line_for_everything() {
    let lines = lines(&healthy(), TOLERANCE);
    let expected = [
        "[+]started ok",
        "[+]running ok",
        "[+]store ok: it answered 0.0 s ago",
        "[+]server/a:1 ok",
        "[+]clock/a:1 ok",
        "[+]journal ok",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn each_fault_is_named_by_its_line() {
    let refusal = |words: &str| Some(Refusal { code: "OOM".into(), words: words.into() });
    assert_eq!(differing(|it| it.stopping = true), ["[-]running failed: the process is ending"]);
    assert_eq!(
        differing(|it| it.lost = Some("no identity".into())),
        ["[-]store-facts failed: the store lost its facts, or is another one: no identity"]
    );
    assert_eq!(
        differing(|it| {
            it.servers[0].is_absent = true;
            it.absent.insert("a:1".into(), Stopwatch::start());
        }),
        ["[-]server/a:1 failed: circuit breaker open for 0.0 s: its probe gets no answer"]
    );
    assert_eq!(
        differing(|it| it.servers[0].refusal = refusal("OOM\r\n[+]all ok")),
        ["[-]server/a:1 failed: refuses calls: OOM  [+]all ok"]
    );
    assert_eq!(
        differing(|it| {
            let standing = Standing::Closed;
            it.servers[0].replication = Replication { standing, required: 2, attached: 1 };
        }),
        ["[-]server/a:1 failed: unconfirmed: 1 of 2 replicas are attached that have to \
             confirm; calls are UNAVAILABLE"]
    );
    assert_eq!(
        differing(|it| it.servers[0].replication.standing = Standing::Alone),
        ["[+]server/a:1 ok: not replicated: no replica attached"]
    );
    assert_eq!(
        differing(|it| it.clock_skews[0].1 = -301.0),
        ["[-]clock/a:1 failed: 301.0 s apart from this machine's; operations that depend on the \
             time are refused"]
    );
    assert_eq!(
        differing(|it| it.clock_skews[0].1 = 2.0),
        ["[+]clock/a:1 ok: 2.0 s apart from this machine's"]
    );
}

#[test]
fn the_journal_line_has_its_fill_and_whether_it_is_replayed() {
    let with = |journal: JournalCondition| {
        differing(|it| it.journal = JournalCondition { is_kept: true, ..journal })
    };
    let some = JournalCondition { entries: 12, fill_percent: 3, ..Default::default() };
    assert_eq!(
        with(JournalCondition { oldest_due: Some(7), ..some.clone() }),
        ["[+]journal ok: 12 entries, 3 % full, being replayed"]
    );
    assert_eq!(with(some.clone()), ["[+]journal ok: 12 entries, 3 % full, waiting for the store"]);
    assert_eq!(
        with(JournalCondition { blocked: 2, oldest_due: Some(9), ..some.clone() }),
        ["[-]journal failed: 12 entries, 2 of them blocked, 3 % full, being replayed"]
    );
    assert_eq!(
        with(JournalCondition { fill_percent: 100, ..some }),
        ["[-]journal failed: 12 entries, 100 % full, waiting for the store"]
    );
    let off = differing(|it| it.journal = JournalCondition::default());
    assert!(off.is_empty(), "{off:?}");
}

#[test]
fn the_line_of_a_silent_store_has_its_time_and_the_failure_policy_a_line() {
    let silent = |change: fn(&mut State)| {
        let mut state = healthy();
        change(&mut state);
        (lines(&state, Duration::ZERO), state.conclude(Duration::ZERO).0)
    };
    let (lines, is_ready) = silent(|it| it.servers[0].is_absent = true);
    assert_eq!(lines[2], "[-]store failed: silent for 0.0 s, longer than 0 s");
    assert_eq!(lines[3], "[+]failure-policy ok: the failure policy admits without the store");
    assert!(is_ready);
    // While a server refuses, or with a full journal, nothing fails open.
    for change in [
        (|it| it.journal.fill_percent = 100) as fn(&mut State),
        |it| it.fails_open = false,
        |it| {
            let (code, words) = ("NOPERM".into(), "no permission".into());
            it.servers[0].refusal = Some(Refusal { code, words });
        },
    ] {
        let (lines, is_ready) = silent(change);
        assert!(!lines.iter().any(|line| line.contains("policy")), "{lines:?}");
        assert!(!is_ready);
    }
    let unopened = State::default();
    let lines = of_state(&unopened, TOLERANCE);
    let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
    assert_eq!(lines[0], "[-]started failed: the store was not available yet");
    assert_eq!(lines[2], "[-]store failed: it has not answered yet");
}
