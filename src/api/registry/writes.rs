//! The methods that write, one request and one answer each.

use std::time::SystemTime;

use tonic::Response;

use super::{
    RegistryService,
    convert::{self, Known, Removal},
};
use crate::{
    proto::registry::{
        ClearOverrideRequest, ClearOverrideResponse, DeregisterRequest, DeregisterResponse,
        RegisterRequest, RegisterResponse, SetOverrideRequest, SetOverrideResponse,
    },
    registry::{Error, Name},
    types::Identity,
};

/// What is known of a registration that comes now.
pub(super) fn known(owner: &str) -> Known {
    #[expect(clippy::disallowed_methods, reason = "the time of a registration is told to clients")]
    let now = SystemTime::now();
    Known { owner: owner.to_owned(), now: humantime::format_rfc3339_seconds(now).to_string() }
}

pub(super) async fn register(
    service: &RegistryService,
    request: RegisterRequest,
    owner: &str,
) -> Result<Response<RegisterResponse>, Error> {
    let what = convert::registration(request, known(owner))?;
    let id = what.instance.name.id.clone();
    let done = service.registrar.register(&Identity::anonymous(), what).await?;
    Ok(Response::new(RegisterResponse {
        revision: done.revision.0,
        lease_id: done.lease.0,
        ttl: done.ttl.0,
        instance_id: id.to_string(),
        session_id: done.session.as_ref().map(Name::to_string).unwrap_or_default(),
        changed: done.changed,
        create_revision: done.created.0,
    }))
}

pub(super) async fn deregister(
    service: &RegistryService,
    request: DeregisterRequest,
) -> Result<Response<DeregisterResponse>, Error> {
    let (by, registrar) = (Identity::anonymous(), &service.registrar);
    let done = match convert::removal(&request)? {
        Removal::Instance(name, whose) => registrar.deregister(&by, &name, &whose).await?,
        Removal::Session(session) => registrar.close(&by, &session, None).await?,
    };
    let removed = done.removed.into();
    Ok(Response::new(DeregisterResponse { revision: done.revision.0, removed }))
}

pub(super) async fn set_override(
    service: &RegistryService,
    request: SetOverrideRequest,
) -> Result<Response<SetOverrideResponse>, Error> {
    let (name, what) = convert::overriding(&request)?;
    let (by, registrar) = (Identity::anonymous(), &service.registrar);
    let (revision, changed) = registrar.set_override(&by, name, what).await?;
    Ok(Response::new(SetOverrideResponse { revision: revision.0, changed }))
}

pub(super) async fn clear_override(
    service: &RegistryService,
    request: ClearOverrideRequest,
) -> Result<Response<ClearOverrideResponse>, Error> {
    let ClearOverrideRequest { namespace, service: named, id } = request;
    let name = convert::instance_name(&namespace, &named, &id)?;
    let (by, registrar) = (Identity::anonymous(), &service.registrar);
    let (revision, changed) = registrar.clear_override(&by, name).await?;
    Ok(Response::new(ClearOverrideResponse { revision: revision.0, changed }))
}
