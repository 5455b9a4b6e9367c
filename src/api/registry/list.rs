//! `ListServices`: the services there are, page by page.

use crate::{
    node::Handle,
    proto::registry::{ListServicesRequest, ListServicesResponse, ServiceSummary},
    registry::{Error, Listed, ServiceName, Views},
};

use super::{asked, pages, resolve};

/// A page of services. All pages are as of the revision of the first.
pub(super) async fn list_services(
    node: &Handle,
    views: &Views,
    request: ListServicesRequest,
) -> Result<ListServicesResponse, Error> {
    let (page, at) = asked::list(&request)?;
    resolve::reach(node, at).await?;
    let Listed { revision, services, next } = views.list(page, at).await?;
    let summary = |(name, total, enabled): (ServiceName, u32, u32)| ServiceSummary {
        namespace: name.namespace.to_string(),
        service: name.service.to_string(),
        total,
        enabled,
    };
    let token =
        |last: ServiceName| pages::token(revision, &last, &request.namespace, &request.prefix);
    Ok(ListServicesResponse {
        revision: revision.0,
        services: services.into_iter().map(summary).collect(),
        next_page_token: next.map(token).unwrap_or_default(),
    })
}
