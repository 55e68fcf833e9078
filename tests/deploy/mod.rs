//! What is shipped beside the program: the unit file and the dashboards, checked as those who use them would.

pub mod dashboard;
pub mod promql;
mod systemd;
