//! Chains of lines, and what was done to them.

#![expect(clippy::unwrap_used, reason = "outside of `#[test]` too, a test stops where it is wrong")]

use std::time::Duration;

use proptest::prelude::*;
use sinew_auth::{
    AuditChain, BadAuditLine, BadChainHead, ChainBreak, ChainHead, ChainVerdict, Crypto, MAX_LINE,
    verify_chain,
};
use sinew_core::observe::audit::{Kind, Queue, Record};
use sinew_core::problem::Ids;

fn crypto() -> Crypto {
    Crypto::built_in().unwrap()
}

/// So many sealed records, and where their chain stands.
fn chain(records: usize) -> (Vec<String>, ChainHead) {
    let mut queue = Queue::new(Queue::CAP);
    for n in 0..records {
        queue.push(&Record {
            kind: Kind::ALL[n % Kind::ALL.len()],
            unix: Duration::from_secs(n as u64),
            ids: &Ids::default(),
            who: None,
            details: &[],
        });
    }
    let mut chain = AuditChain::new(crypto(), ChainHead::GENESIS);
    let lines = std::iter::from_fn(|| queue.pop()).map(|line| chain.seal(&line).unwrap()).collect();
    (lines, chain.head())
}

fn verify(lines: &[String]) -> ChainVerdict {
    let file: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    verify_chain(&crypto(), file.as_bytes(), ChainHead::GENESIS).unwrap()
}

fn broken(line: usize, why: ChainBreak) -> ChainVerdict {
    ChainVerdict::Broken { line: line as u64, why }
}

#[test]
fn a_chain_is_intact_as_it_was_written() {
    let (lines, head) = chain(20);
    assert_eq!(verify(&lines), ChainVerdict::Intact { lines: 20, head });
    assert_eq!(verify(&[]), ChainVerdict::Intact { lines: 0, head: ChainHead::GENESIS });
    // SHA-256 of 32 zeros and `{"seq":1`, by another implementation.
    let mut chain = AuditChain::new(crypto(), ChainHead::GENESIS);
    let line = chain.seal(r#"{"seq":1}"#).unwrap();
    let zeros = "0".repeat(64);
    let hash = "9f186e4202fb2b3f60caaf20c0eab567a648a0bf63b6105e2794fa624c0dd11d";
    assert_eq!(line, format!(r#"{{"seq":1,"prev":"{zeros}","hash":"{hash}"}}"#));
}

#[test]
fn a_line_that_is_missing_new_or_moved_is_found() {
    let (lines, head) = chain(8);
    for index in 0..8 {
        let mut fewer = lines.clone();
        fewer.remove(index);
        let verdict = verify(&fewer);
        if index < 7 {
            assert_eq!(verdict, broken(index + 1, ChainBreak::OutOfPlace));
        } else {
            // What is missing at the end shows by the head that is known.
            assert!(matches!(verdict, ChainVerdict::Intact { lines: 7, head: cut } if cut != head));
        }
        let mut more = lines.clone();
        more.insert(index, lines[index].clone());
        assert_eq!(verify(&more), broken(index + 2, ChainBreak::OutOfPlace));
        if index < 7 {
            let mut moved = lines.clone();
            moved.swap(index, index + 1);
            assert_eq!(verify(&moved), broken(index + 1, ChainBreak::OutOfPlace));
        }
        // A line of somebody's own, with a seal that is right in itself.
        let mut forged = lines.clone();
        let mut own = AuditChain::new(crypto(), ChainHead::GENESIS);
        forged[index] = own.seal(r#"{"seq":1,"kind":"auth_success"}"#).unwrap();
        let at = if index == 0 { 2 } else { index + 1 };
        assert_eq!(verify(&forged), broken(at, ChainBreak::OutOfPlace));
    }
}

#[test]
fn every_byte_that_is_changed_is_found() {
    let (lines, _) = chain(3);
    for at in 0..lines[1].len() {
        let mut changed = lines.clone();
        let mut bytes = changed[1].clone().into_bytes();
        bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
        changed[1] = String::from_utf8(bytes).unwrap();
        let verdict = verify(&changed);
        let found = matches!(verdict, ChainVerdict::Broken { line: 2, why } if why != ChainBreak::OutOfPlace);
        assert!(found, "{at}: {verdict:?}");
    }
}

#[test]
fn what_is_no_line_is_malformed() {
    let (lines, _) = chain(2);
    let verify = |file: &[u8]| verify_chain(&crypto(), file, ChainHead::GENESIS).unwrap();
    let malformed = |line| broken(line, ChainBreak::Malformed);
    let first = format!("{}\n", lines[0]);
    for (rest, line) in [("\n", 2), ("{}\n", 2), (&lines[1], 2), (&lines[1][..200], 2)] {
        assert_eq!(verify(format!("{first}{rest}").as_bytes()), malformed(line), "{rest}");
    }
    assert_eq!(verify(lines[0].replace('a', "A").as_bytes()), malformed(1));
    assert_eq!(verify(&vec![b'a'; 3 * MAX_LINE]), malformed(1), "bounded");
    assert_eq!(verify(&[0xff; 300]), malformed(1));
}

#[test]
fn a_file_goes_on_where_another_ended() {
    let (lines, _) = chain(6);
    let file = format!("{}\n{}\n", lines[3], lines[4]);
    let (_, after) = chain(3);
    let (_, head) = chain(5);
    let verify = |after| verify_chain(&crypto(), file.as_bytes(), after).unwrap();
    assert_eq!(verify(after), ChainVerdict::Intact { lines: 2, head });
    assert_eq!(verify(ChainHead::GENESIS), broken(1, ChainBreak::OutOfPlace));
    assert_eq!(after.to_string().parse(), Ok(after));
    for text in ["", "0", &"g".repeat(64), &"A".repeat(64), &"0".repeat(65), &"ä".repeat(32)] {
        assert_eq!(text.parse::<ChainHead>(), Err(BadChainHead), "{text}");
    }
}

#[test]
fn a_chain_goes_on_behind_its_last_line() {
    let (lines, head) = chain(3);
    let mut more = AuditChain::behind(crypto(), lines[2].as_bytes()).unwrap();
    assert_eq!(more.head(), head);
    let mut all = lines.clone();
    all.push(more.seal(r#"{"seq":1}"#).unwrap());
    assert_eq!(verify(&all), ChainVerdict::Intact { lines: 4, head: more.head() });
    assert_eq!(ChainHead::before(all[3].as_bytes()), Some(head));
    let changed = lines[2].replacen("seq", "sea", 1);
    for line in [&lines[2][..90], "", r#"{"seq":1}"#, &changed] {
        assert_eq!(
            AuditChain::behind(crypto(), line.as_bytes()).err(),
            Some(BadAuditLine),
            "{line}"
        );
    }
}

#[test]
fn only_objects_are_sealed() {
    let mut chain = AuditChain::new(crypto(), ChainHead::GENESIS);
    for line in ["", "{}", "[1]", "\"a\"", "{\"a\":1}\n", "{\"a\":\n1}", "x}"] {
        assert_eq!(chain.seal(line), Err(BadAuditLine), "{line:?}");
    }
    let long = format!("{{\"a\":\"{}\"}}", "a".repeat(MAX_LINE));
    assert_eq!(chain.seal(&long), Err(BadAuditLine));
    assert_eq!(chain.head(), ChainHead::GENESIS);
}

proptest! {
    /// Whatever is done to one line, it shows at that line or the one behind it.
    #[test]
    fn an_edit_shows_where_it_is(
        line in 0..5_usize,
        at in any::<prop::sample::Index>(),
        length in 0..4_usize,
        put in "[ -~]{0,4}",
    ) {
        let (lines, _) = chain(6);
        let mut changed = lines.clone();
        let start = at.index(lines[line].len());
        let end = (start + length).min(lines[line].len());
        changed[line].replace_range(start..end, &put);
        prop_assume!(changed != lines);
        let found = matches!(verify(&changed), ChainVerdict::Broken { line: at, .. } if at == line as u64 + 1);
        prop_assert!(found);
    }
}
