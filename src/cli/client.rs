//! The way to a cluster: a list of endpoints, tried in turn within the time a command has.
//!
//! A call that only reads goes on to the next endpoint when one is unavailable. A call that writes
//! does so only as long as no endpoint was reached: once a request may have arrived, repeating it
//! could do it twice, and the user is told instead.

use std::{error::Error as _, time::Duration};

use clap::Args;
use hyper::Uri;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, Status, transport::Channel};

use super::{
    duration,
    error::{Error, Exit, root_cause},
    secrets::{Secrets, TlsArgs, variable},
};
use crate::tls::Way;

/// How long a connection may take before the next endpoint has its turn.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is asked whether a member is still there on which streams wait, and how long that may
/// take: a machine that is gone says nothing. etcd allows no shorter interval than five seconds.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause before the endpoints are tried again, which an election may take.
const ROUND_PAUSE: Duration = Duration::from_millis(100);
/// Answers are as large as the range that was asked for.
pub(super) const RESPONSE_BYTES_MAX: usize = i32::MAX as usize;

/// The arguments of all client commands.
#[derive(Args, Clone, Debug)]
pub(super) struct ClientArgs {
    /// Endpoints of the cluster, separated by commas [env: QUORATE_ENDPOINTS, ETCDCTL_ENDPOINTS]
    /// [default: 127.0.0.1:2379]
    #[arg(long, global = true, value_name = "URLS", help_heading = "Client options")]
    pub(super) endpoints: Option<String>,
    /// Time that a command may take
    #[arg(long, global = true, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    #[arg(help_heading = "Client options")]
    pub(super) command_timeout: Duration,
    #[command(flatten)]
    pub(super) tls: TlsArgs,
}

/// Endpoints, and how long to try.
#[derive(Clone)]
pub(super) struct Client {
    endpoints: Vec<Endpoint>,
    timeout: Duration,
    secrets: Secrets,
}

/// One endpoint: as it was written, and how it is reached.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) text: String,
    way: Way,
}

impl Client {
    /// Takes the endpoints from the flag, else from the environment, else the default.
    pub(super) fn new(args: &ClientArgs, environment: &[(String, String)]) -> Result<Self, Error> {
        let list = args
            .endpoints
            .clone()
            .or_else(|| variable(environment, "ENDPOINTS"))
            .unwrap_or_else(|| "127.0.0.1:2379".to_owned());
        let secrets = Secrets::new(&args.tls, environment)?;
        let texts = list.split(',').map(str::trim).filter(|text| !text.is_empty());
        let parse = |text| Endpoint::parse(text, &secrets);
        let endpoints: Vec<Endpoint> = texts.map(parse).collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            return Err(Error::input("no endpoints are given"));
        }
        Ok(Self { endpoints, timeout: args.command_timeout, secrets })
    }

    /// The same for other endpoints.
    pub(super) fn with_endpoints(&self, texts: &[String]) -> Result<Self, Error> {
        let parse = |text: &String| Endpoint::parse(text, &self.secrets);
        let endpoints = texts.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { endpoints, ..self.clone() })
    }

    /// The same with windows of this size, in bytes, of a stream and of its connection: so much a
    /// server may send before it is read.
    pub(super) fn with_windows(&self, (stream, connection): (u32, u32)) -> Self {
        let limited = |endpoint: &Endpoint| Endpoint {
            text: endpoint.text.clone(),
            way: endpoint.way.clone().with(|endpoint| {
                endpoint
                    .initial_stream_window_size(stream)
                    .initial_connection_window_size(connection)
            }),
        };
        Self { endpoints: self.endpoints.iter().map(limited).collect(), ..self.clone() }
    }

    pub(super) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Makes a call that changes nothing.
    pub(super) async fn read<T>(
        &self,
        call: impl AsyncFn(Channel) -> Result<T, Status>,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let mut failure = None;
            for endpoint in &self.endpoints {
                match endpoint.call(&call, deadline).await {
                    Ok(value) => return Ok(value),
                    Err(Failure::Answered(status)) if status.code() != Code::Unavailable => {
                        return Err(status.into());
                    }
                    // What a member answers says more than that another cannot be reached.
                    Err(Failure::Answered(status)) => failure = Some(Failure::Answered(status)),
                    Err(unreachable) => failure = failure.or(Some(unreachable)),
                }
            }
            let failure = failure.expect("a client has at least one endpoint");
            let unreachable = matches!(failure, Failure::Unreachable(..));
            if unreachable || Instant::now() + ROUND_PAUSE >= deadline {
                return Err(failure.into());
            }
            sleep(ROUND_PAUSE).await;
        }
    }

    /// Makes a call that may change something, at most once.
    pub(super) async fn write<T>(
        &self,
        call: impl AsyncFn(Channel) -> Result<T, Status>,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + self.timeout;
        let mut failure = None;
        for endpoint in &self.endpoints {
            match endpoint.call(&call, deadline).await {
                Ok(value) => return Ok(value),
                Err(Failure::Answered(status)) => return Err(status.into()),
                Err(unreachable) => failure = failure.or(Some(unreachable)),
            }
        }
        Err(failure.expect("a client has at least one endpoint").into())
    }

    /// Connects to the first endpoint that can be reached, beginning with the one at `first`.
    pub(super) async fn connect(&self, first: usize) -> Result<Channel, Error> {
        self.reach(first, async |endpoint, deadline| endpoint.connect(deadline).await).await
    }

    /// The same for a connection of any kind, with the time by which it must stand.
    pub(super) async fn reach<T>(
        &self,
        first: usize,
        connect: impl AsyncFn(&Endpoint, Instant) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + self.timeout;
        let mut failure = None;
        let start = first % self.endpoints.len();
        for endpoint in self.endpoints.iter().cycle().skip(start).take(self.endpoints.len()) {
            match connect(endpoint, deadline).await {
                Ok(connection) => return Ok(connection),
                Err(unreachable) => failure = failure.or(Some(unreachable)),
            }
        }
        Err(failure.expect("a client has at least one endpoint").into())
    }
}

impl Endpoint {
    fn parse(text: &str, secrets: &Secrets) -> Result<Self, Error> {
        let url = if text.contains("://") || text.starts_with("unix") {
            text.to_owned()
        } else {
            format!("{}://{text}", secrets.scheme())
        };
        let invalid = |reason| Error::input(format!("endpoint {text:?}: {reason}"));
        let way = Way::to(&url, secrets.dialer()).map_err(invalid)?.with(|endpoint| {
            endpoint
                .connect_timeout(CONNECT_TIMEOUT)
                .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
                .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
                .tcp_nodelay(true)
        });
        Ok(Self { text: text.to_owned(), way })
    }

    /// Where it is, for whoever connects to it plainly.
    pub(super) fn plain_uri(&self) -> Option<&Uri> {
        self.way.is_plain().then(|| self.way.endpoint().uri())
    }

    /// Makes a call to this endpoint alone.
    pub(super) async fn call<T>(
        &self,
        call: impl AsyncFn(Channel) -> Result<T, Status>,
        deadline: Instant,
    ) -> Result<T, Failure> {
        let channel = self.connect(deadline).await?;
        match timeout_at(deadline, call(channel)).await {
            Ok(result) => result.map_err(|status| self.failed(status)),
            Err(_) => {
                Err(Failure::Answered(Status::deadline_exceeded("context deadline exceeded")))
            }
        }
    }

    /// A call that came to nothing. One whose connection was lost is told why: it may be that the server
    /// did not like who called.
    fn failed(&self, status: Status) -> Failure {
        match self.way.trouble() {
            Some(trouble) if status.source().is_some() => Failure::Answered(Status::new(
                status.code(),
                format!("{}: {trouble}", status.message()),
            )),
            Some(_) | None => Failure::Answered(status),
        }
    }

    async fn connect(&self, deadline: Instant) -> Result<Channel, Failure> {
        let unreachable = |reason: String| Failure::Unreachable(self.text.clone(), reason);
        match timeout_at(deadline, self.way.connect()).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => Err(unreachable(root_cause(&error))),
            Err(_) => Err(unreachable("no connection in time".to_owned())),
        }
    }
}

/// Why a call to one endpoint failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was sent.
    Unreachable(String, String),
    /// The request may have arrived.
    Answered(Status),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unreachable(endpoint, reason) => {
                Self::new(Exit::Connection, format!("cannot connect to {endpoint}: {reason}"))
            }
            Failure::Answered(status) => status.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(flag: Option<&str>, environment: &[(&str, &str)]) -> Vec<String> {
        let args = ClientArgs {
            endpoints: flag.map(str::to_owned),
            command_timeout: Duration::from_secs(1),
            tls: TlsArgs::default(),
        };
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let client = Client::new(&args, &environment).unwrap();
        client.endpoints().iter().map(|endpoint| endpoint.text.clone()).collect()
    }

    /// The flag wins over our variable, which wins over etcdctl's.
    #[test]
    fn endpoints_come_from_the_nearest_source() {
        let both = [("ETCDCTL_ENDPOINTS", "a:1"), ("QUORATE_ENDPOINTS", "b:1,http://c:1")];

        assert_eq!(endpoints(Some("d:1"), &both), ["d:1"]);
        assert_eq!(endpoints(None, &both), ["b:1", "http://c:1"]);
        assert_eq!(endpoints(None, &both[..1]), ["a:1"]);
        assert_eq!(endpoints(None, &[]), ["127.0.0.1:2379"]);
    }

    /// Without a listener the user hears of the endpoint and of the reason.
    #[tokio::test]
    async fn an_unreachable_endpoint_is_named() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let args = ClientArgs {
            endpoints: Some(free.to_string()),
            command_timeout: Duration::from_secs(5),
            tls: TlsArgs::default(),
        };
        let client = Client::new(&args, &[]).unwrap();

        let error = client.write(async |_| Ok(())).await.unwrap_err();

        assert!(
            error.to_string().starts_with(&format!("cannot connect to {free}: Connection refused")),
            "{error}"
        );
    }
}
