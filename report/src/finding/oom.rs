//! The out-of-memory killer: who asked for memory, who was killed for it.

use super::{Family, Finding};

pub(super) fn begin(text: &str) -> Option<Finding> {
    if let Some((comm, rest)) = text.split_once(" invoked oom-killer: ") {
        let mut finding = Finding::new(Family::OutOfMemory, "oom", format!("{comm} found no memory"));
        finding.field("asked-by", comm);
        for (name, value) in rest.split(", ").filter_map(|pair| pair.split_once('=')) {
            finding.field(name, value);
        }
        return Some(finding);
    }
    // The first line may be gone from a short log.
    let mut finding = Finding::new(Family::OutOfMemory, "oom", "memory ran out");
    more(&mut finding, text).then_some(finding)
}

pub(super) fn more(finding: &mut Finding, text: &str) -> bool {
    if finding.get("killed").is_some() {
        return false;
    }
    if let Some(rest) = text.strip_prefix("oom-kill:") {
        for (name, value) in rest.split(',').filter_map(|pair| pair.split_once('=')) {
            finding.field(name, value);
        }
        return true;
    }
    let killed = ["ut of memory: ", "ut of memory (oom_kill_allocating_task): "];
    let Some((before, rest)) = killed.iter().find_map(|word| text.split_once(word)) else { return false };
    let Some(rest) = rest.strip_prefix("Killed process ").or_else(|| rest.strip_prefix("Kill process "))
    else {
        return false;
    };
    let killed = rest.split_once('(').and_then(|(pid, rest)| Some((pid.trim(), rest.split_once(')')?.0)));
    let Some((pid, comm)) = killed else { return false };
    let whose = if before.contains("Memory cgroup") { "its memory cgroup" } else { "the machine" };
    finding.field("killed", comm);
    finding.field("pid", pid);
    finding.text = format!("{comm} ({pid}) was killed because memory of {whose} ran out");
    true
}

#[cfg(test)]
mod tests {
    use super::super::Family::OutOfMemory;
    use super::super::tests::check;

    #[test]
    fn who_asked_and_who_was_killed_are_one_finding() {
        let found = check(
            "\
[   50.000001] java invoked oom-killer: gfp_mask=0x100cca(GFP_HIGHUSER_MOVABLE), order=0, oom_score_adj=0
[   50.000002] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg=/job,task_memcg=/job,task=java,pid=77,uid=0
[   50.000003] Memory cgroup out of memory: Killed process 77 (java) total-vm:1kB, anon-rss:1kB
[   60.000001] Out of memory: Killed process 78 (cc1plus) total-vm:1kB
[   70.000001] Out of memory (oom_kill_allocating_task): Killed process 79 (ld) total-vm:1kB
",
            &[(OutOfMemory, false, "oom"); 3],
        );
        assert_eq!(found[2].get("killed"), Some("ld"));
        assert_eq!((found[0].get("asked-by"), found[0].get("killed")), (Some("java"), Some("java")));
        assert_eq!(found[0].get("oom_memcg"), Some("/job"));
        assert!(found[0].text.contains("memory cgroup") && found[1].text.contains("the machine"));
    }
}
