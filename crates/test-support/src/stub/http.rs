//! As much of an HTTP/1.1 server as a stub needs that must be able to stop in the middle of anything.

use std::collections::HashMap;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[derive(Debug, Default)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// By name in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

#[derive(Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

pub struct Connection {
    stream: TcpStream,
    /// Read, and not yet taken.
    buffer: Vec<u8>,
}

impl Connection {
    pub fn new(stream: TcpStream) -> Connection {
        Connection {
            stream,
            buffer: Vec::new(),
        }
    }

    /// The next request; `None` when the other side has gone.
    pub async fn request(&mut self) -> Option<Request> {
        let (mut request, head) = loop {
            if let Some(read) = head(&self.buffer) {
                break read;
            }
            self.read_more().await?;
        };
        let length: usize = request
            .headers
            .get("content-length")
            .map_or(0, |length| length.parse().expect("a length"));
        while self.buffer.len() < head + length {
            self.read_more().await?;
        }
        let rest = self.buffer.split_off(head + length);
        request.body = self.buffer.split_off(head);
        self.buffer = rest;
        Some(request)
    }

    async fn read_more(&mut self) -> Option<()> {
        let read = self.stream.read_buf(&mut self.buffer).await.ok()?;
        (read > 0).then_some(())
    }

    /// Whether the other side has closed the connection.
    pub fn is_gone(&mut self) -> bool {
        let mut byte = [0];
        match self.stream.try_read(&mut byte) {
            Ok(0) => true,
            Ok(_) => {
                self.buffer.push(byte[0]);
                false
            }
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }

    pub async fn wait_until_gone(&mut self) {
        while self.read_more().await.is_some() {}
    }

    /// Writes so much of the answer's body; gives whether the connection still stands.
    pub async fn answer(&mut self, answer: &Answer, body: usize) -> bool {
        let mut text = format!("HTTP/1.1 {} Status\r\n", answer.status);
        text.push_str(&format!("content-length: {}\r\n", answer.body.len()));
        for (name, value) in &answer.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&answer.body[..body]);
        self.stream.write_all(&bytes).await.is_ok()
    }
}

/// A request without its body, and where that begins.
fn head(buffer: &[u8]) -> Option<(Request, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(end) = parsed.parse(buffer).expect("HTTP") else {
        return None;
    };
    let request = Request {
        method: parsed.method.expect("complete").to_owned(),
        path: parsed.path.expect("complete").to_owned(),
        headers: parsed
            .headers
            .iter()
            .map(|header| {
                let value = String::from_utf8_lossy(header.value).into_owned();
                (header.name.to_ascii_lowercase(), value)
            })
            .collect(),
        body: Vec::new(),
    };
    Some((request, end))
}
