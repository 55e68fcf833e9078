//! NDJSON from a file or standard input: one line at a time, its number known, empty lines passed over, and none longer than
//! a job can be.

use crate::job::Limits;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal as _, Read as _},
    path::Path,
};

/// The largest payload with the largest envelope around it, and with it a result and a checkpoint in an exported job.
const LINE_BYTES: u64 = 2 * (Limits::PAYLOAD_HARD as u64) + (1 << 20);

pub struct Lines {
    from: Box<dyn BufRead>,
    number: usize,
    line: Vec<u8>,
    /// Bytes there are, if the source is a file.
    pub size: Option<u64>,
    pub bytes_read: u64,
}

impl Lines {
    /// `-` is standard input.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::standard_input());
        }
        let file = File::open(path)?;
        let size = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
        Ok(Self::of(Box::new(BufReader::new(file)), size))
    }

    pub fn standard_input() -> Self {
        let input = io::stdin();
        if input.is_terminal() {
            eprintln!("reading one JSON object a line; end with Ctrl-D");
        }
        // `cat file | windlass enqueue -` has no size, `windlass enqueue - < file` has.
        let size = File::open("/dev/stdin").ok().and_then(|file| file.metadata().ok()).filter(std::fs::Metadata::is_file);
        Self::of(Box::new(BufReader::with_capacity(1 << 16, input)), size.map(|metadata| metadata.len()))
    }

    pub fn of(from: Box<dyn BufRead>, size: Option<u64>) -> Self {
        Self { from, number: 0, line: Vec::new(), size, bytes_read: 0 }
    }

    /// The number of the line read last, from 1.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// The next line that is not empty, without its end.
    ///
    /// # Errors
    /// The source's own, and `InvalidData` for a line that no job can fill.
    pub fn next(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            self.line.clear();
            let read = self.from.by_ref().take(LINE_BYTES + 1).read_until(b'\n', &mut self.line)? as u64;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.bytes_read += read;
            if read > LINE_BYTES {
                let sentence = format!("line {} is longer than any job; is the input NDJSON, one object a line?", self.number);
                return Err(io::Error::new(io::ErrorKind::InvalidData, sentence));
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some(self.line.trim_ascii()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_lines_are_passed_over_and_counted() {
        let mut lines = Lines::of(Box::new(&b"one\r\n\n  \ntwo"[..]), None);
        assert_eq!(lines.next().unwrap(), Some(&b"one"[..]));
        assert_eq!(lines.number(), 1);
        assert_eq!(lines.next().unwrap(), Some(&b"two"[..]));
        assert_eq!(lines.number(), 4);
        assert_eq!(lines.next().unwrap(), None);
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        let endless = BufReader::new(io::repeat(b'x'));
        let error = Lines::of(Box::new(endless), None).next().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
