//! What readers ask for, checked.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    proto::registry::{ListServicesRequest, ResolveRequest, Selector as Wanted, WatchRequest},
    registry::{At, Error, Name, Page, Scope, Selector, ServiceName},
    types::{
        Revision,
        limits::{
            INSTANCE_METADATA_MAX, INSTANCE_METADATA_NAME_LEN_MAX,
            INSTANCE_METADATA_VALUE_BYTES_MAX, INSTANCE_TAGS_MAX, INSTANCE_TEXT_LEN_MAX,
            SERVICES_PER_PAGE_DEFAULT, SERVICES_PER_PAGE_MAX,
        },
    },
};

use super::{convert, pages};

/// Instances of a service.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resolve {
    pub(super) service: ServiceName,
    pub(super) selector: Selector,
    pub(super) at: At,
}

/// The service and the instances of it that a request is about.
pub(super) fn resolve(request: ResolveRequest) -> Result<Resolve, Error> {
    let service = convert::service_name(&request.namespace, &request.service)?;
    let Wanted { tags, version, zone, metadata } = request.selector.unwrap_or_default();
    let selector = Selector {
        tags: self::tags(tags)?,
        version: text("selector.version", version)?,
        zone: text("selector.zone", zone)?,
        metadata: self::metadata(metadata)?,
        prefer_zone: text("prefer_zone", request.prefer_zone)?,
        limit: match request.limit {
            0 => None,
            limit => Some(usize::try_from(limit).unwrap_or(usize::MAX)),
        },
        include_disabled: request.include_disabled,
    };
    let at = match revision(request.revision)? {
        Some(revision) => At::Revision(revision),
        None => now(request.linearizable),
    };
    Ok(Resolve { service, selector, at })
}

/// The page of services that a request is about, and when it is to be true.
pub(super) fn list(request: &ListServicesRequest) -> Result<(Page, At), Error> {
    let namespace = convert::optional("namespace", &request.namespace)?;
    if !request.prefix.is_empty() && Name::new(&request.prefix).is_none() {
        return Err(Error::invalid("prefix", "no name begins so"));
    }
    let size = match usize::try_from(request.page_size) {
        Ok(0) => SERVICES_PER_PAGE_DEFAULT,
        Ok(size) if size <= SERVICES_PER_PAGE_MAX => size,
        Ok(_) | Err(_) => {
            let size = request.page_size;
            let complaint = format!("{size} is not between 0 and {SERVICES_PER_PAGE_MAX}");
            return Err(Error::invalid("page_size", complaint));
        }
    };
    let (after, at) = match request.page_token.as_str() {
        "" => (None, now(request.linearizable)),
        token => {
            let (revision, after) = pages::read(token, &request.namespace, &request.prefix)
                .ok_or_else(|| Error::invalid("page_token", "it is not from a page before"))?;
            (Some(after), At::Revision(revision))
        }
    };
    Ok((Page { namespace, prefix: request.prefix.clone(), after, size }, at))
}

/// What is to be watched, and after which revision.
pub(super) fn watch(request: &WatchRequest) -> Result<(Scope, Option<Revision>), Error> {
    let scope = scope(&request.namespace, &request.service)?;
    Ok((scope, revision(request.revision)?))
}

/// A service, a namespace or everything. A service is in the default namespace unless it is said.
pub(in crate::api) fn scope(namespace: &str, service: &str) -> Result<Scope, Error> {
    if !service.is_empty() {
        return convert::service_name(namespace, service).map(Scope::Service);
    }
    let namespace = convert::optional("namespace", namespace)?;
    Ok(namespace.map_or(Scope::All, Scope::Namespace))
}

fn now(linearizable: bool) -> At {
    if linearizable { At::Linearizable } else { At::Here }
}

fn revision(number: i64) -> Result<Option<Revision>, Error> {
    match number {
        0 => Ok(None),
        1.. => Ok(Some(Revision(number))),
        ..0 => Err(Error::invalid("revision", format!("{number} is negative"))),
    }
}

/// A text that matters if it is not empty.
fn text(field: &str, text: String) -> Result<Option<String>, Error> {
    if text.chars().count() > INSTANCE_TEXT_LEN_MAX {
        return Err(Error::invalid(
            field,
            format!("longer than {INSTANCE_TEXT_LEN_MAX} characters"),
        ));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn tags(tags: Vec<String>) -> Result<BTreeSet<String>, Error> {
    const FIELD: &str = "selector.tags";
    if tags.len() > INSTANCE_TAGS_MAX {
        return Err(Error::invalid(FIELD, format!("more than {INSTANCE_TAGS_MAX}")));
    }
    let empty = || Error::invalid(FIELD, "one is empty");
    tags.into_iter().map(|tag| text(FIELD, tag)?.ok_or_else(empty)).collect()
}

fn metadata(metadata: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Error> {
    const FIELD: &str = "selector.metadata";
    let complaint = if metadata.len() > INSTANCE_METADATA_MAX {
        format!("more than {INSTANCE_METADATA_MAX} entries")
    } else if metadata.keys().any(String::is_empty) {
        "a name is empty".to_owned()
    } else if metadata.keys().any(|name| name.chars().count() > INSTANCE_METADATA_NAME_LEN_MAX) {
        format!("a name is longer than {INSTANCE_METADATA_NAME_LEN_MAX} characters")
    } else if metadata.values().any(|value| value.len() > INSTANCE_METADATA_VALUE_BYTES_MAX) {
        format!("a value is longer than {INSTANCE_METADATA_VALUE_BYTES_MAX} bytes")
    } else {
        return Ok(metadata);
    };
    Err(Error::invalid(FIELD, complaint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(change: impl FnOnce(&mut ResolveRequest)) -> ResolveRequest {
        let mut request =
            ResolveRequest { service: "user".to_owned(), ..ResolveRequest::default() };
        change(&mut request);
        request
    }

    fn selecting(change: impl FnOnce(&mut Wanted)) -> ResolveRequest {
        let mut selector = Wanted::default();
        change(&mut selector);
        user(|it| it.selector = Some(selector))
    }

    fn listing(change: impl FnOnce(&mut ListServicesRequest)) -> ListServicesRequest {
        let mut request = ListServicesRequest::default();
        change(&mut request);
        request
    }

    /// What a message begins with that says what is wrong.
    fn field<T>(checked: Result<T, Error>) -> String {
        match checked {
            Err(error @ Error::Invalid(..)) => {
                error.to_string().split(": ").next().unwrap().to_owned()
            }
            Err(error) => panic!("{error}"),
            Ok(_) => "nothing".to_owned(),
        }
    }

    /// Each field of a request that can be wrong is named.
    #[test]
    fn what_is_wrong_is_named() {
        let long = || "x".repeat(INSTANCE_TEXT_LEN_MAX + 1);
        let many = |count: usize| (0..count).map(|n| n.to_string());
        let pairs = |count| many(count).map(|it| (it.clone(), it)).collect();
        let pair = |name: String, value: String| BTreeMap::from([(name, value)]);
        for (expected, request) in [
            ("nothing", user(|_| {})),
            ("service", user(|it| it.service.clear())),
            ("service", user(|it| it.service = "a/b".to_owned())),
            ("service", user(|it| it.service = long())),
            ("namespace", user(|it| it.namespace = "a b".to_owned())),
            ("prefer_zone", user(|it| it.prefer_zone = long())),
            ("revision", user(|it| it.revision = -1)),
            ("selector.tags", selecting(|it| it.tags = many(65).collect())),
            ("selector.tags", selecting(|it| it.tags = vec![String::new()])),
            ("selector.tags", selecting(|it| it.tags = vec![long()])),
            ("selector.version", selecting(|it| it.version = long())),
            ("selector.zone", selecting(|it| it.zone = long())),
            ("selector.metadata", selecting(|it| it.metadata = pairs(65))),
            ("selector.metadata", selecting(|it| it.metadata = pair(String::new(), long()))),
            ("selector.metadata", selecting(|it| it.metadata = pair(long(), String::new()))),
            ("selector.metadata", selecting(|it| it.metadata = pair("k".into(), "x".repeat(4097)))),
            ("nothing", selecting(|it| it.metadata = pair("k".into(), "x".repeat(4096)))),
            ("nothing", selecting(|it| it.tags = many(64).collect())),
        ] {
            assert_eq!(field(resolve(request.clone())), expected, "{request:?}");
        }
        for (expected, request) in [
            ("nothing", listing(|_| {})),
            ("nothing", listing(|it| it.page_size = 1_000)),
            ("namespace", listing(|it| it.namespace = "*".to_owned())),
            ("prefix", listing(|it| it.prefix = "a/".to_owned())),
            ("page_size", listing(|it| it.page_size = -1)),
            ("page_size", listing(|it| it.page_size = 1_001)),
            ("page_token", listing(|it| it.page_token = "x".to_owned())),
        ] {
            assert_eq!(field(list(&request)), expected, "{request:?}");
        }
        let watching = |namespace: &str, service: &str, revision| {
            let [namespace, service] = [namespace, service].map(str::to_owned);
            watch(&WatchRequest { namespace, service, revision })
        };
        assert_eq!(field(watching("a/", "", 0)), "namespace");
        assert_eq!(field(watching("", "a/", 0)), "service");
        assert_eq!(field(watching("", "", -7)), "revision");
        assert_eq!(field(watching("", "", 7)), "nothing");
    }

    /// What is left out has its default.
    #[test]
    fn defaults_are_filled_in() {
        let expected = Resolve {
            service: ServiceName {
                namespace: Name::default_namespace(),
                service: Name::new("user").unwrap(),
            },
            selector: Selector::default(),
            at: At::Here,
        };
        assert_eq!(resolve(user(|_| {})).unwrap(), expected);
        assert_eq!(resolve(user(|it| it.linearizable = true)).unwrap().at, At::Linearizable);
        let at = resolve(user(|it| (it.linearizable, it.revision) = (true, 7))).unwrap().at;
        assert_eq!(at, At::Revision(Revision(7)));

        let (page, at) = list(&listing(|_| {})).unwrap();
        assert_eq!((page.namespace, page.size, at), (None, 100, At::Here));

        assert_eq!(scope("", "").unwrap(), Scope::All);
        assert_eq!(scope("a", "").unwrap(), Scope::Namespace(Name::new("a").unwrap()));
        assert_eq!(scope("", "user").unwrap(), Scope::Service(expected.service));
    }
}
