//! The origin for uploads. nginx would answer before it has read the body (`return` discards it afterwards) or write it
//! to a file; this one reads all of it, and then says how much that was.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::wire::Link;

/// Serves on all these, until a listener fails.
pub(crate) fn run(listeners: Vec<TcpListener>) -> io::Result<()> {
    let threads: Vec<_> =
        listeners.into_iter().map(|listener| thread::spawn(move || accept(&listener))).collect();
    for thread in threads {
        thread.join().map_err(|_| io::Error::other("a thread of the origin panicked"))??;
    }
    Ok(())
}

fn accept(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        // A proxy that breaks its connection harms nobody here; the load counts what it did not get.
        thread::spawn(move || serve(stream).ok());
    }
}

fn serve(stream: TcpStream) -> io::Result<()> {
    let mut link = Link::new(stream)?;
    while let Some(head) = link.request()? {
        link.skip(head.length)?;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-drained: {}\r\n\r\n", head.length);
        link.send(answer.as_bytes())?;
    }
    Ok(())
}
