//! A loaded module and a BPF program.

use super::image::{IMAGE, Image};
use super::tasks::ring_of;

/// A module with one function; returns `struct module` and the list's head.
pub fn new_module(image: &mut Image) -> (u64, u64) {
    let text = image.alloc(256, 16);
    let names = image.store(b"\0fake_ioctl\0");
    let mut symtab = vec![0; 48];
    symtab[24] = 1;
    symtab[24 + 6] = 2;
    symtab[32..40].copy_from_slice(&(text + 16).to_le_bytes());
    let symtab = image.store(&symtab);
    let table = image.store(&[symtab.to_le_bytes(), names.to_le_bytes(), 2_u64.to_le_bytes()].concat());
    let at = image.alloc(256, 64);
    image.put(at + 16, b"fake_driver");
    image.put64(at + 80, text);
    image.put32(at + 88, 256);
    image.put64(at + 96 + 7 * 16, table);
    image.put(at + 220, &[0xab; 20]);
    let head = image.alloc(16, 8);
    ring_of(image, head, &[at]);
    (at, head)
}

pub fn new_program(image: &mut Image) -> u64 {
    let at = image.alloc(256, 8);
    image.put64(at, IMAGE + 0x10_0000);
    image.put64(at + 8, IMAGE + 0x10_0100);
    image.put(at + 16, b"bpf_prog_0123456789abcdef_watch");
    let head = image.alloc(16, 8);
    ring_of(image, head, &[at + 144]);
    head
}
