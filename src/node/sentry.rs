//! [`Sentry`]: a view that stops its member when what it reads is damaged.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    node::{
        ports::OwnedView,
        shared::{Shared, Stop},
    },
    state::{Cursor, Direction, Family, View},
    types::Fault,
};

/// A view for readers outside of the node. A fault that one of them meets is that of the member:
/// the reader is told, and the member stops before it answers others from the same data.
pub(super) struct Sentry {
    view: OwnedView,
    shared: Arc<Shared>,
}

impl Sentry {
    pub(super) fn new(view: OwnedView, shared: Arc<Shared>) -> Self {
        Self { view, shared }
    }

    fn watch<T>(&self, read: Result<T, Fault>) -> Result<T, Fault> {
        read.inspect_err(|fault| self.shared.stop(Stop::Fault(fault.clone())))
    }
}

impl View for Sentry {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.watch(self.view.get(family, key))
    }

    fn cursor<'a>(
        &'a self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + 'a>, Fault> {
        let cursor = self.watch(self.view.cursor(family, start, end))?;
        Ok(Box::new(Watched { cursor, sentry: self }))
    }
}

struct Watched<'a> {
    cursor: Box<dyn Cursor + 'a>,
    sentry: &'a Sentry,
}

impl Cursor for Watched<'_> {
    fn begin(&mut self, direction: Direction) -> Result<(), Fault> {
        self.sentry.watch(self.cursor.begin(direction))
    }

    fn seek(&mut self, key: &[u8], direction: Direction) -> Result<(), Fault> {
        self.sentry.watch(self.cursor.seek(key, direction))
    }

    fn step(&mut self) -> Result<(), Fault> {
        self.sentry.watch(self.cursor.step())
    }

    fn item(&self) -> Option<(&[u8], &[u8])> {
        self.cursor.item()
    }
}
