//! The package that a distribution ships a kernel's debug files in, by the form of the release.

use serde::Serialize;

/// A package, and the command that brings it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// How it is installed; what repository it is in the distribution says.
    pub command: String,
}

/// The package of a release; `None` where its form tells no distribution.
pub fn of(release: &str) -> Option<Package> {
    // It comes out of a log and goes into a command that people copy.
    let plain = |c: char| c.is_ascii_alphanumeric() || ".+-_~".contains(c);
    if !release.starts_with(|c: char| c.is_ascii_digit()) || !release.chars().all(plain) {
        return None;
    }
    let (version, rest) = release.split_once('-')?;
    let package = |name: String, command: &str| {
        let command = format!("{command} {name}");
        Some(Package { name, command })
    };
    // Fedora, RHEL and their kin: 6.5.6-300.fc39.x86_64, 5.14.0-362.8.1.el9_3.x86_64
    let of_rpm = RPM_MACHINES.iter().any(|machine| rest.ends_with(machine));
    if of_rpm && RPM_TAGS.iter().any(|tag| rest.contains(tag)) {
        return package(format!("kernel-debuginfo-{release}"), "dnf --enablerepo='*debug*' install");
    }
    // Ubuntu: 5.15.0-91-generic, 6.8.0-1015-aws
    if UBUNTU.iter().any(|flavour| rest.ends_with(&format!("-{flavour}"))) {
        return package(format!("linux-image-unsigned-{release}-dbgsym"), "apt install");
    }
    // SUSE: 5.14.21-150500.55.19-default, 6.4.0-150600.23.7-azure
    let suse = rest
        .rsplit_once('-')
        .filter(|(build, _)| build.contains('.') && build.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
    if let Some((build, flavour)) = suse {
        return package(format!("kernel-{flavour}-debuginfo-{version}-{build}"), "zypper install");
    }
    // Debian: 6.1.0-56-cloud-amd64, 6.12.117+deb12-cloud-amd64, 6.12.9+bpo-rt-arm64
    let debian = DEBIAN.iter().any(|machine| rest == *machine || rest.ends_with(&format!("-{machine}")));
    if debian {
        return package(format!("linux-image-{release}-dbg"), "apt install");
    }
    None
}

/// How releases of Fedora, of RHEL and its kin, and of Amazon end, and what stands before.
const RPM_MACHINES: [&str; 4] = [".x86_64", ".aarch64", ".ppc64le", ".s390x"];
const RPM_TAGS: [&str; 3] = [".fc", ".el", ".amzn"];
/// Ubuntu's flavours (linux-image-*-FLAVOUR).
const UBUNTU: [&str; 9] =
    ["generic", "generic-64k", "lowlatency", "aws", "azure", "gcp", "oracle", "kvm", "raspi"];
/// Debian's flavours (linux-image-FLAVOUR).
const DEBIAN: [&str; 9] =
    ["amd64", "arm64", "armmp", "686", "686-pae", "powerpc64le", "s390x", "riscv64", "arm64-16k"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_release_tells_its_package() {
        for (release, expected) in [
            ("6.12.117+deb12-cloud-amd64", Some("linux-image-6.12.117+deb12-cloud-amd64-dbg")),
            ("6.1.0-56-cloud-amd64", Some("linux-image-6.1.0-56-cloud-amd64-dbg")),
            ("6.12.9-arm64", Some("linux-image-6.12.9-arm64-dbg")),
            ("5.15.0-91-generic", Some("linux-image-unsigned-5.15.0-91-generic-dbgsym")),
            ("6.8.0-1015-aws", Some("linux-image-unsigned-6.8.0-1015-aws-dbgsym")),
            ("6.5.6-300.fc39.x86_64", Some("kernel-debuginfo-6.5.6-300.fc39.x86_64")),
            ("5.14.0-362.8.1.el9_3.aarch64", Some("kernel-debuginfo-5.14.0-362.8.1.el9_3.aarch64")),
            ("5.14.21-150500.55.19-default", Some("kernel-default-debuginfo-5.14.21-150500.55.19")),
            ("6.12.0", None),
            ("6.12.0-rc3-dirty", None),
            ("6.9.1-arch1-1", None),
            ("6.1.0-amd64; rm -rf /", None),
            ("", None),
        ] {
            assert_eq!(of(release).map(|package| package.name).as_deref(), expected, "{release}");
        }
        assert_eq!(of("6.12.9-amd64").unwrap().command, "apt install linux-image-6.12.9-amd64-dbg");
    }
}
