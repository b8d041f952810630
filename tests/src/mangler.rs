//! A bad network: frames of SMPP connections are lost, sent twice, or overtaken, in both directions.
//!
//! A namespace of its own between two wires, and a thread for each direction that carries frames from one to the other.
//! What happens to a client's frames is drawn from a seed of the client's own; it is the same sequence of fates in every
//! run, though not of the same frames: TCP's clock decides what it sends when.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use fastrand::Rng;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use crate::netns::Namespace;

/// Of the frames of a connection.
const LOST: f64 = 0.02;
/// Of the frames of a connection.
const OVERTAKEN: f64 = 0.03;
/// Of the frames of a connection.
const TWICE: f64 = 0.02;
/// A frame waits for one to overtake it, at most so long.
const PATIENCE: Duration = Duration::from_millis(5);
/// Longer frames are several of TCP in one: the ends are to send what a wire would carry.
const FRAME_MAX: usize = 1514;
/// Addresses and type.
const ETHERNET_BYTES: usize = 14;
const SMPP_PORT: [u8; 2] = 2775_u16.to_be_bytes();

/// What became of the frames of SMPP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mangled {
    /// All of them.
    pub frames: u64,
    /// Not carried.
    pub lost: u64,
    /// Carried after the next one.
    pub overtaken: u64,
    /// Carried twice.
    pub twice: u64,
}

/// The bad network, at work until dropped.
#[derive(Debug)]
pub struct Mangler {
    is_over: Arc<AtomicBool>,
    directions: Vec<JoinHandle<Result<Mangled>>>,
}

impl Mangler {
    /// Joins two interfaces of `namespace`. Fates are drawn from `seed` and the last octet of the client's address.
    pub fn join(namespace: &Namespace, interfaces: [&'static str; 2], seed: u64) -> Result<Self> {
        let (one, other) = namespace.enter(move || Ok((tap(interfaces[0])?, tap(interfaces[1])?)))?;
        let (one, other) = (Arc::new(one), Arc::new(other));
        let is_over = Arc::new(AtomicBool::new(false));
        let carrier = |from: &Arc<OwnedFd>, to: &Arc<OwnedFd>, is_back| {
            let (from, to, is_over) = (Arc::clone(from), Arc::clone(to), Arc::clone(&is_over));
            thread::spawn(move || {
                Direction { seed, is_back, ..Direction::default() }.carry(&from, &to, &is_over)
            })
        };
        let directions = vec![carrier(&one, &other, false), carrier(&other, &one, true)];
        Ok(Self { is_over, directions })
    }

    /// Ends it.
    pub fn stop(mut self) -> Result<Mangled> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut sum = Mangled::default();
        for direction in self.directions.drain(..) {
            let told = direction.join().map_err(|_| anyhow!("the bad network panicked"))??;
            sum.frames += told.frames;
            sum.lost += told.lost;
            sum.overtaken += told.overtaken;
            sum.twice += told.twice;
        }
        Ok(sum)
    }
}

impl Drop for Mangler {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// One direction of all connections.
#[derive(Debug, Default)]
struct Direction {
    seed: u64,
    is_back: bool,
    fates: BTreeMap<Ipv4Addr, Rng>,
    /// What waits to be overtaken, and since when.
    waiting: Vec<(Ipv4Addr, Vec<u8>, Option<Instant>)>,
    mangled: Mangled,
}

impl Direction {
    fn carry(mut self, from: &OwnedFd, to: &OwnedFd, is_over: &AtomicBool) -> Result<Mangled> {
        let mut buffer = vec![0; 1 << 16];
        while !is_over.load(Ordering::Relaxed) {
            match recv(from.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => self.frame(&buffer[..length], to)?,
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                // The other end of the wire went down with its namespace.
                Err(Errno::ENETDOWN) => break,
                Err(error) => return Err(error).context("a frame"),
            }
            self.release(to, |since| since.is_some_and(|since| since.elapsed() >= PATIENCE))?;
        }
        Ok(self.mangled)
    }

    fn frame(&mut self, frame: &[u8], to: &OwnedFd) -> Result<()> {
        let Some(client) = client(frame) else { return put(to, frame) };
        ensure!(frame.len() <= FRAME_MAX, "a frame of {} octets: the ends leave work to a card", frame.len());
        let seed = self.seed + u64::from(client.octets()[3]);
        let fate = self
            .fates
            .entry(client)
            .or_insert_with(|| Rng::with_seed(2 * seed + u64::from(self.is_back)))
            .f64();
        self.mangled.frames += 1;
        if fate < LOST {
            self.mangled.lost += 1;
            return Ok(());
        }
        if fate < LOST + OVERTAKEN {
            self.mangled.overtaken += 1;
            self.waiting.push((client, frame.to_vec(), Some(Instant::now())));
            return Ok(());
        }
        put(to, frame)?;
        if fate < LOST + OVERTAKEN + TWICE {
            self.mangled.twice += 1;
            put(to, frame)?;
        }
        for (of, _, since) in &mut self.waiting {
            if *of == client {
                *since = None;
            }
        }
        self.release(to, |since| since.is_none())
    }

    /// Carries what has waited enough.
    fn release(&mut self, to: &OwnedFd, is_due: impl Fn(Option<Instant>) -> bool) -> Result<()> {
        for (_, frame, _) in self.waiting.extract_if(.., |(_, _, since)| is_due(*since)) {
            put(to, &frame)?;
        }
        Ok(())
    }
}

/// The client of a frame of SMPP; `None` for everything else, which is carried as it is.
fn client(frame: &[u8]) -> Option<Ipv4Addr> {
    let ip = frame.get(ETHERNET_BYTES..)?;
    let is_tcp = frame[12..ETHERNET_BYTES] == [0x08, 0x00] && *ip.get(9)? == 6;
    let tcp = ip.get(usize::from(ip.first()? & 0xf) * 4..)?;
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?));
    match (is_tcp, tcp.get(..2)? == SMPP_PORT, tcp.get(2..4)? == SMPP_PORT) {
        (true, true, _) => address(16),
        (true, _, true) => address(12),
        _ => None,
    }
}

/// A socket that gets and puts the frames of one interface; called in the interface's namespace.
fn tap(interface: &str) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let tap = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
        .context("a packet socket")?;
    let address = getifaddrs()?
        .filter(|it| it.interface_name == interface)
        .find_map(|it| it.address?.as_link_addr().copied())
        .with_context(|| format!("no interface {interface}"))?;
    bind(tap.as_raw_fd(), &address).with_context(|| format!("cannot listen on {interface}"))?;
    setsockopt(&tap, sockopt::RcvBufForce, &(16 << 20))?;
    setsockopt(&tap, sockopt::ReceiveTimeout, &TimeVal::milliseconds(2))?;
    Ok(tap)
}

fn put(to: &OwnedFd, frame: &[u8]) -> Result<()> {
    match send(to.as_raw_fd(), frame, MsgFlags::empty()) {
        // No room on the way: one more that is lost.
        Ok(_) | Err(Errno::ENOBUFS | Errno::ENETDOWN) => Ok(()),
        Err(error) => Err(error).context("cannot put a frame"),
    }
}
