// SPDX-License-Identifier: Apache-2.0
//! As much of HTTP/1.1 (RFC 9112) as a small service needs: requests within limits, answers with a length.

use std::io::{self, Read, Write};

/// The longest head of a request, in bytes.
const HEAD_LIMIT: usize = 16 * 1024;
/// The longest body of a request, in bytes; bodies are read and not looked at.
const BODY_LIMIT: u64 = 64 * 1024;
/// The most headers.
const HEADERS: usize = 100;

/// A request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Without the query.
    pub(crate) path: String,
    /// That the connection is to be used again.
    pub(crate) keep_alive: bool,
}

/// Why there is no request.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The client is gone, or has nothing more to ask.
    Gone,
    /// What came is to be answered with this status.
    Status(u16),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Refusal::Status(408),
            _ => Refusal::Gone,
        }
    }
}

/// The requests on a connection.
#[derive(Debug)]
pub(crate) struct Requests<S> {
    stream: S,
    buffered: Vec<u8>,
}

impl<S: Read> Requests<S> {
    pub(crate) fn new(stream: S) -> Requests<S> {
        Requests { stream, buffered: Vec::new() }
    }

    /// The next request, its body read and dropped.
    pub(crate) fn next(&mut self) -> Result<Request, Refusal> {
        let end = loop {
            if let Some(end) = head_end(&self.buffered) {
                break end;
            }
            if self.buffered.len() > HEAD_LIMIT {
                return Err(Refusal::Status(431));
            }
            match self.fill() {
                Ok(0) => return Err(Refusal::Gone),
                Ok(_) => {}
                // Nobody waits for an answer to a request that was never begun.
                Err(_) if self.buffered.is_empty() => return Err(Refusal::Gone),
                Err(error) => return Err(error.into()),
            }
        };
        if end > HEAD_LIMIT {
            return Err(Refusal::Status(431));
        }
        let head: Vec<u8> = self.buffered.drain(..end).collect();
        let (request, length) = parse(&head)?;
        self.skip(length)?;
        Ok(request)
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    let length = result?;
                    self.buffered.extend_from_slice(&chunk[..length]);
                    return Ok(length);
                }
            }
        }
    }

    /// Read and drop a body.
    fn skip(&mut self, length: u64) -> Result<(), Refusal> {
        if length > BODY_LIMIT {
            return Err(Refusal::Status(413));
        }
        // At most BODY_LIMIT.
        let length = length as usize;
        while self.buffered.len() < length {
            if self.fill()? == 0 {
                return Err(Refusal::Gone);
            }
        }
        self.buffered.drain(..length);
        Ok(())
    }
}

/// Where the head ends, behind its empty line.
fn head_end(buffered: &[u8]) -> Option<usize> {
    buffered.windows(4).position(|window| window == b"\r\n\r\n").map(|position| position + 4)
}

/// The request in a head, and the length of its body.
fn parse(head: &[u8]) -> Result<(Request, u64), Refusal> {
    let bad = || Refusal::Status(400);
    let text = std::str::from_utf8(head).map_err(|_| bad())?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next().ok_or_else(bad)?.split(' ');
    let (method, target, version) = match (words.next(), words.next(), words.next(), words.next()) {
        (Some(method), Some(target), Some(version), None) => (method, target, version),
        _ => return Err(bad()),
    };
    let is_token = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
    if !is_token || !target.starts_with('/') || target.contains(|c: char| c.is_ascii_control()) {
        return Err(bad());
    }
    let mut keep_alive = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        other if other.starts_with("HTTP/") => return Err(Refusal::Status(505)),
        _ => return Err(bad()),
    };
    let mut length = None;
    for (count, line) in lines.take_while(|line| !line.is_empty()).enumerate() {
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        // A blank before the colon or a folded line is how requests are smuggled (section 5.1).
        if count >= HEADERS || name.is_empty() || name.contains(|c: char| c.is_ascii_whitespace()) {
            return Err(bad());
        }
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                let number = value.parse::<u64>().ok().filter(|_| digits).ok_or_else(bad)?;
                if length.replace(number).is_some_and(|before| before != number) {
                    return Err(bad());
                }
            }
            // Nothing here needs a body, least of all one in pieces.
            "transfer-encoding" => return Err(Refusal::Status(501)),
            "connection" => match value.to_ascii_lowercase().as_str() {
                "close" => keep_alive = false,
                "keep-alive" => keep_alive = true,
                _ => {}
            },
            _ => {}
        }
    }
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let request = Request { method: method.to_owned(), path: path.to_owned(), keep_alive };
    Ok((request, length.unwrap_or(0)))
}

/// Write an answer; `head_only` for HEAD.
pub(crate) fn answer(
    mut stream: impl Write,
    status: u16,
    body: &str,
    keep_alive: bool,
    head_only: bool,
) -> io::Result<()> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Internal Server Error",
    };
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let mut text = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: {connection}\r\n\r\n",
        body.len(),
    );
    if !head_only {
        text.push_str(body);
    }
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that gives one byte at a time.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            buffer[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    fn refused(text: &str) -> Option<u16> {
        match Requests::new(text.as_bytes()).next() {
            Err(Refusal::Status(status)) => Some(status),
            Err(Refusal::Gone) => None,
            Ok(request) => panic!("{text:?} was taken for {request:?}"),
        }
    }

    #[test]
    fn requests_follow_each_other_whatever_pieces_they_come_in() {
        let text = b"POST /count?x=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n";
        let mut requests = Requests::new(Trickle(text));
        let first = requests.next().unwrap();
        assert_eq!((first.method.as_str(), first.path.as_str(), first.keep_alive), ("POST", "/count", true));
        let second = requests.next().unwrap();
        assert_eq!((second.method.as_str(), second.path.as_str(), second.keep_alive), ("GET", "/", false));
        assert!(matches!(requests.next(), Err(Refusal::Gone)));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for (text, status) in [
            ("nonsense\r\n\r\n", 400),
            ("GET / HTTP/1.1 x\r\n\r\n", 400),
            ("get / HTTP/1.1\r\n\r\n", 400),
            ("GET http://x/ HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\n\r\n", 505),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nContent-Length: +3\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
            ("GET / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        ] {
            assert_eq!(refused(text), Some(status), "{text:?}");
        }
        assert_eq!(refused(&format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(HEAD_LIMIT))), Some(431));
        assert_eq!(refused(&"x".repeat(HEAD_LIMIT * 2)), Some(431));
        let many = "A: b\r\n".repeat(HEADERS + 1);
        assert_eq!(refused(&format!("GET / HTTP/1.1\r\n{many}\r\n")), Some(400));
        assert_eq!(refused("GET / HT"), None);
        assert_eq!(refused("GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\na"), None);
    }

    #[test]
    fn an_answer_to_head_has_the_length_and_no_body() {
        let mut sent = Vec::new();
        answer(&mut sent, 200, "{}", true, true).unwrap();
        let text = String::from_utf8(sent).unwrap();
        assert!(text.contains("Content-Length: 2\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    }
}
