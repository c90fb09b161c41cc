//! One thing that is to be said about a TLS file: for `check` it becomes a [`Problem`], for the log one line.

use std::fmt;

use crate::config::{At, Code, Problem, Severity};

/// What is wrong with a certificate, key, CA or CRL, and at which line of the configuration the file is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub code: Code,
    /// Where the file is named.
    pub at: At,
    /// The file, and what is wrong with it.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Finding {
    /// Whether `check` fails with it.
    pub fn is_error(&self) -> bool {
        self.severity() == Severity::Error
    }

    /// Whether nothing can be served with it. A certificate outside its dates is an error that a start survives: the
    /// other services, and clients that do not look, should not go down with it.
    pub fn stops(&self) -> bool {
        self.is_error() && self.code != Code::CertificateDates
    }

    fn severity(&self) -> Severity {
        match (self.code as u16) < Code::NoDefault as u16 {
            true => Severity::Error,
            false => Severity::Warning,
        }
    }

    /// The same for `check`, which shows the line of the configuration.
    pub fn into_problem(self) -> Problem {
        Problem {
            severity: self.severity(),
            code: self.code,
            file: self.at.file,
            line: self.at.line,
            column: self.at.column,
            length: 1,
            message: self.message,
            help: Some(self.help),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} [{}]; {}", self.at, self.message, self.code, self.help)
    }
}
