//! Output of `imquota admin activate-catalog`.

use super::Report;
use super::table::{Cell, Style, Table};
use crate::grpc::pb::ActivateCatalogResponse;

impl Report for ActivateCatalogResponse {
    const NAME: &'static str = "ActivateCatalogResponse";

    fn text(&self, style: Style) -> String {
        let mut table = Table::new(["CATALOG", "IN FORCE SINCE", "CONTENT"]);
        table.row([
            Cell::new(self.version.clone()),
            Cell::new(style.instant(self.in_force_since.as_ref())),
            Cell::new(self.content_hash.clone()),
        ]);
        table.render(style)
    }
}
