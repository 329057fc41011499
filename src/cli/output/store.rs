//! The store that holds the facts, and its acceptance after a loss.

use super::Report;
use super::table::{Cell, Style, Table};
use crate::grpc::pb::{AcceptStoreResponse, GetStoreStateResponse, ListSetAsideOperationsResponse};

impl Report for GetStoreStateResponse {
    const NAME: &'static str = "GetStoreStateResponse";

    fn text(&self, style: Style) -> String {
        if self.store_id.is_empty() {
            return "the store is embedded\n".to_owned();
        }
        let facts = match &self.loss {
            None => "present".to_owned(),
            Some(loss) => {
                format!("lost since {}: {}", style.instant(loss.since.as_ref()), loss.reason)
            }
        };
        let mut table = Table::new(["STORE", "GENERATION", "FACTS", "SET ASIDE"]);
        table.row([
            Cell::new(&self.store_id),
            Cell::new(&self.generation),
            Cell::new(facts),
            Cell::number(self.set_aside_operations.to_string()),
        ]);
        table.render(style)
    }
}

impl Report for AcceptStoreResponse {
    const NAME: &'static str = "AcceptStoreResponse";

    fn text(&self, style: Style) -> String {
        let mut table = Table::new(["STORE", "GENERATION", "REPLACES", "SET ASIDE"]);
        table.row([
            Cell::new(&self.store_id),
            Cell::new(&self.generation),
            Cell::number(self.previous_generations.len().to_string()),
            Cell::number(self.set_aside_operations.to_string()),
        ]);
        table.render(style)
            + "every sidecar continues with the facts that are left; now register the missing \
               apps, and import the facts of each: imquota reconcile --app APP --groups FILE \
               --friends FILE --accounts FILE --import\n"
    }
}

impl Report for ListSetAsideOperationsResponse {
    const NAME: &'static str = "ListSetAsideOperationsResponse";

    fn text(&self, style: Style) -> String {
        if self.operations.is_empty() {
            return "no operations are set aside\n".to_owned();
        }
        let mut table = Table::new(["NUMBER", "ACCEPTED", "APP", "OPERATION", "DETAIL"]);
        for operation in &self.operations {
            table.row([
                Cell::number(operation.number.to_string()),
                Cell::new(style.instant(operation.accepted_at.as_ref())),
                Cell::new(&operation.app_id),
                Cell::new(&operation.operation),
                Cell::new(&operation.detail),
            ]);
        }
        table.render(style)
    }
}
