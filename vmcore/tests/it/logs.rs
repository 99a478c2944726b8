//! The log formats before 5.10, made up record by record.

use crate::builder::X86_64;
use crate::builder::elf::elf;
use crate::builder::image::Image;

fn log(image: &Image) -> vmcore::Log {
    vmcore::from_bytes(elf(&image.pages(), X86_64, &image.notes())).unwrap().log()
}

/// A buffer of `size` bytes with its pointer and length, as `log_buf` and `log_buf_len`.
fn buffer(image: &mut Image, size: u32) -> u64 {
    let at = image.alloc(size as usize, 8);
    let pointer = image.store(&at.to_le_bytes());
    image.symbol("log_buf", pointer);
    let length = image.store(&size.to_le_bytes());
    image.symbol("log_buf_len", length);
    at
}

/// One `struct printk_log` of 16 bytes with its text and dictionary; returns the next index.
fn put_record(image: &mut Image, buffer: u64, at: u64, ns: u64, text: &str, dict: &str) -> u64 {
    let length = (16 + text.len() + dict.len()).next_multiple_of(4) as u16;
    image.put64(buffer + at, ns);
    for (i, half) in [length, text.len() as u16, dict.len() as u16].into_iter().enumerate() {
        image.put(buffer + at + 8 + 2 * i as u64, &half.to_le_bytes());
    }
    image.put(buffer + at + 15, &[6 << 5]);
    image.put(buffer + at + 16, [text, dict].concat().as_bytes());
    at + u64::from(length)
}

fn records(name: &str) -> (Image, u64) {
    let mut image = Image::new(X86_64);
    image.info.push_str(&format!(
        "SIZE({name})=16\nOFFSET({name}.ts_nsec)=0\nOFFSET({name}.len)=8\nOFFSET({name}.text_len)=10\nOFFSET({name}.dict_len)=12\n"
    ));
    let buffer = buffer(&mut image, 4096);
    (image, buffer)
}

fn between(image: &mut Image, first: u64, next: u64) {
    for (name, value) in [("log_first_idx", first), ("log_next_idx", next)] {
        let at = image.store(&(value as u32).to_le_bytes());
        image.symbol(name, at);
    }
}

#[test]
fn records_of_3_5_to_5_9_with_a_wrap() {
    for name in ["printk_log", "log"] {
        let (mut image, buffer) = records(name);
        // Two at the end, the mark of the wrap (a length of zero), one at the start.
        let next = put_record(&mut image, buffer, 4000, 1_000_000_000, "old", "DEVICE=+pci");
        let next = put_record(&mut image, buffer, next, 2_000_000_000, "two\nlines", "");
        assert!(next < 4096 - 16);
        let end = put_record(&mut image, buffer, 0, 3_000_000_000, "new\u{1}", "");
        between(&mut image, 4000, end);
        let log = log(&image);
        assert_eq!(
            log.text,
            "[    1.000000] old\n[    2.000000] two\n               lines\n[    3.000000] new\\x01\n"
        );
        assert_eq!(log.notes, []);
        assert_eq!(log.records[0].level, 6);
    }
}

#[test]
fn a_record_with_impossible_lengths_ends_the_log_with_a_note() {
    let (mut image, buffer) = records("printk_log");
    let next = put_record(&mut image, buffer, 0, 1, "kept", "");
    image.put(buffer + next + 8, &20_u16.to_le_bytes());
    image.put(buffer + next + 10, &2000_u16.to_le_bytes());
    between(&mut image, 0, next + 100);
    let log = log(&image);
    assert_eq!(log.text, "[    0.000000] kept\n");
    assert_eq!(log.notes[0].code, "log-damaged");
}

#[test]
fn records_that_go_round_in_a_circle_end() {
    let (mut image, _) = records("printk_log");
    // Nothing but marks of the wrap, and an end that is never met.
    between(&mut image, 16, 8);
    assert_eq!(log(&image).notes[0].code, "log-damaged");
}

#[test]
fn the_plain_buffer_before_3_5() {
    let mut image = Image::new(X86_64);
    let buffer = buffer(&mut image, 32);
    // 40 characters were logged, so the first 8 are overwritten.
    image.put(buffer, b"<6>third<4>first\n<5>second line\n");
    for (name, value) in [("log_end", 40_u32), ("logged_chars", 32)] {
        let at = image.store(&value.to_le_bytes());
        image.symbol(name, at);
    }
    assert_eq!(log(&image).text, "<4>first\n<5>second line\n<6>third");
}
