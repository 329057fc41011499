//! The cost of a join with a hold, and of its confirmation, beside that of a join without.

use imquota::grpc::pb;

use super::growth::{APP, Cost, Site, create, join, users};
use super::shared::Spread;

/// How long the holds live: longer than the run.
const HOLD_SECONDS: u32 = 3600;

/// Measures all rows in alternating rounds, and prints them.
pub async fn run(quick: bool) -> Result<(), String> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let site = Site::open(env!("CARGO_BIN_EXE_imquota").as_ref(), folder.path()).await?;
    let (rounds, joins) = if quick { (2, 8) } else { (15, 64) };
    let mut rows = ["join", "join with a hold", "ConfirmHold"].map(|name| (name, Vec::new()));
    for round in 0..rounds {
        let group = format!("round-{round:03}");
        create(&site.client, &group).await;
        let of = |name: &str| {
            let users = users(&format!("{name}-{round}"), joins).into_iter();
            users.map(|user| join(group.clone(), vec![user])).collect::<Vec<_>>()
        };
        let held = of("held").into_iter().map(|join| pb::JoinGroupRequest {
            hold_seconds: Some(HOLD_SECONDS),
            operation_id: join.user_ids[0].clone(),
            ..join
        });
        let held: Vec<_> = held.collect();
        let ids: Vec<_> = held.iter().map(|join| join.operation_id.clone()).collect();
        rows[0].1.push(site.cost(of("plain")).await);
        rows[1].1.push(site.cost(held).await);
        rows[2].1.push(site.cost_of(ids.into_iter().map(|id| confirm(&site, id))).await);
    }
    print(&rows);
    Ok(())
}

async fn confirm(site: &Site, operation_id: String) {
    let request = pb::ConfirmHoldRequest {
        app_id: APP.to_owned(),
        operation_id,
        relation: pb::HoldRelation::Groups.into(),
        ..Default::default()
    };
    site.client.clone().confirm_hold(request).await.expect("it is held");
}

fn print(rows: &[(&str, Vec<Cost>)]) {
    println!("\n| | scripts, us | ratio to a join | p50, us | ratio to a join |");
    println!("|---|---:|---:|---:|---:|");
    let (_, plain) = &rows[0];
    for (name, costs) in rows {
        let columns = [|cost: &Cost| cost.script_us, |cost: &Cost| cost.p50_us].map(|of| {
            let own = Spread::of(costs.iter().map(of));
            let ratio = Spread::of(costs.iter().zip(plain).map(|(own, base)| of(own) / of(base)));
            format!("{own:.0} | {ratio:.2}")
        });
        println!("| {name} | {} |", columns.join(" | "));
    }
}
