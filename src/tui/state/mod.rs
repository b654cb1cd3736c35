//! What the screen knows and what the user chose, without how it is drawn: imports nothing of `tabs`, `keys` and `draw`.

pub(crate) mod activity;
pub(crate) mod call_tree;
pub(crate) mod choices;
pub(crate) mod detail;
pub(crate) mod flame;
pub(crate) mod history;
pub(crate) mod hit_areas;
pub(crate) mod shown;
pub(crate) mod sparkline;
pub(crate) mod table;
