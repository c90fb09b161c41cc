//! With which code the process ends. Scripts and units rely on it, so a code never changes its meaning.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Fine = 0,
    /// Something failed while it ran.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// A port cannot be listened on.
    CannotBind = 3,
    /// A running Buckler was asked and said no.
    AdminRefused = 4,
    /// The configuration is wrong (`EX_CONFIG` of sysexits.h); a restart would not help.
    BadConfiguration = 78,
}

impl Exit {
    /// The exit with this code; a code without a meaning counts as a failure.
    pub const fn of(code: u8) -> Self {
        match code {
            0 => Self::Fine,
            2 => Self::Usage,
            3 => Self::CannotBind,
            4 => Self::AdminRefused,
            78 => Self::BadConfiguration,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        (exit as u8).into()
    }
}
