//! The Linux guest's side: a sink and a source, as fast as its sockets are.
//!
//! `tcp-peer FILE` sends FILE's octets without end, by sendfile(2), as the standard library copies from files to sockets.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use tcp_probe::{SINK, SOURCE};

/// Octets of a call that receives.
const CHUNK: usize = 131_072;

fn main() -> ExitCode {
    let Some(file) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("tcp-peer: which FILE?");
        return ExitCode::from(2);
    };
    let sinking = thread::spawn(|| listen(SINK, sink));
    let result = listen(SOURCE, move |stream| source(stream, &file));
    let _ = sinking.join();
    if let Err(error) = result {
        eprintln!("tcp-peer: {error}");
    }
    ExitCode::FAILURE
}

/// Serves each connection of a port in a thread of its own.
fn listen(
    port: u16,
    serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    let serve = Arc::new(serve);
    loop {
        let (stream, _) = listener.accept()?;
        let serve = Arc::clone(&serve);
        // How the client ends it is no error of ours.
        thread::spawn(move || serve(stream));
    }
}

fn sink(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

fn source(mut stream: TcpStream, file: &Path) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut file = File::open(file)?;
    loop {
        file.rewind()?;
        io::copy(&mut file, &mut stream)?;
    }
}
