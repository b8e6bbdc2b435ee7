//! What the operating system says about this process.

/// The most memory that this process ever had resident, in bytes. `None` where `/proc` does not
/// tell: other systems than Linux.
pub fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The same in words.
pub fn peak_in_words() -> String {
    match peak() {
        Some(bytes) => {
            let tenths = bytes * 10 / (1 << 20);
            format!("{}.{} MiB", tenths / 10, tenths % 10)
        }
        None => "not known on this system".to_owned(),
    }
}
