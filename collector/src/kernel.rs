//! Two questions to the running kernel that no file answers: is the clock synchronised, and which BPF programs are
//! loaded. Everything `unsafe` of the agent is here.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use handover::boot::BpfProgram;

/// Programs that are told: a node of a large cluster has some hundred, and a boot record has 64 KiB.
const PROGRAMS: usize = 256;

/// Commands of bpf(2), `enum bpf_cmd` of `include/uapi/linux/bpf.h`.
const PROG_GET_NEXT_ID: libc::c_int = 11;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;

/// `enum bpf_prog_type` in its order, without the prefix.
const TYPES: [&str; 33] = [
    "unspec",
    "socket_filter",
    "kprobe",
    "sched_cls",
    "sched_act",
    "tracepoint",
    "xdp",
    "perf_event",
    "cgroup_skb",
    "cgroup_sock",
    "lwt_in",
    "lwt_out",
    "lwt_xmit",
    "sock_ops",
    "sk_skb",
    "cgroup_device",
    "sk_msg",
    "raw_tracepoint",
    "cgroup_sock_addr",
    "lwt_seg6local",
    "lirc_mode2",
    "sk_reuseport",
    "flow_dissector",
    "cgroup_sysctl",
    "raw_tracepoint_writable",
    "cgroup_sockopt",
    "tracing",
    "struct_ops",
    "ext",
    "lsm",
    "sk_lookup",
    "syscall",
    "netfilter",
];

/// Whether the kernel says that its clock is synchronised, adjtimex(2); `None` where it may not be asked.
pub fn clock_is_synced() -> Option<bool> {
    // SAFETY: `timex` is plain old data, for which zeros are a value; with `modes` 0 the call only fills it.
    let (state, timex) = unsafe {
        let mut timex: libc::timex = zeroed();
        (libc::adjtimex(&raw mut timex), timex)
    };
    (state >= 0).then_some(timex.status & libc::STA_UNSYNC == 0 && state != libc::TIME_ERROR)
}

/// The loaded BPF programs, as bpf(2) lists them for who has CAP_SYS_ADMIN.
pub fn bpf_programs() -> io::Result<Vec<BpfProgram>> {
    let mut programs = Vec::new();
    let mut last = 0;
    while programs.len() < PROGRAMS {
        let mut next = NextId { start_id: last, next_id: 0, open_flags: 0 };
        match bpf(PROG_GET_NEXT_ID, &mut next) {
            Ok(_) => last = next.next_id,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => break,
            Err(error) => return Err(error),
        }
        let mut by_id = NextId { start_id: last, next_id: 0, open_flags: 0 };
        match bpf(PROG_GET_FD_BY_ID, &mut by_id) {
            // SAFETY: the kernel just gave this descriptor to us, and nobody else knows it.
            Ok(fd) => programs.push(describe(&unsafe { OwnedFd::from_raw_fd(fd) })?),
            // Unloaded in between.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(programs)
}

/// `union bpf_attr` of the commands by id; `start_id` is `prog_id` of the second.
#[repr(C)]
struct NextId {
    start_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// `union bpf_attr` of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InfoByFd {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// `struct bpf_prog_info` up to its name; a kernel fills as much as it is given room for.
#[repr(C)]
struct ProgInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    lengths: [u32; 2],
    instructions: [u64; 2],
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: [u8; 16],
}

fn describe(program: &OwnedFd) -> io::Result<BpfProgram> {
    // SAFETY: it is plain old data, for which zeros are a value; zero lengths ask for no instructions and no maps.
    let mut info: ProgInfo = unsafe { zeroed() };
    let mut attr = InfoByFd {
        bpf_fd: u32::try_from(program.as_raw_fd()).unwrap_or(u32::MAX),
        info_len: size_of::<ProgInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attr)?;
    let name = info.name.split(|&byte| byte == 0).next().unwrap_or_default();
    let kind = TYPES.get(info.kind as usize).map_or_else(|| info.kind.to_string(), |&kind| kind.to_owned());
    Ok(BpfProgram { tag: hex::encode(info.tag), name: String::from_utf8_lossy(name).into_owned(), kind })
}

fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: `attr` is a `repr(C)` struct that begins as `union bpf_attr` does for this command, of the length that is
    // told; what it points to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_kernels() {
        assert_eq!(std::mem::offset_of!(ProgInfo, name), 64);
        assert_eq!(std::mem::offset_of!(ProgInfo, load_time), 40);
        assert_eq!(size_of::<ProgInfo>(), 80);
    }

    #[test]
    fn the_kernel_answers_or_says_why_not() {
        match bpf_programs() {
            Ok(programs) => assert!(programs.iter().all(|p| p.tag.len() == 16 && !p.kind.is_empty())),
            Err(error) => {
                println!("skipped: bpf(2): {error}");
                assert!(error.raw_os_error().is_some());
            }
        }
        println!("the clock is synchronised: {:?}", clock_is_synced());
    }
}
