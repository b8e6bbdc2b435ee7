//! The command `sinew audit verify`: what it finds, and its exit code.

#![cfg(feature = "sockets")]
#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sinew_auth::{AuditChain, ChainHead, Crypto};

/// A directory that is gone when the test is over.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, lines: &[String]) -> String {
        let path = self.0.join(name);
        fs::write(&path, lines.iter().flat_map(|line| [line, "\n"]).collect::<String>()).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn lines(count: usize) -> (Vec<String>, ChainHead) {
    let mut chain = AuditChain::new(Crypto::built_in().unwrap(), ChainHead::GENESIS);
    let line = |n| chain.seal(&format!(r#"{{"seq":{n},"kind":"auth_failure"}}"#)).unwrap();
    (std::iter::successors(Some(1), |n| Some(n + 1)).take(count).map(line).collect(), chain.head())
}

/// What it prints, and whether it is content.
fn verify(arguments: &[&str]) -> (String, i32) {
    let command = [&["audit", "verify"], arguments].concat();
    let output = Command::new(env!("CARGO_BIN_EXE_sinew")).args(command).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
}

#[test]
fn a_log_as_it_was_written_is_good() {
    let dir = Dir::new("audit-good");
    let (all, head) = lines(9);
    let file = dir.write("audit.log", &all);
    let said = format!("9 lines are as they were written; the chain stands at {head}\n");
    assert_eq!(verify(&[&file]), (said.clone(), 0));
    let (older, newer) = (dir.write("audit.log.1", &all[..4]), dir.write("audit.log.0", &all[4..]));
    assert_eq!(verify(&[&older, &newer, "--head", &head.to_string()]), (said, 0));
    let (said, code) = verify(&[&newer]);
    assert!(said.contains("what was before is not known") && code == 0, "{said}");
}

#[test]
fn a_line_that_was_removed_or_edited_is_named() {
    let dir = Dir::new("audit-bad");
    let (all, head) = lines(9);
    let mut fewer = all.clone();
    fewer.remove(4);
    let mut edited = all.clone();
    edited[6] = edited[6].replace("auth_failure", "auth_success");
    for (changed, line, why) in [(fewer, 5, "does not follow"), (edited, 7, "it was changed")] {
        let file = dir.write("audit.log", &changed);
        let (said, code) = verify(&[&file]);
        assert!(said.starts_with(&format!("{file}:{line}: ")) && said.contains(why), "{said}");
        assert!(said.contains(&format!("\n  {line}: {{\\\"seq\\\":")), "{said}");
        assert_eq!(code, 1);
    }
    let file = dir.write("audit.log", &all[..8]);
    let (said, code) = verify(&[&file, "--head", &head.to_string()]);
    assert!(said.contains("missing at the end") && code == 1, "{said}");
    assert_eq!(verify(&["/nowhere"]).1, 2);
}
