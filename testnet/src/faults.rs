pub mod fabricated;
pub mod history;
pub mod judge;
