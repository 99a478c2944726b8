//! Readable names of Rust and C++ functions, without their parameters.

use std::borrow::Cow;

/// The path of a mangled name; other names as they are.
pub(crate) fn demangle(name: &str) -> Cow<'_, str> {
    if !name.starts_with("_R") && !name.starts_with("_Z") {
        return Cow::Borrowed(name);
    }
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return Cow::Owned(format!("{rust:#}"));
    }
    cpp(name).map_or(Cow::Borrowed(name), Cow::Owned)
}

/// The name of an Itanium-mangled function: `_Z` and a length-prefixed name, or a nested row of them. (The kernel has
/// no C++ of its own; out-of-tree modules do. Templates and operators stay as they are.)
fn cpp(name: &str) -> Option<String> {
    let rest = name.strip_prefix("_Z")?;
    let rest = rest.strip_prefix('L').unwrap_or(rest);
    let Some(mut nested) = rest.strip_prefix('N') else { return Some(source_name(rest)?.0.to_owned()) };
    nested = nested.trim_start_matches(['r', 'V', 'K']);
    let mut parts = Vec::new();
    while !nested.starts_with('E') {
        let (part, rest) = source_name(nested)?;
        parts.push(part);
        nested = rest;
    }
    (!parts.is_empty()).then(|| parts.join("::"))
}

/// `8fakeName…` gives `fakeName` and the rest.
fn source_name(text: &str) -> Option<(&str, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let length: usize = text[..digits].parse().ok()?;
    let rest = &text[digits..];
    (length > 0 && length <= rest.len() && rest.is_char_boundary(length)).then(|| rest.split_at(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mangled_names_give_their_path() {
        for (name, expected) in [
            ("plain", "plain"),
            ("_Z7performii", "perform"),
            ("_ZN6engine5startEv", "engine::start"),
            ("_ZNK6engine5startEv", "engine::start"),
            ("_ZN4core9panicking5panic17h0123456789abcdefE", "core::panicking::panic"),
            ("_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"),
            ("_Z", "_Z"),
            ("_Z99short", "_Z99short"),
        ] {
            assert_eq!(demangle(name), expected);
        }
    }
}
