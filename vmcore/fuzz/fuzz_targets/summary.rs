//! The summary of a dump from a node that nobody vouches for.
#![no_main]

use vmcore::Summary;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(summary) = Summary::read(data) {
        summary.tasks.by_stack();
        let again = summary.to_bytes().expect("what was read can be written");
        assert_eq!(Summary::read(&again).expect("what was written can be read"), summary);
    }
});
