//! The service manager is told when a member serves, and when it stops.

use std::{os::unix::net::UnixDatagram, time::Duration};

use super::{Home, Ports};

/// `Type=notify` holds dependants back until the first message, and not after the second.
#[tokio::test]
async fn a_service_manager_is_told() {
    let (home, ports) = (Home::new(), Ports::free());
    let path = home.text("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (clients, peers) = (ports.clients(), ports.peers());
    let flags = [
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut member = home.start_with("etcd", &flags, &[("NOTIFY_SOCKET", &path)]);
    let received = |socket: UnixDatagram| async move {
        let receive = move || {
            let mut buffer = [0; 256];
            let len = socket.recv(&mut buffer).unwrap();
            (String::from_utf8_lossy(&buffer[..len]).into_owned(), socket)
        };
        tokio::task::spawn_blocking(receive).await.unwrap()
    };

    let (first, socket) = received(socket).await;
    assert_eq!(first, "READY=1\n");
    assert!(member.output().contains("ready to serve client requests"), "{}", member.output());
    member.terminate().await;
    let (second, _socket) = received(socket).await;
    assert_eq!(second, "STOPPING=1\n");
    assert_eq!(member.ended().await.code(), Some(0));
}
