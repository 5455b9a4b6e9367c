//! [`SimIdentity`]: the identity of a member in memory. What is written to it is durable at once.

use std::sync::{Mutex, MutexGuard};

use crate::{
    node::ports::FenceStore,
    types::{BootNumber, Fault, Incarnation},
};

/// What a member keeps beside its log and its state.
#[derive(Debug)]
pub struct SimIdentity {
    kept: Mutex<Kept>,
    /// Whether it does not remember that the member lost something; only when that is planted.
    is_careless: bool,
}

/// What an identity says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// How often the member was started.
    pub boot: BootNumber,
    /// In which life it is.
    pub incarnation: Incarnation,
    /// Whether it lost something and is not whole since.
    pub fenced: bool,
}

impl SimIdentity {
    /// The identity of a member that never ran.
    #[must_use]
    pub fn new(is_careless: bool) -> Self {
        let incarnation = Incarnation(0).next(0);
        let kept = Kept { boot: BootNumber(0), incarnation, fenced: false };
        Self { kept: Mutex::new(kept), is_careless }
    }

    /// What it says now.
    #[must_use]
    pub fn found(&self) -> Kept {
        *self.lock()
    }

    /// Counts a start, of this number.
    pub fn count_start(&self, boot: BootNumber) -> BootNumber {
        let mut kept = self.lock();
        assert!(kept.boot < boot, "start {boot} comes after {}", kept.boot);
        kept.boot = boot;
        boot
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("one thread simulates, and it does not go on after a panic")
    }
}

impl FenceStore for SimIdentity {
    fn raise(&self, above: Incarnation) -> Result<Incarnation, Fault> {
        let mut kept = self.lock();
        if !self.is_careless {
            let boot = u32::try_from(kept.boot.0).unwrap_or_default();
            kept.incarnation = kept.incarnation.max(above).next(boot);
            kept.fenced = true;
        }
        Ok(kept.incarnation)
    }

    fn lift(&self) -> Result<(), Fault> {
        self.lock().fenced = false;
        Ok(())
    }
}
