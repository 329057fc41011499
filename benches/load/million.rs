//! A million users in the embedded store: bytes on disk, and the duration of a start.

use std::time::{Duration, Instant};

use imquota::grpc::pb;

use super::growth::{APP, BATCH, create, join_all, users};
use super::processes::{Process, Transport, sell};
use super::unary::Client;

/// The highest number of accounts of a call in the catalog.
const ACCOUNTS: usize = 100;

/// Fills the embedded store with users, each with an account and a group, and restarts it.
pub async fn run(quick: bool) -> Result<(), String> {
    let count = if quick { 2000 } else { 1_000_000 };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let store = format!("embedded:{}", folder.path().join("store").display());
    let binary = env!("CARGO_BIN_EXE_imquota").as_ref();
    let sidecar = Process::sidecar(binary, folder.path(), Transport::Unix, &store).await;
    sell(&sidecar.admin, APP).await?;
    let client = sidecar.address.quota().await?;
    let begun = Instant::now();
    for (index, users) in users("user", count).chunks(BATCH).enumerate() {
        fill(&client, &format!("group-{index:05}"), users).await;
    }
    let filled = begun.elapsed();
    sidecar.end(Duration::from_secs(60));
    let bytes = std::fs::metadata(folder.path().join("store/imquota.redb")).expect("it is there");
    let again = Process::sidecar(binary, folder.path(), Transport::Unix, &store).await;
    println!("\nusers: {count}, each with an account and a group, filled in {filled:.1?}");
    println!("file: {} bytes per user", bytes.len() / count as u64);
    println!("start to the first answered call: {:.0?}", again.start);
    println!("resident memory after it: {:.1} MB", again.resident_mb());
    Ok(())
}

/// Creates accounts for some users, and a group with them.
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
        answer.expect("a decision");
    }
    create(client, group).await;
    join_all(client, group, users.to_vec()).await;
}
