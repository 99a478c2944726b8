//! The prefixes that the system call macros put before a function's own name.

/// In `foo` = `__x64_sys_foo` = `__se_sys_foo` the macros of `include/linux/syscalls.h` and the wrappers of the
/// architectures, old and new.
const PREFIXES: [&str; 15] = [
    "SYSC_",
    "SyS_",
    "sys_",
    "__x64_",
    "__ia32_",
    "__arm64_",
    "____sys_",
    "___sys_",
    "__sys_",
    "__se_",
    "__se_sys_",
    "__do_sys_",
    "compat_SYSC_",
    "compat_SyS_",
    "ksys_",
];

/// Every name that is left when one prefix is taken off.
pub(crate) fn stripped(name: &str) -> impl Iterator<Item = &str> {
    PREFIXES.iter().filter_map(move |prefix| name.strip_prefix(prefix)).filter(|rest| !rest.is_empty())
}

/// The shortest of them, or the name itself. Only one prefix goes: `__x64_sys_rmdir` is `sys_rmdir`.
pub(crate) fn strip(name: &str) -> &str {
    stripped(name).min_by_key(|rest| rest.len()).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_prefix_goes_the_longest() {
        for (name, expected) in [
            ("__se_sys_mremap", "mremap"),
            ("__x64_sys_rmdir", "sys_rmdir"),
            ("____sys_sendmsg", "sendmsg"),
            ("sys_", "sys_"),
            ("tcp_sendmsg", "tcp_sendmsg"),
        ] {
            assert_eq!(strip(name), expected);
        }
        assert_eq!(stripped("__se_sys_mremap").collect::<Vec<_>>(), ["sys_mremap", "mremap"]);
    }
}
