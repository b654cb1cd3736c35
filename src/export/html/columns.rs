//! What the page knows of the columns of its tables.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::columns::{ColumnFormat, PAGE_TABLES, TableColumn};

#[derive(Debug, Serialize)]
pub(super) struct PageColumn {
    title: String,
    help: &'static str,
    format: ColumnFormat,
}

/// By table, and by the keys of the columns.
pub(super) type PageColumns = BTreeMap<&'static str, BTreeMap<&'static str, PageColumn>>;

pub(super) fn page_columns() -> PageColumns {
    let column = |column: &TableColumn| {
        let named = PageColumn { title: column.heading_line(), help: column.help, format: column.format };
        (column.key, named)
    };
    PAGE_TABLES.iter().map(|(table, columns)| (*table, columns.iter().map(column).collect())).collect()
}
