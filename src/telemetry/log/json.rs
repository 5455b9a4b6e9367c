//! Lines as etcd writes them for programs.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::record::{Record, caller, level, now, quote};

/// One JSON object a line.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
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
        let (mut place, mut message) = (String::new(), String::new());
        quote(&mut place, &caller(metadata));
        quote(&mut message, &record.message);
        let (level, now) = (level(*metadata.level()), now());
        writeln!(
            writer,
            r#"{{"level":"{level}","ts":"{now}","caller":{place},"msg":{message}{}}}"#,
            record.fields
        )
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use serde_json::Value;
    use tracing::{error, info, subscriber::with_default, trace};
    use tracing_subscriber::{Registry, fmt as lines, layer::SubscriberExt};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged meanwhile, a value a line.
    fn logged(events: impl FnOnce()) -> Vec<Value> {
        let written = Written::default();
        let writer = written.clone();
        let layer = lines::layer().event_format(Json).with_writer(move || writer.clone());
        with_default(Registry::default().with(layer), events);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A line begins with the four keys of etcd's, in its order and form.
    #[test]
    fn a_line_has_etcds_keys() {
        let written = Written::default();
        let writer = written.clone();
        let layer = lines::layer().event_format(Json).with_writer(move || writer.clone());
        with_default(Registry::default().with(layer), || info!(took_ms = 7, "done"));

        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let rest = text.strip_prefix(r#"{"level":"info","ts":"20"#).unwrap();
        let (moment, rest) = rest.split_once('"').unwrap();
        assert_eq!(moment.len(), "26-01-02T15:04:05.000000Z".len(), "{text}");
        assert!(moment.ends_with('Z'), "{text}");
        let rest = rest.strip_prefix(r#","caller":"log/json.rs:"#).unwrap();
        assert!(rest.ends_with("\",\"msg\":\"done\",\"took_ms\":7}\n"), "{text}");
    }

    /// Numbers stay numbers, and whatever a text holds, the line is JSON.
    #[test]
    fn values_keep_their_kind_and_are_json() {
        let bad = "a\"b\\c\nd\te\u{0}f\u{7f}\u{85}g\u{2028}";
        let lines = logged(|| {
            error!(n = 1_u64, i = -1, f = 0.5, nan = f64::NAN, yes = true, bad, "x {}", "y\n");
            trace!(level = "mine", bytes = ?b"\xff\0", shown = %12, "");
        });

        assert_eq!(lines.len(), 2, "{lines:?}");
        let line = &lines[0];
        assert_eq!((line["level"].as_str(), line["msg"].as_str()), (Some("error"), Some("x y\n")));
        assert_eq!((line["n"].as_u64(), line["i"].as_i64()), (Some(1), Some(-1)));
        assert_eq!((line["f"].as_f64(), line["nan"].as_str()), (Some(0.5), Some("NaN")));
        assert_eq!((line["yes"].as_bool(), line["bad"].as_str()), (Some(true), Some(bad)));
        let line = &lines[1];
        assert_eq!(
            (line["level"].as_str(), line["_level"].as_str()),
            (Some("debug"), Some("mine"))
        );
        assert_eq!(
            (line["bytes"].as_str(), line["shown"].as_str()),
            (Some("[255, 0]"), Some("12"))
        );
    }
}
