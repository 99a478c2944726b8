//! What people decide: merge, split, rename, and back again. Counts are exact after each step.

use serde_json::{Value, json};

use crate::harness::{Answer, Service, manifest, parcel};

/// One oops in a function.
pub fn oops_in(function: &str, caller: &str, second: u32) -> Vec<u8> {
    format!(
        "<4>[ {second}.100776] BUG: kernel NULL pointer dereference, address: 0000000000000008\n\
         <4>[ {second}.100777] #PF: supervisor read access in kernel mode\n\
         <4>[ {second}.100779] Oops: 0000 [#1] PREEMPT SMP\n\
         <4>[ {second}.100780] CPU: 1 PID: 117 Comm: insmod Not tainted 6.12.117 #1\n\
         <4>[ {second}.100781] RIP: 0010:{function}+0x10/0x20 [car]\n\
         <4>[ {second}.100782] Call Trace:\n\
         <4>[ {second}.100783]  <TASK>\n\
         <4>[ {second}.100784]  {caller}+0x2b/0x40 [car]\n\
         <4>[ {second}.100786]  </TASK>\n\
         <0>[ {second}.101902] Kernel panic - not syncing: Fatal exception\n"
    )
    .into_bytes()
}

struct Case(Service);

impl Case {
    /// Two faults: 3 crashes by two ways into one, 1 of the other.
    fn new() -> Case {
        let case = Case(Service::start());
        for (machine, function, caller) in [
            (1, "start_engine", "turn_key"),
            (2, "start_engine", "turn_key"),
            (3, "start_engine", "push_car"),
            (4, "brake", "stop"),
        ] {
            case.crash(machine, function, caller, 27);
        }
        case.0.settle();
        case
    }

    fn crash(&self, machine: u8, function: &str, caller: &str, second: u32) {
        let log = oops_in(function, caller, second);
        let (path, body) = parcel(manifest(machine, &log), &log);
        assert_eq!(self.0.send("PUT", &path, &self.0.token("ingest"), &body).status, 201);
    }

    /// Id of the signature with a word in its title.
    fn id(&self, word: &str) -> String {
        let list = self.0.json("/api/v1/signatures");
        let found =
            list["items"].as_array().unwrap().iter().find(|s| s["title"].as_str().unwrap().contains(word));
        found.unwrap_or_else(|| panic!("no {word} in {list}"))["signature_id"].as_str().unwrap().to_owned()
    }

    fn decide(&self, id: &str, what: &str, body: &Value) -> Answer {
        let method = if what.is_empty() { "PATCH" } else { "POST" };
        let path = format!("/api/v1/signatures/{id}{what}");
        self.0.send(method, &path, &self.0.token("admin"), body.to_string().as_bytes())
    }

    /// The counts of all signatures, most first; and they are those of the rows.
    fn counts(&self) -> Vec<i64> {
        self.0.settle();
        let app = self.0.app.as_ref().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        assert_eq!(runtime.block_on(web::store::rollup::differences(app.store.read())).unwrap(), []);
        let list = self.0.json("/api/v1/signatures?sort=crashes");
        list["items"].as_array().unwrap().iter().map(|s| s["crashes"].as_i64().unwrap()).collect()
    }
}

#[test]
fn merged_signatures_are_one_until_it_is_undone() {
    let case = Case::new();
    let (engine, brake) = (case.id("start_engine"), case.id("brake"));
    assert_eq!(case.counts(), [3, 1]);
    let merged = case.decide(&brake, "/merge", &json!({"into": engine}));
    assert_eq!((merged.status, &merged.json()["crashes"]), (200, &4.into()), "{}", merged.text());
    assert_eq!(case.counts(), [4]);
    assert_eq!(
        case.0.json(&format!("/api/v1/signatures/{brake}"))["signature_id"],
        engine,
        "old links go on"
    );
    case.decide(&brake, "/merge", &json!({"into": engine})).is_problem(409, "same-signature");
    case.decide(&engine, "/merge", &json!({"into": brake})).is_problem(409, "same-signature");

    case.crash(5, "brake", "stop", 28);
    assert_eq!(case.counts(), [5], "later crashes go where a person said");
    let undone = case.decide(&brake, "/undo", &json!({})).json();
    assert_eq!((&undone["decisions"], &undone["crashes"]), (&1.into(), &2.into()), "{undone}");
    assert_eq!(case.counts(), [3, 2]);
    case.crash(6, "brake", "stop", 29);
    assert_eq!(case.counts(), [3, 3]);
}

#[test]
fn a_stack_that_is_split_off_is_a_signature_of_its_own() {
    let case = Case::new();
    let engine = case.id("start_engine");
    let whole = case.0.json(&format!("/api/v1/signatures/{engine}"));
    let pushed = whole["stacks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|stack| stack["frames"].to_string().contains("push_car"));
    let stack = pushed.unwrap()["stack"].clone();
    let split = case.decide(&engine, "/split", &json!({"stack": stack}));
    assert_eq!((split.status, &split.json()["crashes"]), (200, &1.into()), "{}", split.text());
    assert_eq!(case.counts(), [2, 1, 1]);
    case.crash(7, "start_engine", "push_car", 28);
    case.crash(8, "start_engine", "turn_key", 28);
    assert_eq!(case.counts(), [3, 2, 1]);
    case.decide(&engine, "/split", &json!({"stack": stack})).is_problem(404, "not-found");
    assert_eq!(case.decide(&engine, "/undo", &json!({})).json()["crashes"], 5);
    assert_eq!(case.counts(), [5, 1]);
}

#[test]
fn a_title_that_was_merged_in_can_be_split_off_again() {
    let case = Case::new();
    let (engine, brake) = (case.id("start_engine"), case.id("brake"));
    let title = case.0.json(&format!("/api/v1/signatures/{brake}"))["title"].clone();
    case.decide(&brake, "/merge", &json!({"into": engine}));
    let split = case.decide(&engine, "/split", &json!({"title": title})).json();
    assert_eq!((&split["crashes"], &split["title"]), (&1.into(), &title));
    assert_eq!(case.counts(), [3, 1]);
    case.crash(9, "brake", "stop", 28);
    assert_eq!(case.counts(), [3, 2], "the newest decision holds");
}

#[test]
fn a_name_is_shown_instead_of_the_title() {
    let case = Case::new();
    let engine = case.id("start_engine");
    let named =
        case.decide(&engine, "", &json!({"name": "the engine does not start", "state": "acknowledged"}));
    assert_eq!(
        (&named.json()["title"], &named.json()["state"]),
        (&"the engine does not start".into(), &"acknowledged".into())
    );
    assert_eq!(case.decide(&engine, "", &json!({"name": null})).json()["title"], named.json()["first_title"]);
    assert_eq!(case.decide(&engine, "", &json!({})).json()["state"], "acknowledged", "what is absent stays");
    case.decide(&engine, "", &json!({"nmae": "x"})).is_problem(400, "malformed");
    case.decide(&engine, "/split", &json!({})).is_problem(400, "malformed");
    let path = format!("/api/v1/signatures/{engine}");
    case.0.send("PATCH", &path, &case.0.token("read"), b"{}").is_problem(403, "wrong-scope");
}

#[test]
fn the_overview_tells_the_days_it_names_and_all_that_waits() {
    let service = Service::start();
    // The largest fault ever is older than the days that the page tells of.
    let (old, new) = (oops_in("brake", "stop", 27), oops_in("start_engine", "turn_key", 27));
    let day_us = web::store::rollup::DAY_US;
    for (machine, log, age) in [(1, &old, 90), (2, &old, 80), (3, &old, 70), (4, &new, 2), (5, &new, 1)] {
        let mut manifest = manifest(machine, log);
        let us = web::clock::now_us() - age * day_us;
        manifest.crash_time = Some(handover::manifest::CrashTime { us, basis: "pstore-mtime".to_owned() });
        let (path, body) = parcel(manifest, log);
        assert_eq!(service.send("PUT", &path, &service.token("ingest"), &body).status, 201);
    }
    service.settle();
    let page = service.json("/overview.json");
    let said = page["lede"].to_string();
    assert!(said.contains("start_engine") && said.contains("2 crashes on 2 nodes"), "{said}");
    assert_eq!(page["verdict"], "1 new fault in 28 days");
    assert_eq!(page["numbers"]["crashes"], 2);
    assert_eq!(page["numbers"]["crashes_ever"], 5);

    // What came back is on the list however old it is, and before what is new.
    let case = Case(service);
    let brake = case.id("brake");
    assert_eq!(case.decide(&brake, "", &json!({ "state": "resolved" })).status, 200);
    case.crash(6, "brake", "stop", 28);
    case.0.settle();
    let state = |case: &Case| case.0.json(&format!("/api/v1/signatures/{brake}"))["state"].clone();
    assert_eq!(state(&case), "resolved", "it happened before it was resolved, and was handed over late");
    let again = oops_in("brake", "stop", 29);
    let mut after = manifest(7, &again);
    let us = web::clock::now_us() + 60 * 1_000_000;
    after.crash_time = Some(handover::manifest::CrashTime { us, basis: "pstore-mtime".to_owned() });
    let (path, body) = parcel(after, &again);
    assert_eq!(case.0.send("PUT", &path, &case.0.token("ingest"), &body).status, 201);
    case.0.settle();
    assert_eq!(state(&case), "regressed");
    let page = case.0.json("/overview.json");
    assert_eq!(page["todo"][0]["state"], "regressed", "{page}");
    assert_eq!(page["todo"][0]["href"], format!("/signatures/{brake}"));
    let list = case.0.json("/signatures.json?state=regressed");
    assert_eq!(
        (list["items"].as_array().unwrap().len(), &list["items"][0]["signature_id"]),
        (1, &json!(brake))
    );
    let html = case.0.get("/signatures?state=regressed&q=brake&fatal=true").text();
    assert!(
        html.contains("/signatures?sort=last&#38;q=brake&#38;state=regressed\""),
        "a filter keeps the others"
    );
}
