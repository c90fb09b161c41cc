//! The demo's DNS server: one small zone over UDP, answered from memory. SRV records name the workers, their
//! addresses come along in the additional section.
//!
//! Not here: TCP and zone files. The answers are far below 512 bytes, so nobody has to ask again over TCP.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SOA, SRV};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// The name under which the demo's workers are found.
pub(super) const SRV_NAME: &str = "_playlist._http.example.test";
const ORIGIN: &str = "example.test.";
const SERVICE: &str = "_playlist._http.example.test.";

/// Time to live of every record, in seconds: short, so that the demo shows refreshing.
const TTL: u32 = 5;
/// How long a resolver may remember that a name is not there, in seconds.
const NEGATIVE_TTL: u32 = 1;
/// The longest question that is read; DNS over UDP needs 512 bytes, EDNS clients send little more.
const QUESTION_BYTES: usize = 1232;
/// The server looks this often whether it shall stop.
const STOP_POLL: Duration = Duration::from_millis(50);

/// One worker as the zone knows it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// First label of its host name: `a` is `a.example.test`.
    pub(super) name: &'static str,
    /// SRV priority: lower is tried first.
    pub(super) priority: u16,
    /// SRV weight: the share inside a priority.
    pub(super) weight: u16,
    /// Where it listens.
    pub(super) port: u16,
}

/// A running server; dropping it ends its thread.
pub(super) struct DnsServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DnsServer {
    /// Binds a free loopback port and serves `zone` from a thread of its own.
    pub(super) fn start(zone: Zone) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(STOP_POLL))?;
        let address = socket.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("demo-dns".into())
            .spawn(move || serve(&socket, &zone, &stopped))?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it answers.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has already been printed; there is nothing left to give back.
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, zone: &Zone, stop: &AtomicBool) {
    let mut buffer = [0; QUESTION_BYTES];
    while !stop.load(Ordering::Relaxed) {
        // An error here is the read timeout, or an ICMP message about an earlier answer: both mean "listen on".
        let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
        if let Some(answer) = zone.answer(&buffer[..length]) {
            // An answer that is lost is asked for again: that is UDP.
            let _ = socket.send_to(&answer, client);
        }
    }
}

/// The zone `example.test`: one service, and one host for each of its workers.
pub(super) struct Zone {
    origin: Name,
    service: Name,
    hosts: Vec<(Name, Target)>,
}

impl Zone {
    /// The zone with these workers. Fails if a name is not a DNS label.
    pub(super) fn new(targets: &[Target]) -> io::Result<Self> {
        let hosts = targets
            .iter()
            .map(|target| Ok((name(&format!("{}.{ORIGIN}", target.name))?, target.clone())))
            .collect::<io::Result<_>>()?;
        Ok(Self { origin: name(ORIGIN)?, service: name(SERVICE)?, hosts })
    }

    /// The answer to one datagram; none to what is not a question, so that two servers never talk in circles.
    fn answer(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        let question = match Message::from_vec(datagram) {
            Ok(message) => message,
            Err(_) => return malformed(datagram),
        };
        if question.metadata.message_type != MessageType::Query {
            return None;
        }
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.recursion_desired = question.metadata.recursion_desired;
        answer.add_queries(question.queries.iter().cloned());
        if question.edns.is_some() {
            answer.set_edns(Edns::new());
        }
        match question.queries.as_slice() {
            _ if question.metadata.op_code != OpCode::Query => {
                answer.metadata.response_code = ResponseCode::NotImp;
            }
            [query] => self.fill(query, &mut answer),
            _ => answer.metadata.response_code = ResponseCode::FormErr,
        }
        answer.to_vec().ok()
    }

    fn fill(&self, query: &Query, answer: &mut Message) {
        let asked = query.name().to_lowercase();
        if query.query_class() != DNSClass::IN || !self.origin.zone_of(&asked) {
            answer.metadata.response_code = ResponseCode::Refused;
            return;
        }
        answer.metadata.authoritative = true;
        match query.query_type() {
            RecordType::SRV if asked == self.service => {
                for (host, target) in &self.hosts {
                    let srv = SRV::new(target.priority, target.weight, target.port, host.clone());
                    answer.add_answer(Record::from_rdata(query.name().clone(), TTL, RData::SRV(srv)));
                    answer.add_additional(address_of(host));
                }
            }
            RecordType::A if self.hosts.iter().any(|(host, _)| *host == asked) => {
                answer.add_answer(address_of(query.name()));
            }
            RecordType::SOA if asked == self.origin => {
                answer.add_answer(self.soa());
            }
            _ => {
                if !self.has(&asked) {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                }
                answer.add_authority(self.soa());
            }
        }
    }

    /// Whether a name stands in the zone, or anything stands below it (RFC 8020).
    fn has(&self, asked: &Name) -> bool {
        asked.zone_of(&self.service) || self.hosts.iter().any(|(host, _)| asked.zone_of(host))
    }

    /// Sent with every "no", because its last field tells resolvers how long to remember it (RFC 2308).
    fn soa(&self) -> Record {
        let soa = SOA::new(self.origin.clone(), self.origin.clone(), 1, 60, 60, 3600, NEGATIVE_TTL);
        Record::from_rdata(self.origin.clone(), NEGATIVE_TTL, RData::SOA(soa))
    }
}

fn address_of(host: &Name) -> Record {
    Record::from_rdata(host.clone(), TTL, RData::A(A(Ipv4Addr::LOCALHOST)))
}

fn name(text: &str) -> io::Result<Name> {
    Name::from_ascii(text)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("{text}: {error}")))
}

/// FORMERR, if at least a header came and it was not itself an answer.
fn malformed(datagram: &[u8]) -> Option<Vec<u8>> {
    let (&[high, low, flags], true) = (datagram.first_chunk()?, datagram.len() >= 12) else { return None };
    let is_answer = flags & 0x80 != 0;
    let answer = Message::error_msg(u16::from_be_bytes([high, low]), OpCode::Query, ResponseCode::FormErr);
    (!is_answer).then(|| answer.to_vec().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use hickory_resolver::TokioResolver;
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;

    use super::*;

    fn zone() -> Zone {
        Zone::new(&[
            Target { name: "a", priority: 10, weight: 3, port: 9001 },
            Target { name: "b", priority: 20, weight: 0, port: 9002 },
        ])
        .unwrap()
    }

    fn ask(asked: &str, kind: RecordType) -> Message {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(asked).unwrap(), kind));
        let answer = Message::from_vec(&zone().answer(&question.to_vec().unwrap()).unwrap()).unwrap();
        assert_eq!(answer.metadata.id, question.metadata.id);
        assert_eq!(answer.queries, question.queries);
        answer
    }

    #[test]
    fn the_service_is_answered_with_priority_weight_port_and_addresses() {
        let answer = ask("_playlist._http.example.test.", RecordType::SRV);
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        let found: Vec<_> = answer
            .answers
            .iter()
            .map(|record| match &record.data {
                RData::SRV(srv) => (srv.priority, srv.weight, srv.port, srv.target.to_string()),
                other => panic!("not SRV: {other:?}"),
            })
            .collect();
        assert_eq!(found, [(10, 3, 9001, "a.example.test.".into()), (20, 0, 9002, "b.example.test.".into())]);
        assert_eq!(answer.additionals.len(), 2);
        assert!(answer.additionals.iter().all(|record| record.data == RData::A(A(Ipv4Addr::LOCALHOST))));
    }

    #[test]
    fn case_does_not_matter_and_is_kept_in_the_answer() {
        let answer = ask("_PlayList._HTTP.Example.test.", RecordType::SRV);
        assert_eq!(answer.answers[0].name.to_string(), "_PlayList._HTTP.Example.test.");
    }

    #[test]
    fn unknown_names_known_names_without_data_and_foreign_names_differ() {
        let missing = ask("nobody.example.test.", RecordType::A);
        assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(missing.authorities.len(), 1);
        for (asked, kind) in [
            ("a.example.test.", RecordType::AAAA),
            ("_http.example.test.", RecordType::SRV),
            ("example.test.", RecordType::A),
        ] {
            let empty = ask(asked, kind);
            assert_eq!(empty.metadata.response_code, ResponseCode::NoError, "{asked}");
            assert!(empty.answers.is_empty());
            assert_eq!(empty.authorities.len(), 1);
        }
        assert_eq!(ask("example.com.", RecordType::A).metadata.response_code, ResponseCode::Refused);
    }

    #[test]
    fn what_cannot_be_read_is_a_format_error_and_answers_are_not_answered() {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(SERVICE).unwrap(), RecordType::SRV));
        let mut bytes = question.to_vec().unwrap();
        bytes.truncate(20);
        let answer = Message::from_vec(&zone().answer(&bytes).unwrap()).unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::FormErr);
        assert_eq!(zone().answer(&bytes[..5]), None);
        bytes[2] |= 0x80;
        assert_eq!(zone().answer(&bytes), None);
    }

    #[test]
    fn a_resolver_finds_the_workers_over_udp_and_the_server_ends_when_dropped() {
        let server = DnsServer::start(zone()).unwrap();
        let mut connection = ConnectionConfig::udp();
        connection.port = server.address().port();
        let servers = vec![NameServerConfig::new(server.address().ip(), true, vec![connection])];
        let config = ResolverConfig::from_name_servers(servers);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            let resolver = resolver.build().unwrap();
            let found = resolver.lookup(SERVICE, RecordType::SRV).await.unwrap();
            assert_eq!(found.answers().len(), 2);
            assert!(found.answers().iter().all(|record| record.ttl == TTL));
            assert_eq!(found.message().additionals.len(), 2);
            assert!(resolver.lookup("nobody.example.test.", RecordType::A).await.is_err());
        });
        drop(server);
    }
}
