//! Many SMPP sessions at once, as frugal as can be: real clients would need a machine's memory for them.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpSocket;
use tokio::runtime::Builder;

use crate::netns::SERVER;
use crate::smpp::{self, command};

const HEADER_BYTES: usize = 16;
const RESPONSE: u32 = 0x8000_0000;
const SMPP_PORT: u16 = 2775;
/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Lets this process, and what it starts, have as many files open as it may; sockets are files.
pub fn allow_files() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("cannot have more files open")
}

/// Sessions of clients, each on a connection of its own.
#[derive(Debug)]
pub struct Sessions {
    streams: Vec<TcpStream>,
    /// Of the last request on each.
    sequence: u32,
}

impl Sessions {
    /// Connects from `source` and binds as `system_id`; called in the clients' namespace.
    pub fn bind(source: &str, count: usize, system_id: &str) -> Result<Self> {
        let source = SocketAddr::new(source.parse::<IpAddr>()?, 0);
        let server = SocketAddr::new(SERVER.parse::<IpAddr>()?, SMPP_PORT);
        let streams = Builder::new_current_thread().enable_all().build()?.block_on(async {
            let mut streams = Vec::with_capacity(count);
            while streams.len() < count {
                let socket = TcpSocket::new_v4()?;
                socket.bind(source)?;
                let stream = socket.connect(server).await?.into_std()?;
                stream.set_nonblocking(false)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                streams.push(stream);
            }
            anyhow::Ok(streams)
        })?;
        let mut sessions = Self { streams, sequence: 0 };
        sessions.ask(&|sequence| smpp::bind(command::BIND_TRANSCEIVER, sequence, system_id))?;
        Ok(sessions)
    }

    /// So many messages at once on the first session; how many were refused with this status.
    pub fn push(&mut self, messages: u32, status: u32) -> Result<u32> {
        let stream = self.streams.first_mut().context("a session")?;
        let first = self.sequence + 1;
        self.sequence += messages;
        let requests =
            (first..=self.sequence).flat_map(|sequence| smpp::submit_sm(sequence, "441632960123", b"hello"));
        stream.write_all(&requests.collect::<Vec<u8>>())?;
        let mut refused = 0;
        for _ in 0..messages {
            let answer = read(stream)?;
            ensure!(answer[1] == command::SUBMIT_SM | RESPONSE, "answered {:#x} to a message", answer[1]);
            refused += u32::from(answer[2] == status);
        }
        Ok(refused)
    }

    /// For so long as many messages open on the first session as the window has; how many were refused with this status, and
    /// how many not. Each read is followed by a write, so that no acknowledgement is waited for.
    pub fn hammer(&mut self, window: u32, time: Duration, status: u32) -> Result<(u32, u32)> {
        let stream = self.streams.first_mut().context("a session")?;
        let until = Instant::now() + time;
        let (mut waiting, mut chunk) = (Vec::new(), vec![0; 1 << 16]);
        let (mut open, mut refused, mut passed) = (0, 0, 0);
        loop {
            if Instant::now() < until && open < window {
                let first = self.sequence + 1;
                self.sequence += window - open;
                open = window;
                let requests = (first..=self.sequence)
                    .flat_map(|sequence| smpp::submit_sm(sequence, "441632960123", b"hello"));
                stream.write_all(&requests.collect::<Vec<u8>>())?;
            }
            if open == 0 {
                return Ok((refused, passed));
            }
            let length = stream.read(&mut chunk).context("answers")?;
            ensure!(length > 0, "the server has closed the connection");
            waiting.extend_from_slice(&chunk[..length]);
            let mut at = 0;
            while let Some(header) = waiting.get(at..).and_then(|rest| rest.first_chunk::<HEADER_BYTES>()) {
                let [length, id, got, _] = words(*header);
                if waiting.len() < at + usize::try_from(length)? {
                    break;
                }
                ensure!(id == command::SUBMIT_SM | RESPONSE, "answered {id:#x} to a message");
                at += usize::try_from(length)?;
                open -= 1;
                *(if got == status { &mut refused } else { &mut passed }) += 1;
            }
            waiting.drain(..at);
        }
    }

    /// One message on each.
    pub fn submit(&mut self) -> Result<()> {
        self.ask(&|sequence| smpp::submit_sm(sequence, "441632960123", b"hello"))
    }

    /// Unbinds and closes them all.
    pub fn unbind(mut self) -> Result<()> {
        self.ask(&|sequence| smpp::pdu(command::UNBIND, 0, sequence, b""))
    }

    /// The same request on each session, and an answer with status 0 to each.
    fn ask(&mut self, request: &dyn Fn(u32) -> Vec<u8>) -> Result<()> {
        self.sequence += 1;
        for stream in &mut self.streams {
            stream.write_all(&request(self.sequence))?;
        }
        for stream in &mut self.streams {
            let [_, id, status, sequence] = read(stream)?;
            let is_yes = id & RESPONSE != 0 && status == 0 && sequence == self.sequence;
            ensure!(is_yes, "answered {id:#x} with {status:#x} to {sequence}");
        }
        Ok(())
    }
}

/// One PDU's header.
fn read(stream: &mut TcpStream) -> Result<[u32; 4]> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).context("an answer")?;
    let header = words(header);
    let mut body = vec![0; usize::try_from(header[0])?.saturating_sub(HEADER_BYTES)];
    stream.read_exact(&mut body).context("an answer's body")?;
    Ok(header)
}

fn words(header: [u8; HEADER_BYTES]) -> [u32; 4] {
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    [word(0), word(4), word(8), word(12)]
}
