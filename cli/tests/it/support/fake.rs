//! A coordinator that answers whatever a test wants, for outcomes that a real one can't be brought to in no time.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use serde_json::Value;

/// Answers requests, given as `METHOD /path?query`, until the test ends.
pub(crate) struct Fake {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// Answers the nth request (from 0) with a status and a body.
    pub(crate) fn start(answer: impl Fn(&str, usize) -> (u16, Value) + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that goes away is its own business.
                let _ = stream.and_then(|stream| serve(stream, &answer, &log));
            }
        });
        Self { url, asked }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no test thread panicked in it").clone()
    }
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(&str, usize) -> (u16, Value), log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let request = line.split(" HTTP/").next().unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    reader.take(length).read_to_end(&mut Vec::new())?;
    let nth = {
        let mut asked = log.lock().expect("no test thread panicked in it");
        asked.push(request.clone());
        asked.len() - 1
    };
    let (status, body) = answer(&request, nth);
    let body = match body {
        Value::String(text) => text,
        other => other.to_string(),
    };
    write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}
