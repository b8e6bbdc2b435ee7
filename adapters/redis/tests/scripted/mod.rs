//! A store that says what its script says, whatever it is asked.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

/// What it does on a connection.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Waits for so many commands.
    Hear(usize),
    /// Says this.
    Say(&'static [u8]),
    /// Waits for a word of the test.
    Wait,
    /// Waits until the client hangs up.
    End,
}

/// What it heard.
#[derive(Debug)]
pub(crate) enum Heard {
    Command(Vec<String>),
    /// The client hung up.
    End,
}

pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    heard: mpsc::Receiver<Heard>,
    go: mpsc::Sender<()>,
}

impl Scripted {
    /// One script for each connection, one after the other. At its end the connection is closed, and after
    /// the last one the port.
    pub(crate) fn start(scripts: impl IntoIterator<Item = Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, heard) = mpsc::channel();
        let (go, word) = mpsc::channel();
        let mut scripts: VecDeque<_> = scripts.into_iter().collect();
        thread::spawn(move || {
            while let Some(script) = scripts.pop_front() {
                let (socket, _) = listener.accept().unwrap();
                play(socket, script, &tell, &word);
            }
        });
        Self { address, heard, go }
    }

    pub(crate) fn heard(&self) -> Heard {
        self.heard.recv().unwrap()
    }

    /// The next command.
    pub(crate) fn command(&self) -> Vec<String> {
        match self.heard() {
            Heard::Command(words) => words,
            Heard::End => panic!("the client hung up"),
        }
    }

    /// A script that waits goes on.
    pub(crate) fn go(&self) {
        self.go.send(()).unwrap();
    }
}

fn play(
    socket: TcpStream,
    script: Vec<Step>,
    tell: &mpsc::Sender<Heard>,
    word: &mpsc::Receiver<()>,
) {
    let mut reader = BufReader::new(socket);
    for step in script {
        match step {
            Step::Hear(commands) => {
                for _ in 0..commands {
                    let Some(words) = read_command(&mut reader) else { return };
                    let _ = tell.send(Heard::Command(words));
                }
            }
            // A client may have hung up before.
            Step::Say(bytes) => drop(reader.get_mut().write_all(bytes)),
            Step::Wait => drop(word.recv()),
            Step::End => {
                let _ = std::io::copy(&mut reader, &mut std::io::sink());
                let _ = tell.send(Heard::End);
            }
        }
    }
}

/// An array of bulk strings.
fn read_command(reader: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let words = read_number(reader, '*')?;
    (0..words).map(|_| read_word(reader)).collect()
}

fn read_word(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut word = vec![0; read_number(reader, '$')? + 2];
    reader.read_exact(&mut word).ok()?;
    word.truncate(word.len() - 2);
    String::from_utf8(word).ok()
}

fn read_number(reader: &mut BufReader<TcpStream>, kind: char) -> Option<usize> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    line.strip_prefix(kind)?.trim_end().parse().ok()
}
