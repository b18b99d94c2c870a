//! Every byte of the file counts.

use exchange::bundle::{Bundle, verify};
use wire::NetworkId;

use crate::release::honest;

/// Runs `broken` for every number below `end` that `step` meets, on both halves of the machine, and
/// gives the numbers for which the file still verified.
fn accepted(
    end: usize,
    step: usize,
    root: &NetworkId,
    broken: impl Fn(usize) -> Vec<u8> + Sync,
) -> Vec<usize> {
    const WORKERS: usize = 4;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let broken = &broken;
                scope.spawn(move || {
                    let mine = (worker * step..end).step_by(WORKERS * step);
                    mine.filter(|n| verify(&broken(*n), root).is_ok()).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    })
}

/// All bytes if `MEBUKU_LONG` is set, every 7th otherwise.
#[test]
fn no_byte_can_change() {
    let case = honest();
    let (file, root) = (case.bundle.to_bytes(), case.world.network.id);
    let step = if std::env::var_os("MEBUKU_LONG").is_some() { 1 } else { 7 };
    let passed = accepted(file.len(), step, &root, |n| {
        let mut broken = file.clone();
        broken[n] ^= 1 << (n / step % 8);
        broken
    });
    assert!(passed.is_empty(), "of {} bytes, these may change: {passed:?}", file.len());
}

#[test]
fn nothing_can_be_cut_off_or_added() {
    let case = honest();
    let (file, root) = (case.bundle.to_bytes(), case.world.network.id);
    let passed = accepted(file.len(), 97, &root, |n| file[..n].to_vec());
    assert!(passed.is_empty(), "cut off here: {passed:?}");
    let more = [&file[..], &[0]].concat();
    assert_eq!(verify(&more, &root).unwrap_err().check, "file");
    assert_eq!(verify(&file[1..], &root).unwrap_err().check, "file");
}

#[test]
fn a_file_has_one_spelling() {
    let case = honest();
    let file = case.bundle.to_bytes();
    assert_eq!(Bundle::from_bytes(&file).unwrap(), case.bundle);
    // A receipt that is left out reads as one that never came.
    let mut silent = case.bundle.clone();
    silent.receipt = None;
    let text = silent.to_bytes();
    let key = b"\x67receipt\xf6";
    let place = text.windows(key.len()).position(|window| window == key).unwrap();
    let mut shorter = [&text[..place], &text[place + key.len()..]].concat();
    assert_eq!(shorter[0], 0xaa);
    shorter[0] = 0xa9;
    assert!(Bundle::from_bytes(&shorter).is_err());
    assert!(Bundle::from_bytes(&text).is_ok());
}
