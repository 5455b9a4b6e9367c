//! Ports that nobody else takes.

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the range from which the system draws the ports of outgoing connections.
const FIRST: u16 = 11_000;
const COUNT: u16 = 20_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A TCP port, as a rule on the loopback interface, free until whoever asked for it binds it.
///
/// The UDP port of the same number is held as a claim: other test processes see it, it goes with
/// this process however that ends, and it is in nobody's way.
#[derive(Debug)]
pub(crate) struct Port {
    host: Ipv4Addr,
    number: u16,
    _claim: Option<UdpSocket>,
}

impl Port {
    pub(crate) fn free() -> Self {
        // Test processes start at different places, so that they seldom meet.
        let offset = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap();
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let place = (u32::from(offset) * 7 + u32::from(step)) % u32::from(COUNT);
            let number = FIRST + u16::try_from(place).unwrap();
            let Ok(claim) = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)) else { continue };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Self { host: Ipv4Addr::LOCALHOST, number, _claim: Some(claim) };
            }
        }
        panic!("there is no free port from {FIRST} on");
    }

    /// A port of a host that nobody else is on.
    pub(crate) fn of(host: Ipv4Addr, number: u16) -> Self {
        Self { host, number, _claim: None }
    }

    /// So many ports in a row.
    pub(crate) fn free_row(count: usize) -> Vec<Self> {
        let mut row: Vec<Self> = Vec::new();
        while row.len() < count {
            let port = Self::free();
            if row.last().is_some_and(|last| last.number + 1 != port.number) {
                row.clear();
            }
            row.push(port);
        }
        row
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.number)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.authority())
    }
}
