//! [`Way`]: how a gRPC channel to a URL is opened.

use tonic::transport::{Channel, Endpoint, Error};

use super::{Connector, Dialer};
use crate::types::url::{Place, Url};

/// How a channel to a URL is opened: plainly by the gRPC library itself, in all other cases by ours.
#[derive(Clone)]
pub struct Way {
    endpoint: Endpoint,
    connector: Option<Connector>,
}

impl Way {
    /// The way to a URL.
    ///
    /// # Errors
    ///
    /// Why the URL leads nowhere.
    pub fn to(url: &str, dialer: &Dialer) -> Result<Self, String> {
        if url.starts_with("http://") {
            let endpoint = Endpoint::from_shared(url.to_owned());
            let endpoint = endpoint.map_err(|error| format!("{url:?}: {error}"))?;
            return Ok(Self { endpoint, connector: None });
        }
        let url = Url::parse(url).map_err(|error| error.to_string())?;
        let scheme = if url.scheme().is_tls() { "https" } else { "http" };
        // What calls name as their host. A path is none.
        let host = match url.place() {
            Place::Port { .. } => url.authority(),
            Place::Socket(_) => "localhost".to_owned(),
        };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{host}"));
        let endpoint = endpoint.map_err(|error| format!("{url}: {error}"))?;
        Ok(Self { endpoint, connector: Some(dialer.connector(url)) })
    }

    /// The same with other properties of its channels.
    #[must_use]
    pub fn with(self, change: impl FnOnce(Endpoint) -> Endpoint) -> Self {
        Self { endpoint: change(self.endpoint), ..self }
    }

    /// How calls name whom they are for.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether it is a plain one over TCP.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.connector.is_none()
    }

    /// Why the last connection of its channels was lost, where that is known.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.connector.as_ref().and_then(Connector::trouble)
    }

    /// Opens a channel.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub async fn connect(&self) -> Result<Channel, Error> {
        match &self.connector {
            None => self.endpoint.connect().await,
            Some(connector) => self.endpoint.connect_with_connector(connector.clone()).await,
        }
    }

    /// A channel that connects when it is used first. It starts tasks on the runtime it is made on.
    #[must_use]
    pub fn connect_lazy(&self) -> Channel {
        match &self.connector {
            None => self.endpoint.connect_lazy(),
            Some(connector) => self.endpoint.connect_with_connector_lazy(connector.clone()),
        }
    }
}
