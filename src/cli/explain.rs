//! `buckler explain`: what would be decided about a request, and by which rule at which line. The very code that admits
//! requests decides here too, over a ledger in which nobody owes anything. How it is told stands in `told.rs`.

mod told;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::Arc;

use http::{HeaderValue, Method};

use super::arguments::Explain;
use super::exit::Exit;
use super::key::first_line;
use super::{load, output};
use crate::admit::caller::{CachedCaller, CallerBook, Peer};
use crate::admit::ledger::Ledger;
use crate::admit::limit::LimitBook;
use crate::admit::permission::{RuleBook, trace};
use crate::admit::{self, Facts, host, path};
use crate::clock::Moment;
use crate::config::{ClientCertificate, Config, Service, ServiceName};
use crate::fields::Fields;
use crate::listen::wire::{Wire, WireBounds};
use crate::refusal::{Reason, Refusal};
use crate::tls::identity::Identity;
use told::{Answer, Told};

/// Runs the command.
pub(super) fn run(arguments: &Explain) -> Exit {
    let sound = match load::sound(&arguments.file) {
        Ok(sound) => sound,
        Err(exit) => return exit,
    };
    let asked = match Asked::read(arguments, &sound.config) {
        Ok(asked) => asked,
        Err(why) => {
            output::say(&format!("buckler: {why}"));
            return Exit::Usage;
        }
    };
    let told = explain(&asked, &sound.config, Moment::read());
    if arguments.json { output::json(&told) } else { output::data(&told.to_string()) }
}

/// The request that is asked about, as it would come.
struct Asked<'a> {
    service: Arc<Service>,
    arguments: &'a Explain,
    host: String,
    key: Option<String>,
}

impl<'a> Asked<'a> {
    fn read(arguments: &'a Explain, config: &Config) -> Result<Self, String> {
        let service = service(&arguments.service, config)?;
        let host = arguments.host.clone().unwrap_or_else(|| usual_host(&service));
        let key = arguments.key_file.as_deref().map(read_key).transpose()?;
        let has_break = |text: &str| text.contains(['\r', '\n']);
        if [&arguments.method, &arguments.path, &host].into_iter().any(|text| has_break(text)) {
            return Err("a line break in --method, --path or --host would make another request".to_owned());
        }
        match (asks(&service), &arguments.certificate) {
            (ClientCertificate::None, Some(_)) => {
                return Err(format!("{} asks for no certificate; leave --certificate out", service.name));
            }
            (ClientCertificate::Required, None) => {
                let name = &service.name;
                return Err(format!("{name} takes no client without a certificate; add --certificate NAME"));
            }
            _ => {}
        }
        if !arguments.path.starts_with('/') && arguments.path != "*" {
            return Err(format!("--path begins with a slash; try /{}", arguments.path));
        }
        Ok(Self { service, arguments, host, key })
    }

    /// The request line and Host as they would come over the wire.
    fn head(&self) -> String {
        let Explain { method, path, .. } = self.arguments;
        format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.host)
    }
}

/// Whether the service asks its clients for a certificate.
fn asks(service: &Service) -> ClientCertificate {
    service.tls.as_ref().map_or(ClientCertificate::None, |tls| tls.client_certificate)
}

/// The address of its port; a file has none.
fn usual_host(service: &Service) -> String {
    service.listen.tcp().map_or_else(|| "localhost".to_owned(), |address| address.to_string())
}

fn service(name: &str, config: &Config) -> Result<Arc<Service>, String> {
    let found = ServiceName::new(name).and_then(|name| config.services.get(&name).cloned());
    found.ok_or_else(|| {
        let names: Vec<&str> = config.services.keys().map(ServiceName::as_str).collect();
        format!("there is no service {name}; the configuration has: {}", names.join(", "))
    })
}

fn read_key(file: &Path) -> Result<String, String> {
    let key = match file.to_str() {
        Some("-") => first_line(io::stdin().lock()),
        _ => File::open(file)
            .map_err(|error| error.to_string())
            .and_then(|file| first_line(BufReader::new(file))),
    };
    key.map_err(|why| format!("cannot read a key from {}: {why}", file.display()))
}

fn explain(asked: &Asked<'_>, config: &Config, now: Moment) -> Told {
    let mut told = Told::about(&asked.service, asked.arguments, &asked.host);
    told.answer = judge(asked, config, now, &mut told)
        .unwrap_or_else(|refusal| Answer::refused(&refusal, &Fields::default()));
    told
}

/// The way of a request to its verdict; what is learned on it goes to `told`.
fn judge(asked: &Asked<'_>, config: &Config, now: Moment, told: &mut Told) -> Result<Answer, Refusal> {
    let service = &asked.service;
    judge_framing(asked)?;
    let method = Method::from_bytes(asked.arguments.method.as_bytes())
        .map_err(|_| Refusal::new(Reason::BadRequest, "the method is not a token"))?;
    let (host, _) = host::canonical(&asked.host).map_err(|fault| fault.refusal())?;
    let written = asked.arguments.path.split('?').next().unwrap_or_default();
    let target = path::target(&method, written).map_err(|fault| fault.refusal())?;
    told.judges(&host, target.as_str());

    let callers = CallerBook::new(config.callers.clone());
    let fields = credentials(asked, config)?;
    let certificate = asked.arguments.certificate.as_deref().map(Identity::of_name);
    let peer = Peer { certificate: certificate.as_ref(), ..asked.arguments.address.into() };
    let caller = callers.identify(peer, &fields, &mut CachedCaller::default())?;
    let name = callers.name(&caller);
    told.names(&caller, name, config);

    let facts = Facts { method: &method, host: &host, path: target.as_str() };
    told.traces(&service.permissions, &trace(&service.permissions, (&caller, name), &facts, now));
    let limits = LimitBook::new(service, &config.callers, Arc::new(Ledger::new(config.callers.max_keys)));
    told.limits(service, config, (&caller, limits.own_rule(&caller, now)), limits.cost(&facts), now);

    let mut shadows = Vec::new();
    let verdict =
        admit::decide((&RuleBook::new(service), &limits), (&caller, name), &facts, now, &mut shadows);
    told.shadows(&shadows);
    let fields = |standing: Option<_>, is_refused| {
        let mut fields = Fields::default();
        if let Some(standing) = standing.filter(|_| limits.tells(&caller, is_refused)) {
            limits.write_headers(&standing, &mut fields);
        }
        fields
    };
    Ok(match verdict {
        Ok(grant) => Answer::passes(&fields(grant.standing, false)),
        Err(refused) => {
            let standing = refused.standing.or_else(|| limits.peek_enforced(&caller, now));
            Answer::refused(&refused.refusal, &fields(standing, true))
        }
    })
}

/// What the framing scanner says of the request line and Host.
fn judge_framing(asked: &Asked<'_>) -> Result<(), Refusal> {
    let bounds = &asked.service.bounds;
    let bounds = WireBounds {
        head_bytes: bounds.head_bytes,
        head_fields: bounds.head_fields,
        uri_bytes: bounds.uri_bytes,
    };
    Wire::new(bounds).scan(asked.head().as_bytes()).map(drop).map_err(|fault| fault.refusal)
}

fn credentials(asked: &Asked<'_>, config: &Config) -> Result<Fields, Refusal> {
    let mut fields = Fields::default();
    if let Some(key) = &asked.key {
        let value = HeaderValue::from_str(key)
            .map_err(|_| Refusal::new(Reason::BadRequest, "the key cannot stand in a header"))?;
        fields.add(config.callers.api_key_header.as_str(), value.as_bytes());
    }
    Ok(fields)
}
