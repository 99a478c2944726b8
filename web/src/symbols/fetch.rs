//! Asks debuginfod servers for what crashes wait for. Only with servers on the command line: a build-id tells others
//! which kernel runs here.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use report::BuildId;
use symbolizer::chain;
use symbolizer::debuginfod::{Client, Limits, What};
use tokio::sync::{oneshot, watch};

use super::LARGEST;
use super::enter::{self, Found};
use crate::app::App;
use crate::clock::now_us;
use crate::problem::{Chain, Error};
use crate::store::wanted::{self, Missing};

/// How often the list is looked at when there is nothing to ask for.
const LOOK: Duration = Duration::from_secs(10);
/// What no server has, a mirror may have after its next run.
const NONE_HAS_US: i64 = 6 * 3600 * 1_000_000;
/// A server that failed may be back.
const FAILED_US: i64 = 15 * 60 * 1_000_000;

/// A client of these servers, that keeps what they send below our folder; `None` without any.
pub fn client(servers: &[String], folder: &Path) -> Result<Option<Client>, Error> {
    // How long nobody is asked again stands in the table, where the page shows it.
    let limits = Limits { bytes: LARGEST, missing: Duration::ZERO, ..Limits::default() };
    let say = |text: &str| tracing::info!("debuginfod: {text}");
    let client = Client::new(servers, &folder.join("fetched"), limits, say)?;
    Ok((!servers.is_empty()).then_some(client))
}

/// Asks for one after the other until told to stop.
pub async fn run(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let Some(client) = app.symbols.client.clone() else { return };
    while !*stopped.borrow() {
        let asked = tokio::select! {
            asked = next(&app, &client) => asked,
            _ = stopped.changed() => return,
        };
        match asked {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::error!(error = %Chain(&error), "asking for debug files"),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = app.symbols.wanted_due.notified() => {}
            _ = stopped.changed() => {}
        }
    }
}

/// Asks for the file that most crashes wait for; false when there is none to ask for.
async fn next(app: &Arc<App>, client: &Arc<Client>) -> Result<bool, Error> {
    let Some(missing) = wanted::next_to_ask(app.store.read(), now_us()).await? else { return Ok(false) };
    let (answer, wait_us) = match ask(app, client, &missing).await {
        Ok(answer) => (answer.to_owned(), NONE_HAS_US),
        Err(Failure::Ours(error)) => return Err(error),
        Err(Failure::Theirs(why)) => (why, FAILED_US),
    };
    let now = now_us();
    let mut transaction = app.store.write().await?;
    wanted::answered(&mut transaction, missing.id, &answer, now, now + wait_us).await?;
    transaction.commit().await?;
    Ok(true)
}

enum Failure {
    Ours(Error),
    Theirs(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            // No room, or not what it should be: said on the page, tried again.
            Error::Problem(problem) => Failure::Theirs(problem.detail),
            error => Failure::Ours(error),
        }
    }
}

async fn ask(app: &Arc<App>, client: &Arc<Client>, missing: &Missing) -> Result<&'static str, Failure> {
    enter::room(app.store.read(), &app.symbols, 0).await?;
    let build_id = BuildId::new(&missing.build_id)
        .map_err(|_| Failure::Theirs("the log names a build-id that can be none".to_owned()))?;
    let Some(path) = find(client, build_id).await? else { return Ok("no server has it") };
    let below = path.strip_prefix(app.symbols.folder()).unwrap_or(&path).to_string_lossy().into_owned();
    let named = super::opened::name(&missing.kernel, &missing.name);
    let read = super::read(&path, &named)?;
    let lines = read.holds.lines;
    enter::enter(&app.store, &app.symbols, read, Found::Fetched(below)).await?;
    app.jobs_due.notify_one();
    Ok(if lines { "fetched" } else { "it has no debug information" })
}

/// In a thread of its own, which nobody waits for when the service stops: a download may take an hour.
async fn find(client: &Arc<Client>, build_id: BuildId) -> Result<Option<Box<Path>>, Failure> {
    let (tell, told) = oneshot::channel();
    let client = Arc::clone(client);
    let asking = move || {
        // Nobody listens any more: the service stops, and asks again after its next start.
        let _ = tell.send(client.find(&build_id, What::Debuginfo));
    };
    std::thread::Builder::new()
        .name("debuginfod".to_owned())
        .spawn(asking)
        .map_err(|_| Failure::Ours(Error::Inside("no thread for a download")))?;
    let found = told.await.map_err(|_| Failure::Ours(Error::Inside("a download ended badly")))?;
    found.map(|path| path.map(Into::into)).map_err(|error| Failure::Theirs(chain(&error)))
}
