//! A socket that is memory: reads of a client's frames, and a count of what is written.

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Result;

/// What a client sends.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    opcode: u8,
    payload: usize,
    /// Messages that arrive at once.
    together: usize,
}

pub(crate) const CASES: [Case; 3] = [
    Case { name: "text-128", opcode: 1, payload: 128, together: 1 },
    Case { name: "text-128-x16", opcode: 1, payload: 128, together: 16 },
    Case { name: "binary-64k", opcode: 2, payload: 64 * 1024, together: 1 },
];

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

impl Case {
    pub(crate) fn named(name: &str) -> Result<&'static Self> {
        CASES.iter().find(|case| case.name == name).ok_or_else(|| format!("no case {name}").into())
    }

    fn frame(&self) -> Vec<u8> {
        let mut frame = vec![0x80 | self.opcode];
        frame.extend(length(self.payload, 0x80));
        frame.extend(MASK);
        frame.extend((0..self.payload).map(|at| b"sinew "[at % 6] ^ MASK[at % 4]));
        frame
    }
}

fn length(len: usize, masked: u8) -> Vec<u8> {
    match u16::try_from(len) {
        Ok(short) if short < 126 => vec![masked | short as u8],
        Ok(short) => [&[masked | 126][..], &short.to_be_bytes()].concat(),
        Err(_) => [&[masked | 127][..], &(len as u64).to_be_bytes()].concat(),
    }
}

/// The socket.
pub(crate) struct Memory {
    /// What arrives at once.
    arrival: Vec<u8>,
    /// How much of it was read.
    read: usize,
    arrivals: usize,
    /// Bytes of the answer to a message.
    answer: usize,
    messages: usize,
    pub(crate) written: usize,
    pub(crate) writes: usize,
}

impl Memory {
    pub(crate) fn new(case: &Case, messages: usize) -> Self {
        Self {
            arrival: case.frame().repeat(case.together),
            read: 0,
            arrivals: messages / case.together,
            answer: 1 + length(case.payload, 0).len() + case.payload,
            messages: messages / case.together * case.together,
            written: 0,
            writes: 0,
        }
    }

    /// Bytes that have to come back.
    pub(crate) fn due(&self) -> usize {
        self.messages * self.answer
    }

    /// What one read gives; empty: the end.
    pub(crate) fn take(&mut self, most: usize) -> &[u8] {
        if self.arrivals == 0 {
            return &[];
        }
        let start = self.read;
        let end = self.arrival.len().min(start + most);
        self.read = end;
        if end == self.arrival.len() {
            self.read = 0;
            self.arrivals -= 1;
        }
        &self.arrival[start..end]
    }

    /// A write.
    pub(crate) fn put(&mut self, bytes: usize) {
        self.written += bytes;
        self.writes += 1;
    }
}

impl Read for Memory {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let piece = self.take(to.len());
        to[..piece.len()].copy_from_slice(piece);
        Ok(piece.len())
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Memory {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        to.put_slice(self.get_mut().take(to.remaining()));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().put(bytes.len());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = pieces.iter().map(|piece| piece.len()).sum();
        self.get_mut().put(all);
        Poll::Ready(Ok(all))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
