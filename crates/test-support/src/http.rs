//! A minimal HTTP/1.1 server connection. A general-purpose server cannot do what the tests need: close a
//! connection before, during or after a response.

use std::collections::HashMap;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[derive(Debug, Default)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// By lower-case name.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

#[derive(Debug, Default)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

pub struct Connection {
    stream: TcpStream,
    /// Bytes that were received and not yet returned.
    buffer: Vec<u8>,
}

impl Connection {
    pub fn new(stream: TcpStream) -> Connection {
        Connection {
            stream,
            buffer: Vec::new(),
        }
    }

    /// The next request, or `None` once the client has closed the connection.
    pub async fn request(&mut self) -> Option<Request> {
        let (mut request, body_offset) = loop {
            if let Some(parsed) = parse_head(&self.buffer) {
                break parsed;
            }
            self.read_more().await?;
        };
        let length: usize = request
            .headers
            .get("content-length")
            .map_or(0, |length| length.parse().expect("a number"));
        while self.buffer.len() < body_offset + length {
            self.read_more().await?;
        }
        let rest = self.buffer.split_off(body_offset + length);
        request.body = self.buffer.split_off(body_offset);
        self.buffer = rest;
        Some(request)
    }

    async fn read_more(&mut self) -> Option<()> {
        let read = self.stream.read_buf(&mut self.buffer).await.ok()?;
        (read > 0).then_some(())
    }

    /// Whether the client has closed the connection.
    pub fn is_closed(&mut self) -> bool {
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

    /// Reads and discards until the client closes the connection.
    pub async fn wait_until_closed(&mut self) {
        while self.read_more().await.is_some() {}
    }

    /// Sends a response. Returns whether the connection is still open.
    pub async fn send(&mut self, response: &Response) -> bool {
        self.send_part(response, response.body.len()).await
    }

    /// Sends a response whose body ends after `length` bytes, fewer than its header announces.
    pub async fn send_part(&mut self, response: &Response, length: usize) -> bool {
        let mut head = format!("HTTP/1.1 {} Status\r\n", response.status);
        head.push_str(&format!("content-length: {}\r\n", response.body.len()));
        for (name, value) in &response.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&response.body[..length]);
        self.stream.write_all(&bytes).await.is_ok()
    }
}

/// A request without its body, and the offset of the body, once the whole head is in the buffer.
fn parse_head(buffer: &[u8]) -> Option<(Request, usize)> {
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
