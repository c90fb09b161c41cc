//! The command line as clap reads it, and the text of `--help`. What the commands do stands in a file each.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::demo::DemoArgs;

const AFTER_HELP: &str = "\
Examples:
  buckler demo                        see it work: workers, DNS, callers and limits, all on this machine
  buckler key                         make an API key for a caller, and the hash for the file
  buckler check -c buckler.yaml       every mistake at once, with line and column; needs no network, no root
  buckler run -c buckler.yaml         start
  buckler reload -c buckler.yaml      make the running one read its file again (or: send it HUP)
  buckler explain --service playlist --method GET --path /admin/x --address 192.0.2.7
                                      what would be decided, and by which rule at which line

Files:
  ./buckler.yaml, /etc/buckler/buckler.yaml
                                      the configuration, in this order, when there is no -c

Signals of `buckler run`:
  TERM, INT, QUIT
              take no new requests, finish those in progress within shutdown.grace (30s), end with 0;
              a second one ends at once, with 1
  HUP         read the configuration again; a faulty one changes nothing and is reported
  USR1        open the access log's file again, after a rotation
  USR2        nothing but a line in the log: replacing the running program is not built

Exit codes:
  0   fine                            3   a port cannot be listened on
  1   failed while running            4   a running Buckler refused (reload)
  2   wrong usage                     78  the configuration is wrong; do not restart

Data goes to standard output, everything for people to standard error.
`buckler COMMAND --help` tells more. -t is short for check, as in nginx.";

/// One port per service, every caller gets its agreed share, and anyone can ask why.
#[derive(Debug, Parser)]
#[command(
    name = "buckler",
    version,
    after_help = AFTER_HELP,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Start, and serve until a signal
    Run(ConfigFile),
    /// Say everything that is wrong with the configuration (also: buckler -t)
    #[command(after_help = "\
Every error and warning comes with file, line and column, the line itself, what was expected and the nearest right
name. Nothing is opened but the files: no port, no name lookup. Ends with 0, or with 78 if Buckler would not start.")]
    Check(Check),
    /// Print the effective configuration, each value with the line it comes from
    Config(Effective),
    /// Print the JSON Schema of the configuration, for editors
    #[command(after_help = "\
Example, as the first line of the file, for editors with a YAML language server:
  # yaml-language-server: $schema=./buckler.schema.json")]
    Schema,
    /// Make an API key, or hash a given one
    #[command(after_help = "\
The caller sends the key in the header x-api-key; the configuration holds only its hash. Buckler keeps no copy.
Example, for a key that exists already:
  printf %s \"$KEY\" | buckler key --stdin")]
    Key(Key),
    /// Say what would be decided about a request, and by which rule at which line
    #[command(after_help = "\
The very code that admits requests decides, with nobody's quota used yet. The default method is GET, the default
caller is 127.0.0.1. Ends with 0 whatever the answer is.

Examples:
  buckler explain --service playlist --path /search/x --key-file office.key
  buckler explain --service playlist --method DELETE --path /a --address 2001:db8::7 --json")]
    Explain(Explain),
    /// Make the running Buckler read its configuration again
    #[command(after_help = "\
Asks the admin listener (POST /api/v1/reload) and waits for the result.
Its address and token_file are taken from the configuration; --admin names another address.
Ends with 0 if the new configuration serves, and with 4 if it was refused; the old one then stays in use. A file
that `buckler check` refuses is reported here, with 78, and not sent; HUP lets the running one report it.")]
    Reload(Reload),
    /// See it at work on this machine: workers, DNS, callers and limits
    Demo(DemoArgs),
    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  buckler completions bash > /etc/bash_completion.d/buckler
  buckler completions zsh  > \"${fpath[1]}/_buckler\"
  buckler completions fish > ~/.config/fish/completions/buckler.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the version
    Version(Version),
}

/// Which configuration is meant.
#[derive(Debug, Args)]
pub(super) struct ConfigFile {
    /// The configuration [default: ./buckler.yaml, then /etc/buckler/buckler.yaml]
    #[arg(short = 'c', long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// Warnings count as errors
    #[arg(long)]
    pub(super) strict: bool,
    /// Print the problems as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Effective {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Version {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Key {
    /// Hash the key on the first line of standard input instead of making one
    #[arg(long)]
    pub(super) stdin: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// The service
    #[arg(long, value_name = "NAME")]
    pub(super) service: String,
    /// The method
    #[arg(long, default_value = "GET")]
    pub(super) method: String,
    /// The request target, as a client would send it
    #[arg(long, value_name = "PATH")]
    pub(super) path: String,
    /// The Host header [default: the service's address, or localhost for a Unix socket]
    #[arg(long)]
    pub(super) host: Option<String>,
    /// A file with the caller's API key on its first line; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,
    /// A name in the caller's certificate, for a service that asks for one: a SPIFFE id or a DNS name
    #[arg(long, value_name = "NAME")]
    pub(super) certificate: Option<String>,
    /// The caller's address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(super) address: IpAddr,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Reload {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// The address of the admin listener, instead of the configuration's
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "config")]
    pub(super) admin: Option<SocketAddr>,
    /// The file with the admin token on its first line, if --admin is given
    #[arg(long, value_name = "FILE", requires = "admin")]
    pub(super) token_file: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Turns nginx's `-t` in front into `check`; everything else stays.
pub(super) fn with_check_for_t(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let starts_with_flag = arguments.get(1).is_some_and(|first| first.as_encoded_bytes().starts_with(b"-"));
    let place = arguments.iter().skip(1).position(|argument| argument == OsStr::new("-t"));
    if let (true, Some(place)) = (starts_with_flag, place) {
        arguments.remove(place + 1);
        arguments.insert(1, "check".into());
    }
    arguments
}
