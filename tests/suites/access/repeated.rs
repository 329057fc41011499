//! Changes by the command line with a lost response.

use super::command_line::beside;
use super::sidecar::Sidecar;
use crate::support::proxy::{Mode, Proxy};

/// The purchases of the app in the output of get-app.
async fn purchases(sidecar: &Sidecar, app: &str) -> usize {
    let address = sidecar.admin.to_string();
    let get = ["admin", "get-app", app, "--output", "json", "--address", &address];
    let shown = beside(&get, &[]).await.expect("it is registered");
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    shown["app"]["purchases"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn a_change_with_a_lost_reply_is_retried_with_its_request_id() {
    let sidecar = Sidecar::start(&[]).await;
    let proxy = Proxy::start(sidecar.admin.port()).await;
    let address = format!("127.0.0.1:{}", proxy.port());
    let run = async |arguments: &[&str]| {
        beside(&[&["admin"], arguments, &["--address", &address]].concat(), &[]).await
    };
    for (lost, commands) in [(1, 1), (4, 2)] {
        let app = format!("lost-{lost}");
        for change in [
            vec!["create-app", &app],
            vec!["purchase-edition", &app, "professional", "--months", "1"],
            vec!["renew-edition", &app, "--months", "1"],
            vec!["grant-add-on", &app, "members-2000", "--months", "1"],
            vec!["grant-limit", &app, "groups_per_user", "900", "--months", "1", "--note", "c7"],
            vec!["exchange-add-on", &app, "members-2000", "members-6000", "--months", "1"],
            vec!["set-message-retention", &app, "30"],
        ] {
            proxy.drop_replies(lost, &app);
            let before = proxy.dropped();
            let mut end = run(&change).await;
            if commands == 2 {
                let error = end.expect_err("every reply was lost");
                let (_, id) = error.split_once("add: --request-id ").expect("it names the id");
                end = run(&[&change[..], &["--request-id", id.trim()]].concat()).await;
            }
            assert!(end.is_ok(), "{change:?}: {end:?}");
            assert_eq!(proxy.dropped() - before, lost, "{change:?}");
        }
        assert_eq!(purchases(&sidecar, &app).await, 5, "each was made once");
    }
    // A refund with a given request id.
    let refund = ["refund-purchase", "lost-1", "none", "--request-id", "mine"];
    proxy.drop_replies(4, "lost-1");
    let error = run(&refund).await.expect_err("every reply was lost");
    assert!(error.ends_with("keep: --request-id mine\n"), "{error}");
    // A refused change is not retried.
    let error = run(&refund).await.expect_err("there is no such purchase");
    assert!(error.starts_with("error: INVALID_ARGUMENT") && !error.contains("repeat"), "{error}");
    proxy.set(Mode::Refuse);
    let error = run(&["create-app", "never"]).await.expect_err("no listener");
    assert!(error.starts_with("error: cannot connect"), "{error}");
    sidecar.stop().await;
}
