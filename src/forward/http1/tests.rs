//! Short answers as a client gets them, however the worker's bytes are cut, and what becomes of their connection. The
//! worker listens at a socket of the file system, where what is written is there at once: nothing here waits for time.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use http::Method;
use http_body::Body as _;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::{spawn_local, yield_now};

use super::*;
use crate::clock::ShardClock;
use crate::config::{self, Endpoint};
use crate::forward::Reserved;
use crate::forward::proxy_header::Spoken;
use crate::forward::upload::Upload;
use crate::message::{RequestHead, Target};
use crate::record::Scribe;
use crate::record::counts::ServiceCounts;
use crate::shard::ShardId;
use crate::workers::{CallerGroup, Wanted, Workers};

const NEXT: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnext";

/// What a worker sends to the first request: these pieces, each read before the next one is written.
#[derive(Clone, Debug)]
struct Script {
    pieces: Vec<Vec<u8>>,
    /// Behind them it ends the connection.
    ends: bool,
}

/// A worker that answers the first request by its script, and all others with [`NEXT`].
struct Worker {
    path: PathBuf,
    /// By which of its connections each request came.
    asked: RefCell<Vec<u32>>,
    script: Cell<Option<Script>>,
    said: Notify,
}

impl Worker {
    fn start(script: Script) -> Rc<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("buckler-answers-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        let script = Cell::new(Some(script));
        let worker = Rc::new(Self { path, asked: RefCell::default(), script, said: Notify::new() });
        let listening = Rc::clone(&worker);
        spawn_local(async move {
            for number in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                spawn_local(Rc::clone(&listening).serve(socket, number));
            }
        });
        worker
    }

    async fn serve(self: Rc<Self>, mut socket: UnixStream, number: u32) {
        let mut head = Vec::new();
        while let Ok(1..) = socket.read_buf(&mut head).await {
            if !head.ends_with(b"\r\n\r\n") {
                continue;
            }
            head.clear();
            self.asked.borrow_mut().push(number);
            let Some(script) = self.script.take() else {
                socket.write_all(NEXT).await.unwrap();
                continue;
            };
            for piece in &script.pieces {
                // Whoever has seen enough may be gone.
                if socket.write_all(piece).await.is_err() {
                    break;
                }
                turn().await;
            }
            if script.ends {
                drop(socket);
                self.said.notify_one();
                return;
            }
            self.said.notify_one();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Lets whoever can go on do so: who yields is woken once the runtime has looked at its sockets.
async fn turn() {
    for _ in 0..4 {
        yield_now().await;
    }
}

/// The way to a worker.
struct Way {
    worker: Rc<Worker>,
    route: Route,
    scribe: Rc<Scribe>,
    clock: Rc<ShardClock>,
}

/// What a client got: the status, and the body unless it was cut.
type Got = Result<(u16, Vec<u8>), Reason>;

impl Way {
    fn to(worker: Rc<Worker>) -> Self {
        let clock = ShardClock::new();
        let service = config::plain_service();
        let workers = Workers::new(1);
        let address = Endpoint::Unix(worker.path.as_path().into());
        workers.replace(vec![Wanted { address, priority: 0, weight: 1 }], None, clock.now());
        let place = (ShardId(0), Rc::clone(&clock));
        let route = Route::new(workers, Arc::default(), &service, place, None);
        let callers = config::plain_callers();
        let scribe = Scribe::new(&service.name, ServiceCounts::new(1), ShardId(0), &callers, None);
        Self { worker, route, scribe, clock }
    }

    async fn ask(&self, method: Method) -> Result<Response<Answer>, Refusal> {
        let mut head = RequestHead::new(method, Target::new("", "", "/"));
        head.fields.add("host", b"api.test");
        let mut order = Order { head, body: Upload::none() };
        let call = Call {
            until: None,
            haste: None,
            key: 0,
            group: CallerGroup::of(0),
            early: None,
            spoken: Spoken::ForNobody,
            upgrade: None,
        };
        let mut outcome = self.scribe.begin(self.clock.refresh(), SocketAddr::from(([127, 0, 0, 1], 1)));
        self.route.send(&mut order, Reserved::default(), &call, &mut outcome).await
    }

    /// Asks, and reads the answer to its end: first all of it that is here, if `at_once`.
    async fn get(&self, method: Method, at_once: bool) -> Got {
        let Response { head, body: mut answer } = self.ask(method).await.map_err(|refused| refused.reason)?;
        let (told, mut bytes) = (answer.size_hint().exact(), Vec::new());
        if let Some(whole) = at_once.then(|| answer.take_whole()).flatten() {
            bytes.extend_from_slice(&whole);
        }
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut answer).poll_frame(cx)).await {
            let frame = frame.map_err(|refused| refused.reason)?;
            bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
        assert!(told.is_none_or(|told| told == bytes.len() as u64), "{told:?} told, {} came", bytes.len());
        Ok((head.status.as_u16(), bytes))
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(tokio::runtime::LocalOptions::default()).unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), test).await.unwrap() })
}

/// The first answer of such a worker, the one after it, and whether both came over one connection.
fn answers(script: Script, method: Method, at_once: bool) -> (Got, Got, bool) {
    run(async {
        let way = Way::to(Worker::start(script));
        let first = way.get(method, at_once).await;
        way.worker.said.notified().await;
        turn().await;
        let next = way.get(Method::GET, at_once).await;
        let asked = way.worker.asked.borrow().clone();
        assert!(asked.len() == 2 && asked[0] == 0, "{asked:?}");
        (first, next, asked[1] == 0)
    })
}

/// How an answer says how long its body is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    Length,
    Chunks,
    Nothing,
}

/// An answer and how it comes.
#[derive(Clone, Debug)]
struct Case {
    method: Method,
    says: Says,
    interim: bool,
    close: bool,
    body: Vec<u8>,
    /// So many bytes more than it says come, or less.
    off: isize,
    /// The worker ends the connection.
    ends: bool,
    /// What comes of it together with its head; none: where else it is cut.
    with_head: Option<usize>,
    cuts: Vec<prop::sample::Index>,
    at_once: bool,
}

impl Case {
    fn head(&self) -> String {
        let interim = if self.interim { "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" } else { "" };
        let close = if self.close { "connection: close\r\n" } else { "" };
        let framing = match self.says {
            Says::Length => format!("content-length: {}\r\n", self.body.len()),
            Says::Chunks => "transfer-encoding: chunked\r\n".to_owned(),
            Says::Nothing => String::new(),
        };
        format!("{interim}HTTP/1.1 200 OK\r\n{close}{framing}\r\n")
    }

    /// What is sent behind the head.
    fn behind(&self) -> Vec<u8> {
        let mut behind = match self.says {
            _ if self.method == Method::HEAD => Vec::new(),
            Says::Chunks if self.body.is_empty() => b"0\r\n\r\n".to_vec(),
            Says::Chunks => {
                let size = format!("{:x}\r\n", self.body.len());
                [size.as_bytes(), &self.body, b"\r\n0\r\n\r\n"].concat()
            }
            Says::Length | Says::Nothing => self.body.clone(),
        };
        match usize::try_from(self.off) {
            Ok(more) => {
                behind.extend_from_slice(&b"HTTP/1.1 500 Of Another\r\ncontent-length: 0\r\n\r\n"[..more])
            }
            Err(_) => behind.truncate(behind.len().saturating_sub(self.off.unsigned_abs())),
        }
        behind
    }

    fn script(&self) -> Script {
        let (head, text) = (self.head().len(), [self.head().as_bytes(), &self.behind()].concat());
        let mut at: Vec<usize> = self.cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        if let Some(part) = self.with_head {
            at.push((head + part).min(text.len()));
            at.retain(|at| *at >= head + part);
        }
        at.extend([0, text.len()]);
        at.sort_unstable();
        at.dedup();
        let pieces = at.windows(2).map(|piece| text[piece[0]..piece[1]].to_vec());
        Script { pieces: pieces.collect(), ends: self.ends }
    }

    /// All of it has come, and perhaps more.
    fn is_whole(&self) -> bool {
        self.off >= 0
    }

    fn body_of_client(&self) -> Vec<u8> {
        let mut body = if self.method == Method::HEAD { Vec::new() } else { self.body.clone() };
        if self.says == Says::Nothing && self.method != Method::HEAD {
            body = self.behind();
        }
        body
    }
}

fn case() -> impl Strategy<Value = Case> {
    const MOST: usize = 8 * 1024;
    let length = prop_oneof![6 => 0..60_usize, 2 => MOST - 1..MOST + 2, 1 => 16_000..20_000_usize];
    let says = prop_oneof![8 => Just(Says::Length), 2 => Just(Says::Chunks), 1 => Just(Says::Nothing)];
    let method = prop_oneof![8 => Just(Method::GET), 1 => Just(Method::HEAD)];
    let off = prop_oneof![5 => Just(0_isize), 3 => 1..40_isize, 1 => -9..0_isize];
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..6);
    let with_head =
        prop::option::weighted(0.7, prop_oneof![2 => Just(0_usize), 1 => 0..60_usize, 3 => Just(1 << 20)]);
    let bools = (
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.3),
        any::<bool>(),
        any::<u8>(),
    );
    (length, says, method, off, cuts, with_head, bools).prop_map(
        |(length, says, method, off, cuts, with_head, (interim, close, ends, at_once, first))| {
            let body: Vec<u8> = (0..length).map(|n| first.wrapping_add((n % 251) as u8)).collect();
            let mut case = Case { method, says, interim, close, body, off, ends, with_head, cuts, at_once };
            // Less of what is nothing, or has no told end, is no less; and all that comes is of such a body.
            let no_less = case.method == Method::HEAD || case.says == Says::Nothing || case.body.is_empty();
            if no_less && case.off < 0 {
                case.off = 0;
            }
            // Without an end it would be waited for.
            let goes_on = case.says == Says::Nothing && case.method != Method::HEAD;
            case.ends |= case.off < 0 || goes_on;
            case
        },
    )
}

proptest! {
    #[test]
    fn however_a_short_answer_comes_the_client_gets_the_same_and_its_connection_serves_only_if_it_can(
        case in case(),
    ) {
        let (first, next, reused) = answers(case.script(), case.method.clone(), case.at_once);
        if case.is_whole() {
            prop_assert_eq!(first, Ok((200, case.body_of_client())));
        } else {
            prop_assert_eq!(first, Err(Reason::WorkerReset));
        }
        prop_assert_eq!(next, Ok((200, b"next".to_vec())));
        // One that says no length says that it ends with its connection, but to HEAD.
        let says_end = case.says == Says::Nothing && case.method != Method::HEAD;
        prop_assert_eq!(reused, case.off == 0 && !case.close && !case.ends && !says_end);
    }
}

/// Whether all of the first answer was here with its head, in a buffer of the thread's.
fn came_at_once(pieces: &[&str]) -> bool {
    let pieces = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
    run(async {
        let way = Way::to(Worker::start(Script { pieces, ends: false }));
        let answer = way.ask(Method::GET).await.unwrap();
        matches!(answer.body, Answer::Came(_))
    })
}

#[test]
fn a_short_body_that_is_all_that_came_with_its_head_stands_in_a_buffer_of_the_threads() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
    assert!(came_at_once(&[&format!("{head}hello")]));
    assert!(!came_at_once(&[&format!("{head}hello, you")]), "what stands behind it is not its own");
    assert!(!came_at_once(&[head, "hello"]) && !came_at_once(&[&format!("{head}hel"), "lo"]));
}
