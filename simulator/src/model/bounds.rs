/// How much of each may happen in one history: what makes the world finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    pub ticks: u8,
    pub pulls: u8,
    pub pushes: u8,
    /// Requests sent, for the first time or again.
    pub asks: u8,
    /// Receipts sent again.
    pub receipts: u8,
    /// Faults of any kind.
    pub faults: u8,
    /// Most messages on their way at once.
    pub flights: u8,
}

impl Bounds {
    /// For long runs: one more pull, request and fault in every history.
    #[must_use]
    pub fn wider(self) -> Self {
        let Self { pulls, asks, faults, .. } = self;
        Self { pulls: pulls + 1, asks: asks + 1, faults: faults + 1, ..self }
    }
}
