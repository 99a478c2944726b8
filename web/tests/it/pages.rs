//! The pages, over HTTP, of real crashes and of hostile ones.

use handover::NodeId;
use serde_json::json;

use crate::harness::{Machine, Service, fixtures, manifest, oops, parcel, request};

const CASE: &str = "pstore/6.1.0-56-cloud-amd64-null_deref";

/// A service that holds one real crash and the module it was in.
fn with_a_crash() -> Service {
    let service = Service::start();
    let module = fixtures().join("modules/6.1.0-56-cloud-amd64/crashlab.ko");
    let module = std::fs::read(module).unwrap();
    assert_eq!(service.send("PUT", "/api/v1/symbols", &service.token("symbols"), &module).status, 201);
    Machine::of(CASE).collect(&service.url(), &service.token("ingest"));
    service.settle();
    service
}

/// Every page of a service, one of each kind.
fn pages(service: &Service) -> Vec<String> {
    let first = |list: &str, id: &str| service.json(list)["items"][0][id].as_str().map(str::to_owned);
    let mut pages: Vec<String> = [
        "/overview",
        "/signatures",
        "/crashes",
        "/releases",
        "/nodes",
        "/symbols",
        "/unnamed",
        "/decode",
        "/health",
    ]
    .map(str::to_owned)
    .into();
    for (list, id) in [
        ("signatures", "signature_id"),
        ("crashes", "crash_id"),
        ("nodes", "node_id"),
        ("evidence", "evidence_id"),
    ] {
        let key = first(&format!("/api/v1/{list}"), id);
        pages.extend(key.map(|key| format!("/{list}/{key}")));
    }
    pages
}

fn html(service: &Service, page: &str) -> String {
    let answer = service.get(page);
    assert_eq!(answer.status, 200, "{page}: {}", answer.text());
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    answer.text()
}

/// What no page may hold: anything from elsewhere, a script, an inline style.
fn is_closed(page: &str, html: &str) {
    for address in html.split("href=\"").chain(html.split("src=\"")).chain(html.split("action=\"")).skip(1) {
        let address = address.split('"').next().unwrap();
        let ours = address.starts_with('/') && !address.starts_with("//") || address.starts_with('#');
        assert!(ours || address.starts_with('<'), "{page} leads to {address}");
    }
    for word in ["<script", " style=", "<style", " onclick", "javascript:", "url(http"] {
        assert!(!html.contains(word), "{page} holds {word}");
    }
}

#[test]
fn every_page_has_three_forms_and_loads_nothing_from_elsewhere() {
    let service = with_a_crash();
    let pages = pages(&service);
    assert_eq!(pages.len(), 13, "one of each kind: {pages:?}");
    for page in pages.iter().map(String::as_str).chain(["/"]) {
        is_closed(page, &html(&service, page));
        let policy = service.get(page).header("content-security-policy").to_owned();
        assert!(policy.starts_with("default-src 'none'; style-src 'self'"), "{page}: {policy}");
    }
    for page in &pages {
        assert!(service.json(&format!("{page}.json")).is_object(), "{page}");
        let text = service.get(&format!("{page}.txt"));
        assert_eq!((text.status, text.header("content-type")), (200, "text/plain; charset=utf-8"), "{page}");
        assert!(
            !text.text().contains('<') || page.contains("evidence") || page.contains("crashes/"),
            "{page}: {}",
            text.text()
        );
    }
}

#[test]
fn a_crash_page_holds_what_its_log_and_its_module_say() {
    let service = with_a_crash();
    let id = service.json("/api/v1/crashes?fatal=true")["items"][0]["crash_id"].as_str().unwrap().to_owned();
    let page = html(&service, &format!("/crashes/{id}"));
    for held in [
        "unable to handle kernel NULL pointer dereference in <code>read_rpm</code>",
        "crashlab.c:40",
        "next_rpm",
        "crashlab.c:45",
        "inlined into",
        "faulted here",
        "start_engine.isra.0",
        "insmod",
        "Fatal exception",
        "Unable to access opcode bytes",
        "an unsigned module was loaded",
    ] {
        assert!(page.contains(held), "the page lacks {held}");
    }
    // Each line that the page points to is there to be pointed to, once.
    for anchor in page.split("href=\"#L").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert_eq!(page.matches(&format!("id=\"L{anchor}\"")).count(), 1, "line {anchor}");
    }
    let json = service.json(&format!("/crashes/{id}.json"));
    assert_eq!(json["story"]["place"].as_str().unwrap().rsplit('/').next(), Some("crashlab.c:40"));
    assert_eq!(json["evidence"][0]["receipts"][0]["disposition"], "stored");
}

#[test]
fn the_text_of_a_crash_reads_in_eighty_columns() {
    let service = with_a_crash();
    let id = service.json("/api/v1/crashes?fatal=true")["items"][0]["crash_id"].as_str().unwrap().to_owned();
    let text = service.get(&format!("/crashes/{id}.txt")).text();
    let stack = text.split("Stack\n-----\n").nth(1).unwrap().split("\n\n").next().unwrap();
    insta::assert_snapshot!(stack);
    for line in text.lines().filter(|line| line.contains(' ') && !line.contains("sha256")) {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn hostile_names_are_shown_and_not_obeyed() {
    let service = Service::start();
    let script = "<script>alert(1)</script>";
    let mut log = String::from_utf8(oops(27)).unwrap();
    log = log.replace("insmod", "<script>x\u{1b}[2J").replace("[car]", "[car\u{202e}<b>]");
    log.push_str(&format!("<4>[ 28.0] {script} \u{1b}]0;owned\u{7}\u{8}\u{7f}\n"));
    let mut said = manifest(1, log.as_bytes());
    script.clone_into(&mut said.host.name);
    said.labels = [("pool".to_owned(), format!("\"{script}"))].into();
    format!("dmesg-{script}").clone_into(&mut said.pieces[0].name);
    script.clone_into(&mut said.agent.version);
    said.source.backend = Some(script.to_owned());
    let (path, body) = parcel(said, log.as_bytes());
    let kept = service.send("PUT", &path, &service.token("ingest"), &body);
    assert_eq!(kept.status, 201, "{}", kept.text());
    service.settle();
    let pages = pages(&service);
    assert_eq!(pages.len(), 13, "it has a crash, a signature, a node: {pages:?}");
    for page in pages {
        let html = html(&service, &page);
        is_closed(&page, &html);
        let obeyed = |c: char| c.is_control() && c != '\n' && c != '\t' || c == '\u{202e}';
        assert!(!html.contains(obeyed), "{page} holds a control character");
        let text = service.get(&format!("{page}.txt")).text();
        assert!(!text.contains(obeyed), "{page}.txt holds a control character");
    }
    let nodes = html(&service, "/nodes");
    assert!(nodes.contains("&#60;script&#62;alert(1)"), "the name is not hidden either");
    let evidence = service.json("/api/v1/evidence")["items"][0]["evidence_id"].as_str().unwrap().to_owned();
    let log = html(&service, &format!("/evidence/{evidence}"));
    assert!(log.contains("&#60;0x08&#62;&#60;0x7f&#62;"), "control bytes are spelled out");
    assert!(!log.contains("owned"), "what steers a terminal is no part of a line");
}

#[test]
fn lists_go_on_where_a_page_ends() {
    let service = Service::start();
    let token = service.token("ingest");
    for machine in 0..60 {
        let log = oops(20 + u32::from(machine));
        let (path, body) = parcel(manifest(machine, &log), &log);
        assert_eq!(service.send("PUT", &path, &token, &body).status, 201);
    }
    service.settle();
    for list in ["/crashes", "/nodes"] {
        let page = html(&service, list);
        let next = page.split("<p class=\"n2\"><a href=\"").nth(1).expect("a link to the next page");
        let next = next.split('"').next().unwrap().replace("&#38;", "&");
        let rows = |page: &str| page.matches("<th scope=\"row\">").count();
        assert_eq!((rows(&page), rows(&html(&service, &next))), (50, 10), "{list}");
    }
    assert_eq!(service.get("/crashes?after=AAAA").status, 400);
}

#[test]
fn what_is_not_there_is_a_page_for_people_and_a_problem_for_programs() {
    let service = Service::start();
    let nobody = NodeId::new([7; 16]);
    for page in [
        "/nothing".to_owned(),
        format!("/nodes/{nobody}"),
        "/crashes/xyz".to_owned(),
        "/evidence/-".to_owned(),
    ] {
        let answer = service.get(&page);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (404, "text/html; charset=utf-8"),
            "{page}"
        );
        is_closed(&page, &answer.text());
    }
    service.get(&format!("/nodes/{nobody}.json")).is_problem(404, "not-found");
    service.get("/api/v1/nothing").is_problem(404, "not-found");
    assert!(service.get(&format!("/nodes/{nobody}.txt")).text().starts_with("404 "));
}

#[test]
fn an_empty_service_says_why_it_is_empty() {
    let service = Service::start();
    for (page, says) in [
        ("/", "Nobody has reported yet"),
        ("/signatures", "No signature yet"),
        ("/crashes", "No crash here"),
        ("/nodes", "No node yet"),
        ("/symbols", "Nothing is missing"),
        ("/unnamed", "Nothing here"),
    ] {
        assert!(html(&service, page).contains(says), "{page}");
    }
}

#[test]
fn evidence_without_a_name_is_listed_and_can_be_read() {
    let service = Service::start();
    let log = b"<6>[    1.000000] all is well\n";
    let (path, body) = parcel(manifest(1, log), log);
    assert_eq!(service.send("PUT", &path, &service.token("ingest"), &body).status, 201);
    service.settle();
    let evidence = service.json("/unnamed.json")["items"][0]["evidence_id"].as_str().unwrap().to_owned();
    assert!(html(&service, "/unnamed").contains(&format!("/evidence/{evidence}")));
    assert!(html(&service, &format!("/evidence/{evidence}")).contains("all is well"));
    assert!(html(&service, "/").contains("1 piece of evidence has no name"));
}

#[test]
fn a_theme_is_kept_in_a_cookie_and_styles_by_their_digest() {
    let service = Service::start();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let chosen =
        request("POST", &format!("{}/theme", service.url()), None, &form, b"theme=dark&back=%2Fnodes");
    assert_eq!((chosen.status, chosen.header("location")), (303, "/nodes"));
    let cookie = chosen.header("set-cookie").split(';').next().unwrap().to_owned();
    let page = request("GET", &format!("{}/nodes", service.url()), None, &[("cookie", &cookie)], &[]).text();
    assert!(page.contains("<html lang=\"en\" data-theme=\"dark\">"));
    let style = page.split("stylesheet\" href=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let styled = service.get(&style);
    assert_eq!((styled.status, styled.header("content-type")), (200, "text/css; charset=utf-8"));
    assert!(styled.header("cache-control").contains("immutable"));
    assert_eq!(service.get("/static/0000/tokens.css").status, 404);
}

#[test]
fn pages_ask_for_a_token_where_reading_needs_one() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::on(folder.path(), false);
    for page in ["/", "/crashes", "/health", "/unnamed.txt"] {
        assert_eq!(service.get(page).status, 401, "{page}");
    }
    assert_eq!(
        request("GET", &format!("{}/", service.url()), Some(&service.token("read")), &[], &[]).status,
        200
    );
}

/// Says over HTTP that a node ran its present boot for some days, and what its checks found.
fn ran_for(service: &Service, machine: u8, days: i64) {
    let node = NodeId::new([machine; 16]);
    let now = i64::try_from(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros(),
    )
    .unwrap();
    let (day, boot) = (86_400_000_000, "550e8400e29b41d4a716446655440000");
    let record = json!({
        "schema": "lastwords.boot/1", "node_id": node.to_string(), "incarnation": "b3f1c2d4e5f60718293a4b5c6d7e8f90",
        "boot_id": boot, "rev": 1, "ordinal": 7, "started": {"us": now - days * day, "basis": "btime"},
        "seen_us": now, "uptime_us": days * day, "clock": {"synced": true, "basis": "adjtimex"},
        "host": {"name": "", "kernel": "6.12.117+deb12-cloud-amd64", "build_id": "", "arch": "x86_64", "cmdline_sha256": ""},
        "livepatches": [], "bpf": [], "labels": {}, "agent": {"version": "0.1.0", "build": ""}, "previous": null,
        "ended": null, "spool": {"files": 0, "bytes": 0, "oldest_us": null, "withheld": 0, "emergency_erases": 0}
    });
    let token = service.token("ingest");
    let sent = service.send(
        "PUT",
        &format!("/api/v1/nodes/{node}/boots/{boot}"),
        &token,
        record.to_string().as_bytes(),
    );
    assert_eq!(sent.status, 200, "{}", sent.text());
    let check = |id: &str, verdict: &str, fix: &str| json!({"id": id, "verdict": verdict, "observed_us": now, "max_age_s": 3600, "evidence": "seen", "how": "/sys", "fix": fix});
    let readiness = json!({
        "schema": "lastwords.readiness/1", "node_id": node.to_string(), "boot_id": boot, "checked_us": now,
        "summary": "fail", "proven": null,
        "checks": [check("pstore-backend", "pass", ""), check("panic-sysctl", "fail", "sysctl kernel.panic=10")]
    });
    let sent = service.send(
        "PUT",
        &format!("/api/v1/nodes/{node}/readiness"),
        &token,
        readiness.to_string().as_bytes(),
    );
    assert_eq!(sent.status, 200, "{}", sent.text());
}

#[test]
fn a_rate_has_its_denominator_and_what_was_not_seen_is_not_zero() {
    let service = Service::start();
    let log = oops(27);
    let (path, body) = parcel(manifest(1, &log), &log);
    assert_eq!(service.send("PUT", &path, &service.token("ingest"), &body).status, 201);
    service.settle();
    let before = service.json("/releases.json");
    assert!(before["releases"][0]["rate"].is_null(), "{before}");
    let page = html(&service, "/releases");
    assert!(page.contains("no node has reported its boots") && page.contains("url(#hat2)"));

    ran_for(&service, 2, 10);
    let after = service.json("/releases.json");
    let rate = &after["releases"][0]["rate"];
    let node_days = rate["node_days"].as_f64().unwrap();
    assert!((9.9..10.1).contains(&node_days), "{after}");
    assert!((rate["rate"].as_f64().unwrap() - 1000.0 / node_days).abs() < 1e-9);
    assert!(html(&service, "/releases").contains("per 1,000 node-days"));

    let nodes = html(&service, "/nodes");
    assert!(nodes.contains("1 would leave nothing") && nodes.contains("not armed"));
    let page = html(&service, &format!("/nodes/{}", NodeId::new([2; 16])));
    assert!(page.contains("panic-sysctl") && page.contains("sysctl kernel.panic=10"));
    is_closed("/nodes", &page);
}

#[test]
fn a_pasted_log_is_told_as_a_crash_and_not_kept() {
    let service = with_a_crash();
    let log = std::fs::read(fixtures().join(CASE).join("dmesg-ramoops-1")).unwrap();
    let before = service.json("/crashes.json");
    let url = format!("{}/decode", service.url());
    let pasted = request("POST", &url, None, &[("content-type", "text/plain")], &log);
    assert_eq!(pasted.status, 200, "{}", pasted.text());
    assert!(pasted.text().contains("crashlab.c:40") && pasted.text().contains("next_rpm"));
    is_closed("/decode", &pasted.text());
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let json = request("POST", &format!("{url}.json"), None, &form, b"log=%3C4%3E[1.0]+nothing%0A").json();
    assert_eq!((&json["result"]["lines"], &json["result"]["story"]), (&1.into(), &serde_json::Value::Null));
    let text = request("POST", &format!("{url}.txt"), None, &form, &log).text();
    assert!(
        text.starts_with("BUG: unable to handle kernel NULL pointer dereference in read_rpm\n"),
        "{text}"
    );
    assert_eq!(service.json("/crashes.json"), before, "nothing was kept");
    request("POST", &format!("{url}.json"), None, &[], &vec![b'a'; 9 << 20]).is_problem(413, "log-too-large");
}

#[test]
fn a_browser_shows_its_token_once_and_then_reads() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::on(folder.path(), false);
    let refused = service.get("/nodes").text();
    assert!(refused.contains("action=\"/session\"") && refused.contains("name=\"back\" value=\"/nodes\""));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = format!("token={}&back=%2Fnodes", service.token("read"));
    let shown = request("POST", &format!("{}/session", service.url()), None, &form, body.as_bytes());
    assert_eq!((shown.status, shown.header("location")), (303, "/nodes"));
    let cookie = shown.header("set-cookie").split(';').next().unwrap().to_owned();
    let read = request("GET", &format!("{}/nodes", service.url()), None, &[("cookie", &cookie)], &[]);
    assert_eq!(read.status, 200);
}
