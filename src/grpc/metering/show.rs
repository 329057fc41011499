//! Statements as messages.

use crate::directory::statement::HashedStatement;
use crate::domain::billing::{Item, Line, Statement, StatementDay};
use crate::grpc::pb;
use crate::proto::{currency, timestamp};

/// Converts a statement with its hash.
pub fn statement(sealed: HashedStatement) -> pb::Statement {
    let HashedStatement { statement, hash, .. } = sealed;
    let Statement { app, month, is_final, computed_at, final_at, .. } = statement;
    pb::Statement {
        app_id: app.to_string(),
        month: month.to_string(),
        r#final: is_final,
        computed_at: Some(timestamp(computed_at)),
        final_at: Some(timestamp(final_at)),
        catalog_version: statement.catalog_version,
        lines: statement.lines.into_iter().map(line).collect(),
        total_fen: statement.total_fen,
        days: statement.days.into_iter().map(day).collect(),
        hash,
        currency: Some(currency(statement.currency)),
    }
}

fn line(line: Line) -> pb::StatementLine {
    let item = match line.item {
        Item::Edition => pb::StatementItem::Edition,
        Item::AddOn => pb::StatementItem::AddOn,
        Item::AgreedLimit => pb::StatementItem::AgreedLimit,
        Item::Refund => pb::StatementItem::Refund,
        Item::Dau => pb::StatementItem::Dau,
        Item::MessageHistory => pb::StatementItem::MessageHistory,
        Item::Groups => pb::StatementItem::Groups,
        Item::Bandwidth => pb::StatementItem::Bandwidth,
        Item::Meter => pb::StatementItem::Meter,
    };
    let input = |(name, value)| pb::StatementInput { name, value };
    pb::StatementLine {
        item: item.into(),
        item_id: line.item_id,
        description: line.description,
        inputs: line.inputs.into_iter().map(input).collect(),
        formula: line.formula,
        quantity: line.quantity,
        unit_price_fen: line.unit_price_fen,
        amount_fen: line.amount_fen,
        unit_price: line.unit_price.map(|price| price.to_string()),
    }
}

fn day(day: StatementDay) -> pb::StatementDay {
    let StatementDay { figures, charged } = day;
    let bandwidth = figures.bandwidth.iter();
    pb::StatementDay {
        day: figures.day.to_string(),
        dau: figures.dau,
        groups_peak: figures.groups_peak,
        groups_net_new: figures.groups_net_new,
        bandwidth: bandwidth
            .map(|(region, kbps)| pb::RegionPeak { region: region.to_string(), kbps: *kbps })
            .collect(),
        charged,
        gauges: figures
            .gauges
            .iter()
            .map(|(gauge, value)| pb::GaugePeak { gauge: gauge.to_string(), value: *value })
            .collect(),
    }
}
