//! `/livez` and `/readyz`: should the member be restarted, should it be sent requests?
//!
//! Each is a list of checks. Lack of space is in neither: such a member still serves reads and
//! deletes, and a restart would not help it.

use std::{fmt::Write, sync::Arc};

use axum::{
    extract::{Path, State},
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

use super::{Pages, Vitals, no_page, query::Query, refuse_unless_get};
use crate::{api::convert, state::AlarmKind};

/// One thing to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

/// A page, and what it looks at.
struct Page {
    name: &'static str,
    checks: &'static [Check],
}

const LIVEZ: Page = Page { name: "livez", checks: &[Check::SerializableRead] };
const READYZ: Page = Page {
    name: "readyz",
    checks: &[
        Check::DataCorruption,
        Check::SerializableRead,
        Check::LinearizableRead,
        Check::NonLearner,
    ],
};

impl Check {
    const fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }

    async fn run(self, pages: &Pages<impl Vitals>) -> Result<(), String> {
        let vitals = &pages.vitals;
        match self {
            Self::DataCorruption => {
                let corrupt = AlarmKind::Corrupt;
                if vitals.alarms()?.iter().any(|alarm| alarm.kind == corrupt) {
                    let name = convert::maintenance::alarm_name(corrupt);
                    return Err(format!("alarm activated: {name}"));
                }
                Ok(())
            }
            Self::SerializableRead => vitals.read(false).await,
            Self::LinearizableRead => vitals.read(true).await,
            Self::NonLearner => {
                if !pages.learner_is_ready && vitals.is_learner()? {
                    return Err("not supported for learner".to_owned());
                }
                Ok(())
            }
        }
    }
}

type Asked<V> = (State<Arc<Pages<V>>>, Method, Uri);

/// Whether the member lives.
pub(super) async fn livez<V: Vitals>((state, method, uri): Asked<V>) -> Response {
    all(&LIVEZ, &state, &method, &uri).await
}

/// Whether the member is ready for requests.
pub(super) async fn readyz<V: Vitals>((state, method, uri): Asked<V>) -> Response {
    all(&READYZ, &state, &method, &uri).await
}

/// One of the checks of [`livez`].
pub(super) async fn livez_one<V: Vitals>(
    name: Path<String>,
    (state, method, uri): Asked<V>,
) -> Response {
    one(&LIVEZ, &name, &state, &method, &uri).await
}

/// One of the checks of [`readyz`].
pub(super) async fn readyz_one<V: Vitals>(
    name: Path<String>,
    (state, method, uri): Asked<V>,
) -> Response {
    one(&READYZ, &name, &state, &method, &uri).await
}

async fn all<V: Vitals>(page: &Page, pages: &Pages<V>, method: &Method, uri: &Uri) -> Response {
    let query = Query::parse(uri.query());
    let checks = page.checks.iter().copied();
    let checks = checks.filter(|check| !query.exclude.contains(check.name()));
    report(page.name, checks, pages, method, &query).await
}

async fn one<V: Vitals>(
    page: &Page,
    name: &str,
    pages: &Pages<V>,
    method: &Method,
    uri: &Uri,
) -> Response {
    match page.checks.iter().copied().find(|check| check.name() == name) {
        Some(check) => {
            let query = Query::parse(uri.query());
            report(page.name, [check].into_iter(), pages, method, &query).await
        }
        None => no_page(),
    }
}

async fn report<V: Vitals>(
    page: &'static str,
    checks: impl Iterator<Item = Check> + Send,
    pages: &Pages<V>,
    method: &Method,
    query: &Query<'_>,
) -> Response {
    if let Some(refusal) = refuse_unless_get(method) {
        return refusal;
    }
    let (mut lines, mut well) = (String::new(), true);
    for check in checks {
        let name = check.name();
        let made = check.run(pages).await;
        pages.metrics.probes.checked(page, name, made.is_ok());
        // Writing to a string cannot fail.
        let _ = match made {
            Ok(()) => writeln!(lines, "[+]{name} ok"),
            Err(error) => {
                well = false;
                writeln!(lines, "[-]{name} failed: {error}")
            }
        };
    }
    let head = [(header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    if !well {
        // An empty line ends it, as it does in etcd.
        return (StatusCode::SERVICE_UNAVAILABLE, head, lines + "\n").into_response();
    }
    if !query.verbose {
        lines.clear();
    }
    (head, lines + "ok\n").into_response()
}
