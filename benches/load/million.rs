//! A million users in the embedded store: bytes on disk, and the time of a start.

use std::time::{Duration, Instant};

use imquota::grpc::pb;

use super::growth::{APP, BATCH, create, join_all, users};
use super::processes::{Process, Transport, sell};
use super::unary::Client;

/// Accounts of one call, as the catalog has it.
const ACCOUNTS: usize = 100;

/// Fills the embedded store with users, each with an account and a group, and starts it again.
pub async fn run(quick: bool) -> Result<(), String> {
    let count = if quick { 2000 } else { 1_000_000 };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let store = format!("embedded:{}", folder.path().join("store").display());
    let binary = env!("CARGO_BIN_EXE_imquota").as_ref();
    let sidecar = Process::sidecar(binary, folder.path(), Transport::Unix, &store).await;
    sell(&sidecar.admin, APP).await?;
    let client = sidecar.place.quota().await?;
    let begun = Instant::now();
    for (index, users) in users("user", count).chunks(BATCH).enumerate() {
        fill(&client, &format!("group-{index:05}"), users).await;
    }
    let filled = begun.elapsed();
    sidecar.end(Duration::from_secs(60));
    let bytes = std::fs::metadata(folder.path().join("store/imquota.redb")).expect("it is there");
    let again = Process::sidecar(binary, folder.path(), Transport::Unix, &store).await;
    println!("\nusers: {count}, each with an account and a group, filled in {filled:.1?}");
    println!("file: {} bytes a user", bytes.len() / count as u64);
    println!("start to the first answered call: {:.0?}", again.start);
    println!("resident memory after it: {:.1} MB", again.resident_mb());
    Ok(())
}

/// Accounts of some users, and a group of theirs.
async fn fill(client: &Client, group: &str, users: &[String]) {
    let accounts = users.chunks(ACCOUNTS).map(|user_ids| pb::CreateAccountsRequest {
        app_id: APP.to_owned(),
        user_ids: user_ids.to_vec(),
        ..Default::default()
    });
    let calls = accounts.map(|request| {
        let mut client = client.clone();
        async move { client.create_accounts(request).await }
    });
    for answer in futures_util::future::join_all(calls).await {
        answer.expect("it is decided");
    }
    create(client, group).await;
    join_all(client, group, users.to_vec()).await;
}
