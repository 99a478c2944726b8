//! What the program prints: results to standard output, what somebody should look at to standard error, one line each.

use collector::agent::Summary;
use collector::exit::Exit;
use collector::receipts::verify::Findings;
use handover::readiness::{Readiness, Verdict};
use serde::Serialize;

/// What a run did; the exit is that of the run.
pub fn summary(summary: &Summary, as_json: bool) -> Exit {
    if as_json {
        json(summary);
        return summary.exit;
    }
    for seen in &summary.found {
        let age = if seen.new { "new" } else { "known" };
        println!("{} {age} {} {}", seen.evidence, seen.state, seen.records.join(" "));
    }
    for receipt in &summary.receipts {
        println!("receipt {} {} for {}", receipt.seq, receipt.disposition, receipt.evidence_id);
    }
    for (id, why) in &summary.held {
        eprintln!("lastwords-agent: {id} is held: {why}");
    }
    for trouble in &summary.troubles {
        eprintln!("lastwords-agent: {trouble}");
    }
    let (found, new) = (summary.found.len(), summary.found.iter().filter(|seen| seen.new).count());
    println!(
        "{found} found, {new} new, {} receipts, {} waiting, {} held, {} erased",
        summary.receipts.len(),
        summary.waiting,
        summary.held.len(),
        summary.erased
    );
    summary.exit
}

/// What the doctor found.
pub fn readiness(readiness: &Readiness, as_json: bool) {
    if as_json {
        return json(readiness);
    }
    for check in &readiness.checks {
        println!("{:<8}{:<18} {}", word(check.verdict), check.id, check.evidence);
        if !check.fix.is_empty() {
            println!("{:<26} mend: {}", "", check.fix);
        }
    }
    println!("{}", word(readiness.summary));
}

/// What verifying the receipts found.
pub fn findings(findings: &Findings, as_json: bool) -> Exit {
    if as_json {
        json(findings);
    } else {
        println!("{} receipts verified", findings.verified);
        findings.gaps.iter().for_each(|gap| println!("gap: {gap}"));
        findings.faults.iter().for_each(|fault| eprintln!("lastwords-agent: {fault}"));
    }
    if findings.faults.is_empty() { Exit::Done } else { Exit::Distrusted }
}

fn json(document: &impl Serialize) {
    println!("{}", serde_json::to_string_pretty(document).expect("our documents are texts and numbers"));
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Unknown => "UNKNOWN",
        Verdict::Fail => "FAIL",
    }
}
