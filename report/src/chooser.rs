//! Which function of a stack names the bug.

use std::borrow::Cow;

use crate::profile::Profile;
use crate::rules::{Choose, NameSet};
use crate::syscall;

/// A function that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen<'a> {
    /// As it stands in the title.
    pub(crate) name: Cow<'a, str>,
    /// As the log had it.
    pub(crate) raw: Cow<'a, str>,
    /// Under which further name the same loop may be known: only for the ALT titles.
    pub(crate) also: Option<Box<Chosen<'a>>>,
}

impl<'a> Chosen<'a> {
    fn plain(raw: &Cow<'a, str>) -> Chosen<'a> {
        Chosen { name: Cow::Owned(syscall::strip(raw).to_owned()), raw: raw.clone(), also: None }
    }
}

/// Chooses among `names`, innermost first. None when the stack says nothing.
pub(crate) fn choose<'a>(
    how: Choose,
    names: &[Cow<'a, str>],
    anchors: &NameSet,
    profile: Profile,
) -> Option<Chosen<'a>> {
    match (how, profile) {
        (Choose::First, _) => names.first().map(Chosen::plain),
        (Choose::Hang, _) => hang(names),
        (Choose::Stall | Choose::Recursion, Profile::Scoring) => stall(names, anchors),
        (Choose::Stall, Profile::Production) => spinning(names, anchors),
        (Choose::Recursion, Profile::Production) => recursing(names, anchors),
    }
}

/// Every cross call waits in one of a handful of functions; they are one name.
const CROSS_CALL: &str = "smp_call_function";

/// A stall shows a random moment of a loop, so the name comes from further out: the outermost specific function, the
/// one before the first dispatcher.
fn stall<'a>(names: &[Cow<'a, str>], anchors: &NameSet) -> Option<Chosen<'a>> {
    let mut before: Option<&Cow<'a, str>> = None;
    for raw in names {
        let name = syscall::strip(raw);
        if anchors.matches(name) {
            if name.contains(CROSS_CALL) {
                return Some(Chosen { name: Cow::Borrowed(CROSS_CALL), raw: raw.clone(), also: None });
            }
            return Some(Chosen::plain(before.unwrap_or(raw)));
        }
        before = Some(raw);
    }
    None
}

/// For a fleet the title names the function that spins, which is where a developer looks first; the outermost
/// specific one becomes an ALT title, so that two moments of one loop still meet.
fn spinning<'a>(names: &[Cow<'a, str>], anchors: &NameSet) -> Option<Chosen<'a>> {
    let outer = stall(names, anchors);
    if outer.as_ref().is_some_and(|outer| outer.name == CROSS_CALL) {
        return outer;
    }
    let inner = Chosen::plain(names.first()?);
    // Everything a module does at first hangs below its init call: that would join what has nothing in common.
    let initcall = names.iter().any(|name| name.starts_with("do_one_initcall"));
    let also = outer.filter(|outer| outer.name != inner.name && !initcall).map(Box::new);
    Some(Chosen { also, ..inner })
}

/// How often a function stands in a stack that overflowed when it is the one that called itself.
const RECURSION_MIN: usize = 3;

/// A stack that overflowed shows a random moment of a recursion. The outermost function that comes again and again is
/// where it was entered; without one, the stack was simply too deep, and the innermost function has to do.
fn recursing<'a>(names: &[Cow<'a, str>], anchors: &NameSet) -> Option<Chosen<'a>> {
    let recurs = |name: &&Cow<'a, str>| {
        names.iter().filter(|other| other == name).take(RECURSION_MIN).count() == RECURSION_MIN
    };
    // One look from the outside in; stacks are a few hundred frames at most.
    match names.iter().rev().find(recurs) {
        Some(entry) => Some(Chosen::plain(entry)),
        None => spinning(names, anchors),
    }
}

/// Waits that stand for one cause wherever they are met: what a name holds, and the name they are joined under.
const SHARED_WAITS: [(&str, Option<&str>); 5] = [
    ("rtnl_lock", None),
    ("synchronize_rcu", Some("synchronize_rcu")),
    ("synchronize_srcu", Some("synchronize_rcu")),
    ("synchronize_net", Some("synchronize_rcu")),
    ("synchronize_sched", Some("synchronize_rcu")),
];

/// Parts of the names of functions that only wait.
const WAITING: [&str; 13] = [
    "sched",
    "_lock",
    "_slowlock",
    "down",
    "rwsem",
    "completion",
    "kthread",
    "wait",
    "synchronize",
    "context_switch",
    "__switch_to",
    "cancel_delayed_work",
    "rcu_barrier",
];

/// A hung task is a victim; the victims of one cause are bundled.
fn hang<'a>(names: &[Cow<'a, str>]) -> Option<Chosen<'a>> {
    for raw in names {
        let name = syscall::strip(raw);
        if let Some((_, joined)) = SHARED_WAITS.iter().find(|(part, _)| name.contains(part)) {
            let name = joined.map_or_else(|| Cow::Owned(name.to_owned()), Cow::Borrowed);
            return Some(Chosen { name, raw: raw.clone(), also: None });
        }
    }
    let waits = |raw: &&Cow<'a, str>| WAITING.iter().any(|part| syscall::strip(raw).contains(part));
    names.iter().find(|raw| !waits(raw)).map(Chosen::plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Rules;

    #[track_caller]
    fn check(how: Choose, profile: Profile, names: &str, expected: Option<(&str, Option<&str>)>) {
        let names: Vec<Cow<'_, str>> = names.split(' ').map(Cow::Borrowed).collect();
        let chosen = choose(how, &names, &Rules::of(profile).anchors, profile);
        let found =
            chosen.as_ref().map(|c| (c.name.as_ref(), c.also.as_ref().map(|also| also.name.as_ref())));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_stall_is_named_by_the_function_before_the_first_dispatcher() {
        let stall =
            |names, expected: &str| check(Choose::Stall, Profile::Scoring, names, Some((expected, None)));
        stall("step loop dev_write vfs_write __x64_sys_write do_syscall_64", "dev_write");
        stall("vfs_read x", "vfs_read");
        stall("csd_wait smp_call_function_many flush", "smp_call_function");
        stall("step __x64_sys_rmdir do_syscall_64", "sys_rmdir");
        check(Choose::Stall, Profile::Scoring, "step loop", None);
    }

    #[test]
    fn a_fleet_sees_the_function_that_spins_and_keeps_the_outer_name() {
        let stall = |names, expected| check(Choose::Stall, Profile::Production, names, Some(expected));
        stall("step loop dev_write vfs_write", ("step", Some("dev_write")));
        stall("step vfs_write", ("step", None));
        stall("spin mod_init do_one_initcall do_syscall_64", ("spin", None));
        stall("csd_wait smp_call_function_many flush", ("smp_call_function", None));
    }

    #[test]
    fn a_recursion_is_named_by_where_it_was_entered() {
        check(
            Choose::Recursion,
            Profile::Production,
            "b a b a b a b a start do_syscall_64",
            Some(("a", None)),
        );
        check(Choose::Recursion, Profile::Production, "leaf big vfs_write", Some(("leaf", Some("big"))));
    }

    #[test]
    fn victims_of_one_wait_are_bundled() {
        let hang =
            |names, expected: &str| check(Choose::Hang, Profile::Production, names, Some((expected, None)));
        hang("__schedule schedule schedule_timeout synchronize_sched remove", "synchronize_rcu");
        hang("__schedule schedule __mutex_lock rtnl_lock register", "rtnl_lock");
        hang("__schedule schedule io_schedule folio_wait_bit ext4_write", "ext4_write");
    }
}
