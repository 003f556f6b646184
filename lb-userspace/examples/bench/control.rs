//! What is not about packets.

use anyhow::Result;

/// A time that has a budget.
#[derive(Debug)]
pub(crate) struct ControlTime {
    /// What was timed, as in xtask's list of budgets.
    pub(crate) name: &'static str,
    pub(crate) seconds: f64,
}

/// Times of the control plane.
pub(crate) fn control_plane() -> Result<Vec<ControlTime>> {
    Ok(Vec::new())
}
