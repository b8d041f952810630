//! One limit, enforced by the daemon's own loader on real interfaces: `edge-vm RECEIVER SENDER [RECEIVER SENDER]…`.
//!
//! The two interfaces are the ends of one wire. The programs are attached to the first one natively; calls are
//! sent into the second one. What passes is counted by a socket behind the programs and by their own counters,
//! and both must say the burst, no more and no less. All wires have the programs of one load, which is what takes
//! longest on an emulated machine. `cargo xtask vm` runs this on other kernels.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::loaded_programs;
use edge_ebpf::abi::{Class, Limit, Mode, Outcome, Policy};
use edge_tests::fixtures::world::{ACME_SOURCE, SERVER, SIP_PORT, at_once};
use edge_tests::packet::Frame;
use edge_tests::sip::Request;
use edge_user::config::{Capacity, Interface, PortSets, UNKNOWN_ACCOUNT, XdpModeRequest};
use edge_user::dataplane::{Dataplane, InterfaceState, XdpModeObtained};
use edge_user::reconcile::{Desired, DesiredAccount, GlobalSettings, plan};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, sendmsg, socket,
};

/// Calls that the account may make.
const BURST: u64 = 10;
/// Calls that are sent.
const CALLS: u64 = 100;
/// How long a call may take from one end of the wire to the other; the machine may be an emulated one.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (wires, []) = arguments.as_chunks::<2>() else { bail!("usage: edge-vm RECEIVER SENDER …") };
    ensure!(!wires.is_empty(), "usage: edge-vm RECEIVER SENDER …");

    let capacity =
        Capacity { accounts: 16, prefixes: 64, sources: 1024, flows: 64, caller_ids: 64, calls: 1024 };
    let mut dataplane =
        Dataplane::load(Path::new("/sys/fs/bpf/edge-vm"), &capacity).context("the programs do not load")?;
    print_verified();
    let installed = dataplane.accounts.read()?;
    dataplane.accounts.apply(&plan(&desired(wires.len()), &installed)?)?;
    for (number, [receiver, sender]) in wires.iter().enumerate() {
        enforce(&mut dataplane, receiver, sender, source(number))?;
    }
    dataplane.interfaces.detach()?;
    Ok(())
}

/// Sends calls of one account from one end of a wire to the other.
fn enforce(dataplane: &mut Dataplane, receiver: &str, sender: &str, source: [u8; 4]) -> Result<()> {
    let wanted = Interface { name: receiver.to_owned(), xdp_mode: XdpModeRequest::Native };
    dataplane.interfaces.set(&[wanted]);
    match dataplane.interfaces.states().get(receiver) {
        Some((_, InterfaceState::Attached { mode: XdpModeObtained::Native, .. })) => (),
        state => bail!("not attached natively to {receiver}: {state:?}"),
    }

    let behind = packet_socket(receiver)?;
    let wire = packet_socket(sender)?;
    let address = link_address(sender)?;
    // A network card, emulated or not, drops what is for another one.
    let destination = link_address(receiver)?.addr().context("the receiver has no address")?;
    let before = judged(dataplane, 0)?;
    let judged_before = before.0 + before.1;
    let mut now = before;
    for number in 0..CALLS {
        let mut frame = call(source, number);
        frame[..destination.len()].copy_from_slice(&destination);
        sendmsg(wire.as_raw_fd(), &[IoSlice::new(&frame)], &[], MsgFlags::empty(), Some(&address))
            .context("cannot send")?;
        // One at a time: an emulated card on a busy machine loses what comes while it is full.
        now = judged(dataplane, judged_before + number + 1)?;
    }
    let (admitted, refused) = (now.0 - before.0, now.1 - before.1);
    let passed = count_calls(&behind)?;

    ensure!(admitted == BURST && refused == CALLS - BURST, "admitted {admitted}, refused {refused}");
    ensure!(passed == BURST, "{passed} calls passed, but {BURST} were admitted");
    println!("{receiver}: native XDP, {CALLS} calls sent, {admitted} admitted and passed, {refused} refused");
    Ok(())
}

/// How many calls were admitted and how many refused, once that many were judged.
fn judged(dataplane: &Dataplane, calls: u64) -> Result<(u64, u64)> {
    let of = |outcomes: &BTreeMap<Outcome, u64>, outcome| outcomes.get(&outcome).copied().unwrap_or(0);
    let until = Instant::now() + PATIENCE;
    loop {
        let outcomes = dataplane.counters.outcomes()?;
        let counted = (of(&outcomes, Outcome::SipAdmitted), of(&outcomes, Outcome::SipOverAccount));
        if counted.0 + counted.1 >= calls {
            return Ok(counted);
        }
        ensure!(Instant::now() < until, "of {calls} calls only {counted:?} were judged: {outcomes:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How much of its million instructions the verifier of this kernel has needed for each program.
fn print_verified() {
    let ours = loaded_programs().filter_map(Result::ok).filter_map(|program| {
        let name = program.name_as_str().filter(|name| name.starts_with("edge_"))?.to_owned();
        Some((name, program.verified_instruction_count()?))
    });
    for (name, instructions) in ours {
        println!("{name}: {instructions} instructions verified");
    }
}

/// Where the calls of a wire come from; each has an account of its own.
fn source(wire: usize) -> [u8; 4] {
    let [a, b, c, d] = ACME_SOURCE;
    [a, b, c, d.wrapping_add(u8::try_from(wire).unwrap_or(u8::MAX))]
}

/// An account for each wire, with a burst of calls and hardly any rate.
fn desired(wires: usize) -> Desired {
    let mut policy = Policy { mode: Mode::Enforce as u32, ..Policy::OPEN };
    policy.account[Class::SipInvite.index()] = at_once(BURST);
    let account = |policy, prefixes| DesiredAccount {
        plan: "vm".to_owned(),
        policy,
        prefixes,
        shown_ids: Vec::new(),
        trunks: BTreeMap::new(),
        system_ids: Vec::new(),
    };
    let unknown = (UNKNOWN_ACCOUNT.to_owned(), account(Policy::OPEN, Vec::new()));
    let of_wire = |wire| (format!("wire{wire}"), account(policy, vec![IpAddr::from(source(wire)).into()]));
    Desired {
        accounts: (0..wires).map(of_wire).chain([unknown]).collect(),
        standings: BTreeMap::new(),
        ports: PortSets { sip_udp: vec![SIP_PORT], ..PortSets::default() },
        settings: GlobalSettings {
            mode: Mode::Enforce,
            ipv6_mask: [0xff; 16],
            repeat_window_ns: 32_000_000_000,
            prefix_digits: 5,
            call_unanswered_ns: 200_000_000_000,
            call_answered_ns: 14_400_000_000_000,
            registered_for_ns: 0,
            refusals: Limit::NONE,
            refusal_answer_ns: 30_000_000_000,
            bind_idle_ns: 3_600_000_000_000,
            resets: true,
            message_records: 0,
        },
        account_capacity: 16,
        prefix_capacity: 64,
        trunk_capacity: 1024,
        caller_id_capacity: 64,
    }
}

/// A call of its own: another Call-ID and branch than all others of its source.
fn call(source: [u8; 4], number: u64) -> Vec<u8> {
    let invite = Request::new("INVITE")
        .call_id(&format!("{number}@{}", Ipv4Addr::from(source)))
        .branch(&format!("z9hG4bK{number}"))
        .bytes();
    Frame::ipv4(source, SERVER).udp(SIP_PORT, SIP_PORT).payload(&invite).bytes()
}

/// A socket that sees what the interface hands to the stack.
fn packet_socket(interface: &str) -> Result<OwnedFd> {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_NONBLOCK, SockProtocol::EthAll)
        .context("cannot make a packet socket")?;
    bind(socket.as_raw_fd(), &link_address(interface)?).context("cannot bind a packet socket")?;
    Ok(socket)
}

fn link_address(interface: &str) -> Result<LinkAddr> {
    getifaddrs()
        .context("cannot list interfaces")?
        .filter(|address| address.interface_name == interface)
        .find_map(|address| address.address?.as_link_addr().copied())
        .with_context(|| format!("there is no interface {interface}"))
}

/// Calls among the frames that wait at a socket.
fn count_calls(socket: &OwnedFd) -> Result<u64> {
    let mut calls = 0;
    let mut frame = [0; 2048];
    loop {
        match recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            Ok(length) => {
                let is_call = frame[..length].windows(7).any(|window| window == b"INVITE ");
                calls += u64::from(is_call);
            }
            Err(Errno::EAGAIN) => return Ok(calls),
            Err(error) => return Err(error).context("cannot receive"),
        }
    }
}
