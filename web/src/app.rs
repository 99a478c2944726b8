//! The service as a whole: what it holds, how it starts, how it stops.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use handover::{KeyId, ServiceId};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};

use crate::api::uploads::Busy;
use crate::blobs::Blobs;
use crate::clock::now_us;
use crate::problem::Error;
use crate::store::writer::{Ask, Signer, Writer};
use crate::store::{Store, job};
use crate::symbols::{self, Symbols, fetch, index, watch as watched};
use crate::{door, jobs, pipeline, random, router, secrets, store};

/// What every handler holds.
pub type AppState = Arc<App>;

/// Uploads that are decoded at once, each to at most 16 MiB.
const UPLOADS: usize = 32;

/// Large uploads that are decoded and digested at once: 64 GiB take a minute of a processor, and 2 MiB can hold them.
const CHECKS: usize = 2;

/// The service.
#[derive(Debug)]
pub struct App {
    /// Both databases.
    pub store: Store,
    /// Custody's writer.
    pub writer: Writer,
    /// Large evidence.
    pub blobs: Blobs,
    /// Debug files.
    pub symbols: Arc<Symbols>,
    /// The service's id.
    pub service: ServiceId,
    /// The key that signs receipts.
    pub key: KeyId,
    /// Whether a request on loopback may read without a token.
    pub open_to_local_readers: bool,
    /// Free places for decoding uploads.
    pub uploads: Semaphore,
    /// Free places for checking large uploads.
    pub checks: Semaphore,
    /// Large uploads that somebody writes to.
    pub busy: Busy,
    /// Wakes the worker that finds source lines.
    pub jobs_due: Notify,
    /// Wakes the one that reads dumps.
    pub dumps_due: Notify,
    /// The program that reads a dump, as [`Setup::dump_reader`].
    pub dump_reader: PathBuf,
    /// Where new tokens were written, at the first start.
    pub new_tokens: Vec<PathBuf>,
    /// Held while the service runs, so that no second one writes to the same folder.
    _lock: File,
}

/// How a service is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Everything it keeps is below this folder.
    pub data: PathBuf,
    /// Let requests on loopback read without a token.
    pub open_to_local_readers: bool,
    /// What to do about debug files.
    pub symbols: symbols::Settings,
    /// The program `lastwords`, started anew for each dump of memory that is to be read.
    pub dump_reader: PathBuf,
}

/// Opens a data folder, which is made at the first start.
pub async fn open(setup: &Setup) -> Result<AppState, Error> {
    let data: &Path = &setup.data;
    secrets::folder(data)?;
    let lock = lock(&data.join("lock"))?;
    let (store, custody) = Store::open(data).await?;
    let key = secrets::signing_key(data)?;
    let mut first = custody.acquire().await?;
    let service = store::service::open(&mut first, ServiceId::new(random::bytes()), now_us()).await?;
    let earlier = store::service::public_keys(&mut *first).await?;
    if !earlier.is_empty() && !earlier.contains(&key.public()) {
        tracing::error!(
            key = %key.public().id(),
            "signing.key is another than that of the receipts given: nodes will not trust it; restore the first one"
        );
    }
    store::service::publish(&mut first, &key.public(), now_us()).await?;
    drop(first);
    let mut main = store.write().await?;
    let new_tokens = secrets::first_tokens(data, &mut main).await?;
    job::release_all(&mut main).await?;
    main.commit().await?;
    let symbols = Symbols::open(data, setup.symbols.clone())?;
    symbols.sweep()?;
    let key_id = key.public().id();
    Ok(Arc::new(App {
        store,
        writer: Writer::start(custody, Signer { service, key }),
        blobs: Blobs::open(data)?,
        symbols: Arc::new(symbols),
        service,
        key: key_id,
        open_to_local_readers: setup.open_to_local_readers,
        uploads: Semaphore::new(UPLOADS),
        checks: Semaphore::new(CHECKS),
        busy: Busy::default(),
        jobs_due: Notify::new(),
        dumps_due: Notify::new(),
        dump_reader: setup.dump_reader.clone(),
        new_tokens,
        _lock: lock,
    }))
}

/// Two services on one folder would both believe to be custody's only writer.
fn lock(path: &Path) -> Result<File, Error> {
    let file = File::create(path).map_err(Error::disk("creating", path))?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => Error::Inside("another service runs on this data folder"),
        TryLockError::Error(error) => Error::disk("locking", path)(error),
    })?;
    Ok(file)
}

/// How long requests that are under way may take to end once the service is to stop. What they brought is asked for
/// again: nobody was told that it is kept.
const GRACE: Duration = Duration::from_secs(10);

/// Serves until `shutdown` completes: then answers what is under way, stops reading, closes the databases.
pub async fn run(
    listener: TcpListener,
    app: AppState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let (stop, stopped) = watch::channel(false);
    let readers = [
        tokio::spawn(pipeline::run(Arc::clone(&app), stopped.clone())),
        tokio::spawn(jobs::run(Arc::clone(&app), job::LOCATE, stopped.clone())),
        tokio::spawn(jobs::run(Arc::clone(&app), job::READ_DUMP, stopped.clone())),
        tokio::spawn(index::run(Arc::clone(&app), stopped.clone())),
        tokio::spawn(watched::run(Arc::clone(&app), stopped.clone())),
        tokio::spawn(fetch::run(Arc::clone(&app), stopped)),
    ];
    let (leave, mut leaving) = watch::channel(false);
    let shutdown = async move {
        shutdown.await;
        leave.send_replace(true);
    };
    let serving = door::serve(listener, router::router(Arc::clone(&app)), door::HEAD, shutdown);
    let too_long = async {
        // The other end is in `serving`, which lives as long as this.
        let _ = leaving.wait_for(|leaving| *leaving).await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        () = serving => {}
        () = too_long => {}
    }
    stop.send_replace(true);
    for reader in readers {
        if let Err(error) = reader.await {
            tracing::error!(%error, "a background task ended badly");
        }
    }
    if app.writer.ask(Ask::Stop).await.is_err() {
        tracing::warn!("custody's writer did not stop in order; what it told is on the disk all the same");
    }
    app.store.close().await;
    Ok(())
}
