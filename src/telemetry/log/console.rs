//! Lines as etcd writes them for people.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::record::{Record, caller, level, now};

/// Columns with tabs between them: moment, level, place, message, fields as JSON.
pub(super) struct Console;

impl<S, N> FormatEvent<S, N> for Console
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (metadata, record) = (event.metadata(), Record::of(event));
        let (level, now) = (level(*metadata.level()), now());
        let (place, message) = (caller(metadata), record.message);
        write!(writer, "{now}\t{level}\t{place}\t{message}")?;
        if let Some(fields) = record.fields.strip_prefix(',') {
            write!(writer, "\t{{{fields}}}")?;
        }
        writeln!(writer)
    }
}
