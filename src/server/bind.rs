//! Sockets to listen on.

use std::{
    fs, io,
    net::{Ipv6Addr, SocketAddr, TcpListener},
    os::unix::{
        fs::{FileTypeExt, MetadataExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::Error;
use crate::config::{ListenHost, ListenPlace, ListenUrl};

/// Connections that the system keeps for us until we accept them. The system has a limit of its own.
const BACKLOG: i32 = 4_096;

/// A socket that listens, and what it stands for.
#[derive(Debug)]
pub(super) struct Bound {
    /// The URLs that lead to it.
    pub(super) url: String,
    pub(super) socket: Listening,
    pub(super) speech: Speech,
}

/// What is spoken on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    Plain,
    Tls,
    /// Its first byte says which.
    Both,
}

/// A socket that listens.
#[derive(Debug)]
pub(super) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// The file of a unix socket, which goes with it.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and number of the file: somebody else may have put another one in its place.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity_of(&self.path).is_ok_and(|found| found == self.identity) {
            // The member ends either way, and the next one replaces what is left.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens on every URL, or on none. URLs of one place share a socket.
pub(super) fn bind_all(urls: &[ListenUrl], reuse_port: bool) -> Result<Vec<Bound>, Error> {
    let mut bound = Vec::new();
    let mut done: Vec<&ListenPlace> = Vec::new();
    for url in urls {
        if done.contains(&&url.place) {
            continue;
        }
        done.push(&url.place);
        let sharing = urls.iter().filter(|other| other.place == url.place);
        let (names, tls): (Vec<String>, Vec<bool>) =
            sharing.map(|it| (it.to_string(), it.scheme.is_tls())).unzip();
        let speech = match (tls.contains(&false), tls.contains(&true)) {
            (true, true) => Speech::Both,
            (false, _) => Speech::Tls,
            (true, false) => Speech::Plain,
        };
        let url_text = names.join(",");
        let failed = |source| Error::Listen { url: url_text.clone(), source };
        for socket in listen(&url.place, reuse_port).map_err(failed)? {
            bound.push(Bound { url: url_text.clone(), socket, speech });
        }
    }
    Ok(bound)
}

fn listen(place: &ListenPlace, reuse_port: bool) -> io::Result<Vec<Listening>> {
    let mut sockets = Vec::new();
    match place {
        ListenPlace::Socket(path) => sockets.push(listen_on_file(Path::new(path))?),
        ListenPlace::Port(..) => {
            let address = place.socket_addr().expect("a port has an address");
            sockets.push(Listening::Tcp(listen_on_port(address, reuse_port)?));
        }
    }
    // Clients resolve the name to either address, and some try only the first one they get.
    if let ListenPlace::Port(ListenHost::Localhost, port) = place
        && *port != 0
    {
        match listen_on_port(SocketAddr::from((Ipv6Addr::LOCALHOST, *port)), reuse_port) {
            Ok(socket) => sockets.push(Listening::Tcp(socket)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(_) => {} // The machine has no IPv6.
        }
    }
    Ok(sockets)
}

fn listen_on_port(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A member that restarts must not wait for old connections to time out.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Listens on a unix socket. A file that a dead process left is replaced, that of a live one is not.
fn listen_on_file(path: &Path) -> io::Result<Listening> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file is not a socket"));
        }
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
            }
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(error) => return Err(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let socket = UnixListener::bind(path)?;
    socket.set_nonblocking(true)?;
    let file = SocketFile { path: path.to_owned(), identity: identity_of(path)? };
    Ok(Listening::Unix(socket, file))
}

fn identity_of(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> ListenUrl {
        ListenUrl::parse(text).unwrap()
    }

    fn port(bound: &Bound) -> u16 {
        match &bound.socket {
            Listening::Tcp(socket) => socket.local_addr().unwrap().port(),
            Listening::Unix(..) => panic!("a unix socket has no port"),
        }
    }

    fn free_port() -> u16 {
        let taken = listen_on_port("127.0.0.1:0".parse().unwrap(), false).unwrap();
        taken.local_addr().unwrap().port()
    }

    /// An address that is taken is named with the URL that asked for it, unless it may be shared.
    #[test]
    fn an_address_in_use_is_named() {
        let taken = listen_on_port("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let text = format!("http://127.0.0.1:{}", taken.local_addr().unwrap().port());

        let error = bind_all(&[url(&text)], false).unwrap_err().to_string();

        assert!(error.starts_with(&format!("cannot listen on {text}: ")), "{error}");
        assert!(error.contains("in use"), "{error}");
        assert_eq!(bind_all(&[url(&text)], true).unwrap().len(), 1);
    }

    /// `localhost` is both loopback addresses, where there are both.
    #[test]
    fn localhost_is_both_loopback_addresses() {
        let free = free_port();

        let bound = bind_all(&[url(&format!("http://localhost:{free}"))], false).unwrap();

        let v6 = listen_on_port(SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), false).is_ok();
        assert_eq!(bound.len(), if v6 { 2 } else { 1 });
        assert!(bound.iter().all(|it| port(it) == free));
    }

    /// One address under two schemes is one socket, on which both are spoken.
    #[test]
    fn one_address_may_have_both_schemes() {
        let free = free_port();
        let (plain, tls) =
            (format!("http://127.0.0.1:{free}"), format!("https://127.0.0.1:{free}"));

        let bound = bind_all(&[url(&plain), url(&tls)], false).unwrap();

        assert_eq!(bound.len(), 1);
        assert_eq!(
            (bound[0].speech, bound[0].url.as_str()),
            (Speech::Both, &*format!("{plain},{tls}"))
        );
    }

    /// The file of a socket goes with it. One that was left is replaced; a live one and a file that is
    /// something else are refused.
    #[test]
    fn files_of_sockets_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("q.sock");
        let listen_url = [url(&format!("unix://{}", path.display()))];

        let bound = bind_all(&listen_url, false).unwrap();
        let refused = bind_all(&listen_url, false).unwrap_err().to_string();
        assert!(refused.contains("in use"), "{refused}");
        drop(bound);
        assert!(!path.exists());

        drop(UnixListener::bind(&path).unwrap()); // as a process that was killed leaves it
        assert!(path.exists());
        drop(bind_all(&listen_url, false).unwrap());

        fs::write(&path, "mine").unwrap();
        let refused = bind_all(&listen_url, false).unwrap_err().to_string();
        assert!(refused.contains("the file is not a socket"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }
}
