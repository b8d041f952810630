//! How a command ends when it does not succeed: one shape for people, one for machines, one table of codes.

use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;
use edge_user::api::client::ClientError;
use edge_user::api::types::ApiError;

use crate::output::{Output, complain_json};

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Refused, or something failed: exit code 1.
    Failed(ApiError),
    /// The words are all right to clap, but not to us: exit code 2.
    Usage(ApiError),
    /// There is nobody to ask: exit code 3.
    Unreachable(ApiError),
    /// Who read our output has gone (`edgectl … | head`): nothing to say, nobody to say it to.
    ReaderGone,
}

impl Failure {
    /// Exit code 1.
    pub(crate) fn failed(code: &str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Failed(ApiError::new(code, message, advice))
    }

    /// Exit code 2.
    pub(crate) fn usage(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Usage(ApiError::new("usage", message, advice))
    }

    /// Says it on stderr and gives the exit code.
    pub(crate) fn tell(&self, output: Output) -> ExitCode {
        let (error, code) = match self {
            Self::Failed(error) => (error, 1),
            Self::Usage(error) => (error, 2),
            Self::Unreachable(error) => (error, 3),
            Self::ReaderGone => return ExitCode::SUCCESS,
        };
        output.error(error);
        ExitCode::from(code)
    }
}

/// What clap found: help and version are no failure, everything else is exit code 2.
pub(crate) fn usage(error: &clap::Error, json: bool) -> ExitCode {
    let wanted = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if wanted {
        // A reader that has gone is no failure either.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if json {
        let text = error.render().to_string();
        complain_json(&ApiError::new("usage", text.trim().trim_start_matches("error: "), ""));
    } else {
        let _ = error.print();
    }
    ExitCode::from(2)
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(error) => Self::Failed(error),
            ClientError::Unreachable { message, advice } => {
                Self::Unreachable(ApiError::new("unreachable", message, advice))
            }
            ClientError::Foreign { .. } => Self::Unreachable(ApiError::new(
                "foreign_answer",
                error.to_string(),
                "edged and edgectl may be of different versions, or --socket names another program's",
            )),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ReaderGone;
        }
        Self::failed("output", format!("cannot write: {error}"), "")
    }
}
