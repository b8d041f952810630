//! `edgectl doctor smpp`: whether an SMPP server bears native refusal, found out before it is switched on.
//!
//! Native refusal turns a `submit_sm` in place into an `enquire_link` whose former body begins with a vendor TLV,
//! and the server's answer back into a `submit_sm_resp`. That needs an answer of exactly 16 bytes with the same
//! sequence number. Here a test bind sends that very form.

use std::path::Path;

use rusmpp::encode::{Encode, Length};
use rusmpp::pdus::{BindTransceiver, SubmitSm};
use rusmpp::types::COctetString;
use rusmpp::values::InterfaceVersion;
use rusmpp::{Command, CommandId, CommandStatus, Pdu};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{PATIENCE, Steps, connect};
use crate::cli::SmppArgs;
use crate::failure::Failure;

/// The header of every PDU (SMPP 3.4, 3.2).
const HEADER_BYTES: usize = 16;
/// The longest PDU that is believed.
const LONGEST_PDU_BYTES: usize = 64 * 1024;
/// First tag of those reserved for vendors (SMPP 3.4, 5.3.2).
const VENDOR_TAG: u16 = 0x1400;

/// Goes through all steps; `None` at the first that fails.
pub(super) async fn examine(args: &SmppArgs, steps: &mut Steps) -> Result<Option<()>, Failure> {
    let password = args.password_file.as_deref().map(password).transpose()?.unwrap_or_default();
    let bind = bind(args, &password)?;
    Ok(probe(&args.server, bind, steps).await)
}

async fn probe(server: &str, bind: Pdu, steps: &mut Steps) -> Option<()> {
    let mut session = Session(connect(server, steps).await?);
    let bound = session.ask(&encoded(1, bind)).await.and_then(|answer| match answer.status {
        0 => Ok("bound".into()),
        status => Err(format!("refused with {:?}", CommandStatus::from(status))),
    });
    steps.note("bind_transceiver", bound)?;
    let probed = session.ask(&refused_submit(2)).await.and_then(|answer| {
        let command = format!("{:?} of {} bytes", CommandId::from(answer.command), answer.length);
        let bytes_fit = answer.length == HEADER_BYTES;
        let fits = matches!(
            CommandId::from(answer.command),
            CommandId::EnquireLinkResp | CommandId::GenericNack | CommandId::SubmitSmResp
        );
        if bytes_fit && fits { Ok(command) } else { Err(format!("{command}, {HEADER_BYTES} are needed")) }
    });
    steps.note("enquire_link made of a submit_sm", probed)?;
    let alive = session.ask(&encoded(3, Pdu::EnquireLink)).await;
    steps.note("enquire_link after it", alive.map(|_| "the bind lives".into()))?;
    // Whatever it answers: the question is answered already.
    let _ = session.ask(&encoded(4, Pdu::Unbind)).await;
    Some(())
}

/// One connection.
struct Session(TcpStream);

/// A PDU's header.
struct Answer {
    length: usize,
    command: u32,
    status: u32,
}

impl Session {
    /// Sends a PDU and waits for the one with its sequence number.
    async fn ask(&mut self, pdu: &[u8]) -> Result<Answer, String> {
        let sequence = word(pdu, 12);
        let asked = async {
            self.0.write_all(pdu).await?;
            loop {
                let mut header = [0; HEADER_BYTES];
                self.0.read_exact(&mut header).await?;
                let length = usize::try_from(word(&header, 0)).unwrap_or(usize::MAX);
                let Some(body) = length.checked_sub(HEADER_BYTES).filter(|_| length <= LONGEST_PDU_BYTES)
                else {
                    return Err(std::io::Error::other(format!("a PDU claims {length} bytes")));
                };
                self.0.read_exact(&mut vec![0; body]).await?;
                // Responses have the highest bit set (SMPP 3.4, 5.1.2): what the server asks meanwhile is not ours.
                let command = word(&header, 4);
                if command >> 31 == 1 && word(&header, 12) == sequence {
                    return Ok(Answer { length, command, status: word(&header, 8) });
                }
            }
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(answer) => answer.map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
                _ => error.to_string(),
            }),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }
}

fn bind(args: &SmppArgs, password: &str) -> Result<Pdu, Failure> {
    let fits = |what: &str, longest: usize| {
        Failure::usage(format!("the {what} has more than {longest} characters or others than ASCII"), "")
    };
    let bind = BindTransceiver::builder()
        .system_id(args.system_id.parse().map_err(|_| fits("system id", 15))?)
        .password(password.parse().map_err(|_| fits("password", 8))?)
        .interface_version(InterfaceVersion::Smpp3_4)
        .build();
    Ok(bind.into())
}

fn password(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::usage(format!("{}: {error}", file.display()), "name a file that you may read")
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn encoded(sequence: u32, pdu: Pdu) -> Vec<u8> {
    let command = Command::new(CommandStatus::EsmeRok, sequence, pdu);
    // `command_length` counts itself; the library leaves it to who frames.
    let length = 4 + command.length();
    let mut bytes = vec![0; length];
    bytes[..4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    command.encode(&mut bytes[4..]);
    bytes
}

/// A `submit_sm` as the kernel leaves it when it refuses: another command, and a TLV over the rest of the body.
fn refused_submit(sequence: u32) -> Vec<u8> {
    // Numbers that nobody has, for a server that reads them all the same.
    let number = COctetString::from_static_slice(b"999000000000\0").unwrap_or_default();
    let submit = SubmitSm::builder().source_addr(number.clone()).destination_addr(number).build();
    let mut bytes = encoded(sequence, submit.into());
    bytes[4..8].copy_from_slice(&u32::from(CommandId::EnquireLink).to_be_bytes());
    let value = u16::try_from(bytes.len() - HEADER_BYTES - 4).unwrap_or(u16::MAX);
    bytes[16..18].copy_from_slice(&VENDOR_TAG.to_be_bytes());
    bytes[18..20].copy_from_slice(&value.to_be_bytes());
    bytes
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |word| u32::from_be_bytes(*word))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::super::Step;
    use super::*;

    /// A server that answers each command as the table says: command, status and length of the answer.
    fn server(answers: &'static [(u32, u32, u32, usize)]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut header = [0; HEADER_BYTES];
            while stream.read_exact(&mut header).is_ok() {
                stream.read_exact(&mut vec![0; word(&header, 0) as usize - HEADER_BYTES]).unwrap();
                let found = answers.iter().find(|(command, ..)| *command == word(&header, 4));
                let Some((_, command, status, length)) = found else { return };
                let mut answer = vec![0; *length];
                answer[..4].copy_from_slice(&u32::try_from(*length).unwrap().to_be_bytes());
                answer[4..8].copy_from_slice(&command.to_be_bytes());
                answer[8..12].copy_from_slice(&status.to_be_bytes());
                answer[12..16].copy_from_slice(&header[12..16]);
                // Something of its own first, which is no answer.
                let mut other = [0_u8; HEADER_BYTES];
                (other[3], other[7], other[15]) = (16, 0x15, header[15]);
                stream.write_all(&other).unwrap();
                stream.write_all(&answer).unwrap();
            }
        });
        address
    }

    async fn diagnose(answers: &'static [(u32, u32, u32, usize)]) -> (bool, Vec<Step>) {
        let args = SmppArgs { server: server(answers), system_id: "doctor".into(), password_file: None };
        let mut steps = Steps::default();
        let fits = probe(&args.server, bind(&args, "secret").unwrap(), &mut steps).await.is_some();
        (fits, steps.0)
    }

    #[tokio::test]
    async fn a_server_that_answers_in_sixteen_bytes_bears_it() {
        let (fits, steps) =
            diagnose(&[(0x09, 0x8000_0009, 0, 20), (0x15, 0x8000_0015, 0, 16), (0x06, 0x8000_0006, 0, 16)])
                .await;
        assert!(fits, "{steps:?}");
        assert_eq!(steps[2].found, "EnquireLinkResp of 16 bytes");
    }

    #[tokio::test]
    async fn a_server_that_answers_longer_or_not_at_all_does_not() {
        let (fits, steps) = diagnose(&[(0x09, 0x8000_0009, 0, 20), (0x15, 0x8000_0004, 0, 17)]).await;
        assert!(!fits);
        assert_eq!(steps.last().unwrap().found, "SubmitSmResp of 17 bytes, 16 are needed");
        let (fits, steps) = diagnose(&[(0x09, 0x8000_0009, 0, 20)]).await;
        assert!(!fits);
        assert_eq!(steps.last().unwrap().found, "the server closed the connection");
    }

    #[tokio::test]
    async fn a_bind_that_is_refused_ends_it() {
        let (fits, steps) = diagnose(&[(0x09, 0x8000_0009, 0x0e, 16)]).await;
        assert!(!fits);
        assert_eq!(steps.last().unwrap().found, "refused with EsmeRinvpaswd");
    }

    #[test]
    fn the_probe_is_a_submit_with_five_bytes_changed() {
        let probe = refused_submit(2);
        assert_eq!(word(&probe, 0) as usize, probe.len());
        assert_eq!((word(&probe, 4), word(&probe, 12)), (0x15, 2));
        let value = usize::from(u16::from_be_bytes([probe[18], probe[19]]));
        assert_eq!((word(&probe, 16) >> 16, 20 + value), (0x1400, probe.len()));
    }
}
