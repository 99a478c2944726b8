//! Newer rules: titles change, histories stay.

use serde_json::{Value, json};
use sqlx::SqlitePool;
use web::app::AppState;
use web::reindex::{self, Change, Outcome};
use web::store::rollup;

use crate::harness::{Service, manifest, oops, parcel};

/// Three crashes of one fault.
struct Case {
    service: Service,
    runtime: tokio::runtime::Runtime,
}

impl Case {
    fn new() -> Case {
        let service = Service::start();
        for machine in 1..=3 {
            let (path, body) = parcel(manifest(machine, &oops(27)), &oops(27));
            assert_eq!(service.send("PUT", &path, &service.token("ingest"), &body).status, 201);
        }
        service.settle();
        Case { service, runtime: tokio::runtime::Runtime::new().unwrap() }
    }

    fn app(&self) -> &AppState {
        self.service.app.as_ref().unwrap()
    }

    /// As if older rules had named everything `old`.
    fn named_by_older_rules(&self, old: &str) {
        self.runtime.block_on(async {
            let mut transaction = self.app().store.write().await.unwrap();
            for statement in ["UPDATE alias SET title = $1 WHERE kind = 0", "UPDATE signature SET title = $1"]
            {
                sqlx::query(statement).bind(old).execute(&mut *transaction).await.unwrap();
            }
            sqlx::query("UPDATE evidence SET rules_version = 0").execute(&mut *transaction).await.unwrap();
            transaction.commit().await.unwrap();
        });
    }

    fn reindex(&self, all: bool, dry: bool) -> Outcome {
        self.runtime.block_on(reindex::run(self.app(), all, dry)).unwrap()
    }

    fn signatures(&self) -> Vec<Value> {
        let db: &SqlitePool = self.app().store.read();
        assert_eq!(self.runtime.block_on(rollup::differences(db)).unwrap(), []);
        self.service.json("/api/v1/signatures")["items"].as_array().unwrap().clone()
    }
}

const NEW: &str = "BUG: unable to handle kernel NULL pointer dereference in start_engine";

#[test]
fn a_fault_that_is_called_something_else_keeps_its_history() {
    let case = Case::new();
    case.named_by_older_rules("oops in start_engine");
    let before = case.signatures();
    let id = before[0]["signature_id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/signatures/{id}");
    let state = json!({"state": "acknowledged"}).to_string();
    case.service.send("PATCH", &path, &case.service.token("admin"), state.as_bytes());

    let change = Change { old: Some("oops in start_engine".to_owned()), new: Some(NEW.to_owned()) };
    let dry = case.reindex(false, true);
    assert_eq!((dry.read, dry.changes), (3, [(change.clone(), 3)].into()));
    let crashes = || case.service.json("/api/v1/crashes")["items"].as_array().unwrap().clone();
    assert!(
        crashes().iter().all(|crash| crash["title"] == "oops in start_engine"),
        "a dry run changes nothing"
    );

    let done = case.reindex(false, false);
    assert_eq!((done.read, done.changes), (3, [(change, 3)].into()));
    case.service.settle();
    assert!(crashes().iter().all(|crash| crash["title"] == NEW));
    let after = case.signatures();
    assert_eq!(after.len(), 1);
    assert_eq!((&after[0]["signature_id"], &after[0]["state"]), (&json!(id), &"acknowledged".into()));
    assert_eq!((&after[0]["crashes"], &after[0]["nodes"]), (&3.into(), &3.into()));
    let titles = case.service.json(&path)["titles"].clone();
    assert_eq!(titles, json!(["oops in start_engine", NEW]), "the old title leads there too");
    assert_eq!(case.reindex(false, false), Outcome::default(), "a second run has nothing to do");
}

#[test]
fn naming_everything_again_by_the_same_rules_changes_nothing() {
    let case = Case::new();
    let (signatures, crashes) = (case.signatures(), case.service.json("/api/v1/crashes"));
    let again = case.reindex(true, false);
    assert_eq!((again.read, again.changes.len()), (3, 0));
    case.service.settle();
    assert_eq!(case.signatures(), signatures);
    assert_eq!(case.service.json("/api/v1/crashes"), crashes);
}

#[test]
fn what_people_decided_outlives_a_reindex() {
    let case = Case::new();
    let other = super::decisions::oops_in("brake", "stop", 27);
    let (path, body) = parcel(manifest(4, &other), &other);
    assert_eq!(case.service.send("PUT", &path, &case.service.token("ingest"), &body).status, 201);
    case.service.settle();
    let signatures = case.signatures();
    let id = |word: &str| {
        let found = signatures.iter().find(|s| s["title"].as_str().unwrap().contains(word));
        found.unwrap()["signature_id"].as_str().unwrap().to_owned()
    };
    let merge = json!({"into": id("start_engine")}).to_string();
    let path = format!("/api/v1/signatures/{}/merge", id("brake"));
    assert_eq!(case.service.send("POST", &path, &case.service.token("admin"), merge.as_bytes()).status, 200);
    case.reindex(true, false);
    case.service.settle();
    let after = case.signatures();
    assert_eq!((after.len(), &after[0]["crashes"]), (1, &4.into()));

    let engine = format!("/api/v1/signatures/{}", id("start_engine"));
    let admin = case.service.token("admin");
    let name = json!({"name": "the engine does not start"}).to_string();
    assert_eq!(case.service.send("PATCH", &engine, &admin, name.as_bytes()).status, 200);
    let brake = json!({"title": signatures.iter().find(|s| s["title"].as_str().unwrap().contains("brake"))
        .unwrap()["title"]});
    let split = case.service.send("POST", &format!("{engine}/split"), &admin, brake.to_string().as_bytes());
    assert_eq!(split.status, 200, "{}", split.text());
    let decided = case.signatures();
    case.reindex(true, false);
    case.service.settle();
    assert_eq!(case.signatures(), decided, "a name and a split stay as well");
    assert_eq!(decided.len(), 2);
    assert!(decided.iter().any(|signature| signature["title"] == "the engine does not start"));
}
