//! File names of pstore records: `TYPE-BACKEND-ID[.enc.z]`.

use std::fmt;

use serde::Serialize;

/// A parsed name of a file in `/sys/fs/pstore` (or of a copy of it).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordName {
    /// What the record holds.
    pub kind: RecordKind,
    /// Who kept it.
    pub backend: Backend,
    /// The backend's id.
    pub id: u64,
    /// The kernel could not decompress it (`.enc.z`): the file is the raw payload.
    pub compressed: bool,
}

/// The record types of `fs/pstore/platform.c`, `pstore_type_names[]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordKind {
    /// A dump of the kernel log at an oops, a panic, a shutdown.
    Dmesg,
    /// A machine check record.
    Mce,
    /// The console of the previous boot.
    Console,
    /// Function trace; its symbols were resolved with the kernel that is running now.
    Ftrace,
    /// PowerPC firmware.
    Rtas,
    /// PowerPC Open Firmware.
    PowerpcOfw,
    /// PowerPC, common partition.
    PowerpcCommon,
    /// Messages of user space (Android's logger); opaque.
    Pmsg,
    /// PowerPC OPAL firmware.
    PowerpcOpal,
}

/// Where a record was kept over the reboot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// RAM that a warm reset keeps.
    Ramoops,
    /// UEFI variables, named `efi` up to kernel 6.1 and `efi_pstore` since.
    Efi,
    /// ACPI error record serialization table.
    Erst,
    /// A block device (`pstore_blk`) or flash (`mtdpstore`).
    Blk,
    /// PowerPC NVRAM.
    Nvram,
    /// One we do not know.
    Other(String),
}

const KINDS: &[(&str, RecordKind)] = &[
    ("dmesg-", RecordKind::Dmesg),
    ("mce-", RecordKind::Mce),
    ("console-", RecordKind::Console),
    ("ftrace-", RecordKind::Ftrace),
    ("rtas-", RecordKind::Rtas),
    ("powerpc-ofw-", RecordKind::PowerpcOfw),
    ("powerpc-common-", RecordKind::PowerpcCommon),
    ("pmsg-", RecordKind::Pmsg),
    ("powerpc-opal-", RecordKind::PowerpcOpal),
];

/// Takes a record's file name apart. None for files that are no pstore records.
pub fn parse_name(name: &str) -> Option<RecordName> {
    let (plain, compressed) = match name.strip_suffix(".enc.z") {
        Some(plain) => (plain, true),
        None => (name, false),
    };
    let (rest, kind) = KINDS.iter().find_map(|(prefix, kind)| Some((plain.strip_prefix(prefix)?, *kind)))?;
    let (backend, id) = rest.rsplit_once('-')?;
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) || backend.is_empty() {
        return None;
    }
    let backend = match backend {
        "ramoops" => Backend::Ramoops,
        "efi" | "efi_pstore" => Backend::Efi,
        "erst" => Backend::Erst,
        "pstore_blk" | "mtdpstore" => Backend::Blk,
        "nvram" => Backend::Nvram,
        other => Backend::Other(other.to_owned()),
    };
    Some(RecordName { kind, backend, id: id.parse().ok()?, compressed })
}

/// What the id of an EFI record holds: `(time * 100 + part) * 1000 + count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EfiId {
    /// Seconds since 1970, at which this part was written. It may tick between the parts of one dump.
    pub time: u64,
    /// 1 is the newest chunk of the log.
    pub part: u32,
    /// Dumps since boot.
    pub count: u32,
}

impl RecordName {
    /// The fields inside an EFI id.
    pub fn efi(&self) -> Option<EfiId> {
        let id = self.id;
        (self.backend == Backend::Efi).then_some(EfiId {
            time: id / 100_000,
            part: (id / 1000 % 100) as u32,
            count: (id % 1000) as u32,
        })
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Ramoops => "ramoops",
            Backend::Efi => "efi",
            Backend::Erst => "erst",
            Backend::Blk => "blk",
            Backend::Nvram => "nvram",
            Backend::Other(name) => name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_efi_id_holds_time_part_and_count() {
        let name = parse_name("dmesg-efi-179537379207001").unwrap();
        assert_eq!(name.efi(), Some(EfiId { time: 1795373792, part: 7, count: 1 }));
        assert_eq!(parse_name("dmesg-efi_pstore-179537690514001").unwrap().backend, Backend::Efi);
    }

    #[test]
    fn names_that_are_no_records_are_refused() {
        for name in
            ["", "dmesg", "dmesg-ramoops", "dmesg-ramoops-", "dmesg-ramoops-x", "truth.json", "dmesg--1"]
        {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }

    #[test]
    fn what_the_kernel_could_not_decompress_is_marked() {
        let name = parse_name("dmesg-ramoops-0.enc.z").unwrap();
        assert!(name.compressed && name.backend == Backend::Ramoops && name.id == 0);
        assert_eq!(parse_name("powerpc-ofw-nvram-3").unwrap().kind, RecordKind::PowerpcOfw);
    }
}
