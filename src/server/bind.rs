//! Sockets to listen on.

use std::{
    io,
    net::{Ipv6Addr, SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::Error;
use crate::config::{ListenHost, ListenUrl};

/// Connections that the system keeps for us until we accept them. The system has a limit of its own.
const BACKLOG: i32 = 4_096;

/// A socket that listens, and the URL it stands for.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) url: String,
    pub(super) socket: TcpListener,
}

/// Listens on every URL, or on none.
pub(super) fn bind_all(urls: &[ListenUrl]) -> Result<Vec<Bound>, Error> {
    let mut bound = Vec::new();
    for url in urls {
        let failed = |source| Error::Listen { url: url.to_string(), source };
        let first = listen(url.socket_addr()).map_err(failed)?;
        // Clients resolve the name to either address, and some try only the first one they get.
        if url.host == ListenHost::Localhost && url.port != 0 {
            let second = SocketAddr::from((Ipv6Addr::LOCALHOST, url.port));
            match listen(second) {
                Ok(socket) => bound.push(Bound { url: url.to_string(), socket }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    return Err(failed(error));
                }
                Err(_) => {} // The machine has no IPv6.
            }
        }
        bound.push(Bound { url: url.to_string(), socket: first });
    }
    Ok(bound)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A member that restarts must not wait for old connections to time out.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> ListenUrl {
        ListenUrl::parse(text).unwrap()
    }

    /// An address that is taken is named with the URL that asked for it.
    #[test]
    fn an_address_in_use_is_named() {
        let taken = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let text = format!("http://127.0.0.1:{}", taken.local_addr().unwrap().port());

        let error = bind_all(&[url(&text)]).unwrap_err().to_string();

        assert!(error.starts_with(&format!("cannot listen on {text}: ")), "{error}");
        assert!(error.contains("in use"), "{error}");
    }

    /// `localhost` is both loopback addresses, where there are both.
    #[test]
    fn localhost_is_both_loopback_addresses() {
        let free = listen("127.0.0.1:0".parse().unwrap()).unwrap().local_addr().unwrap().port();

        let bound = bind_all(&[url(&format!("http://localhost:{free}"))]).unwrap();

        let v6 = listen(SocketAddr::from((Ipv6Addr::LOCALHOST, 0))).is_ok();
        assert_eq!(bound.len(), if v6 { 2 } else { 1 });
        assert!(bound.iter().all(|it| it.socket.local_addr().unwrap().port() == free));
    }
}
