//! What other programs leave for us where no door of ours is: taken in without being asked, each entry once, whatever dies meanwhile.

pub mod apalis;
pub mod inbox;
