//! Everything that the core must not do, once each. `.ci/purity` plants this file in a copy of the
//! core and fails unless clippy refuses every line of it. It is never part of a build.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "planted")]

use std::time::{Instant, SystemTime};

fn clock(then: Instant, wall: SystemTime) {
    let _ = Instant::now();
    let _ = then.elapsed();
    let _ = SystemTime::now();
    let _ = wall.elapsed();
}

fn threads() {
    let _ = std::thread::spawn(|| ());
    std::thread::scope(|_| ());
    let _ = std::thread::current();
    std::thread::park();
    std::thread::sleep(core::time::Duration::ZERO);
    std::thread::yield_now();
    let _ = std::sync::mpsc::channel::<u8>();
    let _ = std::sync::mpsc::sync_channel::<u8>(1);
}

fn environment() {
    let _ = std::env::args();
    let _ = std::env::args_os();
    let _ = std::env::current_dir();
    let _ = std::env::var("HOME");
    let _ = std::env::var_os("HOME");
    let _ = std::env::vars();
}

fn files() {
    let _ = std::fs::create_dir("a");
    let _ = std::fs::create_dir_all("a");
    let _ = std::fs::metadata("a");
    let _ = std::fs::read("a");
    let _ = std::fs::read_dir("a");
    let _ = std::fs::read_to_string("a");
    let _ = std::fs::remove_file("a");
    let _ = std::fs::rename("a", "b");
    let _ = std::fs::write("a", "b");
}

fn terminal() {
    let _ = std::io::stdin();
    let _ = std::io::stdout();
    let _ = std::io::stderr();
    print!("a");
    println!("a");
    eprint!("a");
    eprintln!("a");
}

fn platform_dependent(x: f64, y: f32) {
    let _ = (x.exp(), x.exp2(), x.exp_m1(), x.ln(), x.ln_1p(), x.log(2.0), x.log2(), x.log10());
    let _ = (x.powf(x), x.powi(3), x.cbrt(), x.hypot(x), x.sin(), x.cos(), x.tan());
    let _ = (y.exp(), y.ln(), y.powf(y), y.powi(3));
}

struct Sockets(std::net::TcpStream, std::net::TcpListener, std::net::UdpSocket);
struct Local(
    std::os::unix::net::UnixStream,
    std::os::unix::net::UnixListener,
    std::os::unix::net::UnixDatagram,
);
struct Files(std::fs::File, std::fs::OpenOptions, Box<std::path::Path>, std::path::PathBuf);
struct Outside(std::io::Error, std::process::Command);
struct Threads(std::thread::Builder, std::thread::JoinHandle<()>);
struct Locks(
    std::sync::Mutex<u8>,
    std::sync::RwLock<u8>,
    std::sync::Condvar,
    std::sync::Barrier,
    std::sync::Once,
    std::sync::OnceLock<u8>,
    std::sync::LazyLock<u8>,
);
struct Shared(
    std::sync::atomic::AtomicBool,
    std::sync::atomic::AtomicU32,
    std::sync::atomic::AtomicU64,
    std::sync::atomic::AtomicUsize,
);
struct Entropy(
    std::collections::HashMap<u8, u8>,
    std::collections::HashSet<u8>,
    std::collections::hash_map::RandomState,
);
struct Global(std::thread::LocalKey<u8>);
std::thread_local!(static GLOBAL: u8 = 0);

fn names(_: impl std::net::ToSocketAddrs) {}
fn asynchronous(_: impl std::future::Future, _: std::task::Context<'_>, _: std::task::Waker) {}
fn opens() {
    let _ = std::net::TcpStream::connect("127.0.0.1:1");
}

fn gives_up(hard: bool) {
    if hard {
        std::process::abort();
    }
    std::process::exit(1);
}

/// Younger than the `rust-version` of the manifest.
fn too_new() -> core::time::Duration {
    core::time::Duration::from_mins(1)
}
