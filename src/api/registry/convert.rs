//! The registry's messages to domain values and back: where their fields are checked.
//!
//! A complaint begins with the name of the field, as in `instance.port: ...`.

use std::{collections::BTreeMap, net::Ipv6Addr};

use crate::{
    proto::registry::{
        DeregisterInSession, DeregisterRequest, Instance as InstanceMessage, OpenSession,
        RegisterInSession, RegisterRequest, SetOverrideRequest,
    },
    registry::{
        Error, Instance, InstanceName, Name, Opening, Registration, ServiceName, Target, Whose,
        instance::WEIGHT_DEFAULT, records::Override,
    },
    types::{
        LeaseId, Revision, Seconds,
        limits::{
            INSTANCE_BYTES_MAX, INSTANCE_METADATA_MAX, INSTANCE_METADATA_NAME_LEN_MAX,
            INSTANCE_METADATA_VALUE_BYTES_MAX, INSTANCE_PORTS_MAX, INSTANCE_TAGS_MAX,
            INSTANCE_TEXT_LEN_MAX, REGISTRATION_TTL_MAX,
        },
    },
};

/// What a Deregister is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// One instance, if it is the one that is meant.
    Instance(InstanceName, Whose),
    /// All of a session.
    Session(Name),
}

/// What the member knows of a registration beside what its request says.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The client's address.
    pub owner: String,
    /// The time, in RFC 3339.
    pub now: String,
}

/// A registration.
pub fn registration(request: RegisterRequest, known: Known) -> Result<Registration, Error> {
    let RegisterRequest { instance, session_id, lease_id, ttl, takeover } = request;
    let session = optional("session_id", &session_id)?;
    let target = match (session, LeaseId(lease_id)) {
        (None, LeaseId(0)) => Target::Granted,
        (None, lease) => Target::Lease(lease),
        (Some(session), LeaseId(0)) => Target::Session(session),
        (Some(_), _) => {
            return Err(Error::invalid("lease_id", "a session has a lease of its own"));
        }
    };
    let ttl = time_to_live(ttl)?;
    let instance = self::instance(instance, known.now)?;
    Ok(Registration { instance, target, ttl, takeover, owner: known.owner })
}

/// A registration in a session that is open.
pub fn in_session(
    request: RegisterInSession,
    session: Name,
    known: Known,
) -> Result<Registration, Error> {
    let RegisterInSession { instance, takeover } = request;
    let instance = self::instance(instance, known.now)?;
    let target = Target::Session(session);
    Ok(Registration { instance, target, ttl: None, takeover, owner: known.owner })
}

/// A session that is to be opened, with a name that is made when it has none.
pub fn opening(
    request: &OpenSession,
    owner: String,
    new_name: impl FnOnce() -> Name,
) -> Result<Opening, Error> {
    let OpenSession { session_id, ttl, lease_id } = request;
    let session = optional("session_id", session_id)?.unwrap_or_else(new_name);
    let lease = Some(LeaseId(*lease_id)).filter(|lease| *lease != LeaseId(0));
    Ok(Opening { session, ttl: time_to_live(*ttl)?, lease, owner })
}

/// What to remove.
pub fn removal(request: &DeregisterRequest) -> Result<Removal, Error> {
    let DeregisterRequest { namespace, service, id, session_id, lease_id, create_revision } =
        request;
    let session = optional("session_id", session_id)?;
    let lease = Some(LeaseId(*lease_id)).filter(|lease| *lease != LeaseId(0));
    let created = created(*create_revision)?;
    match session {
        Some(session) if namespace.is_empty() && service.is_empty() && id.is_empty() => {
            let of_an_instance = |field| Err(Error::invalid(field, "it is that of an instance"));
            match (lease, created) {
                (None, None) => Ok(Removal::Session(session)),
                (Some(_), _) => of_an_instance("lease_id"),
                (None, Some(_)) => of_an_instance("create_revision"),
            }
        }
        session => {
            let name = instance_name(namespace, service, id)?;
            Ok(Removal::Instance(name, Whose { session, lease, created }))
        }
    }
}

/// What to remove in a session.
pub fn removal_in_session(
    request: &DeregisterInSession,
    session: Name,
) -> Result<(InstanceName, Whose), Error> {
    let DeregisterInSession { namespace, service, id, create_revision } = request;
    let name = instance_name(namespace, service, id)?;
    let created = created(*create_revision)?;
    Ok((name, Whose { session: Some(session), lease: None, created }))
}

/// The revision that created an instance, if it matters.
fn created(number: i64) -> Result<Option<Revision>, Error> {
    match number {
        0 => Ok(None),
        1.. => Ok(Some(Revision(number))),
        ..0 => Err(Error::invalid("create_revision", format!("{number} is negative"))),
    }
}

/// What an operator says of which instance.
pub fn overriding(request: &SetOverrideRequest) -> Result<(InstanceName, Override), Error> {
    let SetOverrideRequest { namespace, service, id, enabled, weight } = request;
    let name = instance_name(namespace, service, id)?;
    let weight = weight.map(|weight| self::weight("weight", weight)).transpose()?;
    if enabled.is_none() && weight.is_none() {
        return Err(Error::invalid("enabled", "neither it nor a weight is given"));
    }
    Ok((name, Override { enabled: *enabled, weight }))
}

/// An instance that is named; the default namespace is left out.
pub fn instance_name(namespace: &str, service: &str, id: &str) -> Result<InstanceName, Error> {
    let service = service_name(namespace, service)?;
    Ok(InstanceName { service, id: name("id", id)? })
}

/// A service that is named; the default namespace is left out.
pub fn service_name(namespace: &str, service: &str) -> Result<ServiceName, Error> {
    let namespace = optional("namespace", namespace)?.unwrap_or_else(Name::default_namespace);
    Ok(ServiceName { namespace, service: name("service", service)? })
}

/// A name, or the complaint about it.
pub fn name(field: &str, text: &str) -> Result<Name, Error> {
    Name::new(text).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        let rule = "a name has 1 to 253 characters of A-Z a-z 0-9 . _ : - [ ]";
        Error::invalid(field, format!("{shown:?} is no name: {rule}"))
    })
}

/// The same where an empty text stands for none.
pub fn optional(field: &str, text: &str) -> Result<Option<Name>, Error> {
    if text.is_empty() { Ok(None) } else { name(field, text).map(Some) }
}

/// An instance for a client, as it counts.
#[must_use]
pub fn answer(instance: &Instance) -> InstanceMessage {
    let InstanceName { service: ServiceName { namespace, service }, id } = &instance.name;
    InstanceMessage {
        namespace: namespace.to_string(),
        service: service.to_string(),
        id: id.to_string(),
        address: instance.address.clone(),
        port: instance.port.into(),
        ports: instance.ports.iter().map(|(name, port)| (name.clone(), (*port).into())).collect(),
        version: instance.version.clone(),
        zone: instance.zone.clone(),
        weight: Some(instance.weight.into()),
        tags: instance.tags.iter().cloned().collect(),
        metadata: instance.metadata.clone(),
        enabled: Some(instance.enabled),
        session: instance.session.as_ref().map(Name::to_string).unwrap_or_default(),
        lease_id: instance.lease.map_or(0, |lease| lease.0),
        registered_at: instance.registered_at.clone(),
        create_revision: instance.created.0,
        mod_revision: instance.modified.0,
        overridden: instance.overridden,
    }
}

/// What a client says of an instance. What stands in answers only is passed over.
fn instance(message: Option<InstanceMessage>, now: String) -> Result<Instance, Error> {
    let message = message.ok_or_else(|| Error::invalid("instance", "is missing"))?;
    let namespace = optional("instance.namespace", &message.namespace)?;
    let namespace = namespace.unwrap_or_else(Name::default_namespace);
    let service = name("instance.service", &message.service)?;
    let named = optional("instance.id", &message.id)?;
    let address = address(&message.address)?;
    let port = port("instance.port", message.port)?;
    let target = match address.contains(':') {
        true => format!("[{address}]:{port}"),
        false => format!("{address}:{port}"),
    };
    let id = match named {
        Some(id) => id,
        None => name("instance.id", &target)?,
    };
    let weight =
        message.weight.map(|weight| self::weight("instance.weight", weight)).transpose()?;
    let instance = Instance {
        address,
        port,
        ports: ports(message.ports)?,
        version: text("instance.version", message.version)?,
        zone: text("instance.zone", message.zone)?,
        weight: weight.unwrap_or(WEIGHT_DEFAULT),
        tags: tags(message.tags)?.into_iter().collect(),
        metadata: metadata(message.metadata)?,
        enabled: message.enabled.unwrap_or(true),
        registered_at: now,
        ..Instance::new(InstanceName { service: ServiceName { namespace, service }, id })
    };
    let len = instance.encode().len();
    if len > INSTANCE_BYTES_MAX {
        let complaint = format!("{len} bytes are stored of it, more than {INSTANCE_BYTES_MAX}");
        return Err(Error::invalid("instance", complaint));
    }
    Ok(instance)
}

/// A host name or an IP address. An IPv6 address may have brackets, which are left out.
fn address(text: &str) -> Result<String, Error> {
    let field = "instance.address";
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if inner.is_some() || text.contains(':') {
        let address = inner.unwrap_or(text);
        return match address.parse::<Ipv6Addr>() {
            Ok(_) => Ok(address.to_owned()),
            Err(_) => Err(Error::invalid(
                field,
                format!("{text:?} is no IPv6 address; a port has a field of its own"),
            )),
        };
    }
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if text.is_empty() || text.len() > INSTANCE_TEXT_LEN_MAX || !text.bytes().all(is_host) {
        return Err(Error::invalid(field, format!("{text:?} is no host name and no IP address")));
    }
    Ok(text.to_owned())
}

fn port(field: &str, port: u32) -> Result<u16, Error> {
    match u16::try_from(port) {
        Ok(port) if port > 0 => Ok(port),
        Ok(_) | Err(_) => Err(Error::invalid(field, format!("{port} is not between 1 and 65535"))),
    }
}

fn ports(ports: BTreeMap<String, u32>) -> Result<BTreeMap<String, u16>, Error> {
    let field = "instance.ports";
    at_most(field, ports.len(), INSTANCE_PORTS_MAX)?;
    let checked = ports.into_iter().map(|(name, port)| {
        self::name(field, &name)?;
        let port = self::port(&format!("{field}.{name}"), port)?;
        Ok((name, port))
    });
    checked.collect()
}

fn weight(field: &str, weight: u32) -> Result<u16, Error> {
    u16::try_from(weight)
        .map_err(|_| Error::invalid(field, format!("{weight} is more than {}", u16::MAX)))
}

fn tags(tags: Vec<String>) -> Result<Vec<String>, Error> {
    let field = "instance.tags";
    at_most(field, tags.len(), INSTANCE_TAGS_MAX)?;
    tags.into_iter()
        .map(|tag| match tag.is_empty() {
            true => Err(Error::invalid(field, "one is empty")),
            false => text(field, tag),
        })
        .collect()
}

fn metadata(metadata: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Error> {
    let field = "instance.metadata";
    at_most(field, metadata.len(), INSTANCE_METADATA_MAX)?;
    for (name, value) in &metadata {
        if name.is_empty() || name.chars().count() > INSTANCE_METADATA_NAME_LEN_MAX {
            let complaint = format!("a name has 1 to {INSTANCE_METADATA_NAME_LEN_MAX} characters");
            return Err(Error::invalid(field, complaint));
        }
        if value.len() > INSTANCE_METADATA_VALUE_BYTES_MAX {
            let (len, max) = (value.len(), INSTANCE_METADATA_VALUE_BYTES_MAX);
            let complaint = format!("{len} bytes are more than {max}");
            return Err(Error::invalid(&format!("{field}.{name}"), complaint));
        }
    }
    Ok(metadata)
}

fn text(field: &str, text: String) -> Result<String, Error> {
    let len = text.chars().count();
    if len > INSTANCE_TEXT_LEN_MAX {
        let complaint = format!("{len} characters are more than {INSTANCE_TEXT_LEN_MAX}");
        return Err(Error::invalid(field, complaint));
    }
    Ok(text)
}

fn at_most(field: &str, len: usize, max: usize) -> Result<(), Error> {
    if len > max {
        return Err(Error::invalid(field, format!("{len} are more than {max}")));
    }
    Ok(())
}

/// A time to live; 0 stands for the default.
fn time_to_live(ttl: i64) -> Result<Option<Seconds>, Error> {
    let max = REGISTRATION_TTL_MAX;
    match Seconds(ttl) {
        Seconds(0) => Ok(None),
        ttl if (Seconds(1)..=max).contains(&ttl) => Ok(Some(ttl)),
        Seconds(ttl) => {
            Err(Error::invalid("ttl", format!("{ttl} s is not between 1 and {}", max.0)))
        }
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
