//! Where in the source the frames of a crash are: found by a job once the debug files are there, kept for every
//! crash of that build, put beside the frames again by [`known`].

pub mod memory;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use report::{BuildId, Frame, Parsed, Report};
use serde::{Deserialize, Serialize};
use symbolizer::{Resolution, ResolvedFrame, ResolvedReport, resolve_report};

use crate::app::App;
use crate::clock::now_us;
use crate::problem::Error;
use crate::reading::{self, Reading, Told};
use crate::store::crash::{self, Crash};
use crate::store::image::{self, Image};
use crate::store::job::{self, Job};
use crate::store::location::{self, Place};
use crate::store::release;
use crate::store::wanted::{self, Wanted};
use crate::symbols::{KERNEL, opened};

/// Where a frame is, as far as debug files tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// How sure it is, in the words of `symbolizer::Quality`.
    pub quality: String,
    /// The calls that run there, innermost first; empty when no line is certain.
    pub chain: Vec<Step>,
}

/// One call of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Function in the source.
    pub function: String,
    /// File, below the kernel's or the module's source folder where that is known.
    pub file: String,
    /// From 1; 0 when unknown.
    pub line: u32,
    /// Inlined into the next one.
    pub inlined: bool,
}

/// The frames of a report with their places, by position.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Located {
    /// For [`Report::ip`].
    pub ip: Option<Found>,
    /// For each of [`Report::traces`], for each of its frames.
    pub traces: Vec<Vec<Option<Found>>>,
}

/// The debug files that a report's frames are in: `None` stands for the kernel proper.
type ByModule<T> = BTreeMap<Option<String>, T>;

/// Finds the places of one crash's frames, and notes which debug files are missing.
pub async fn crash(app: &Arc<App>, job: &Job) -> Result<(), Error> {
    let Some(crash) = crash::by_id(app.store.read(), job.subject).await? else {
        return finish_alone(app, job).await;
    };
    let Some(Told { reading, number, memory }) = reading::of_crash(app, &crash).await? else {
        return finish_alone(app, job).await;
    };
    let of_memory = match memory {
        Some((_, memory)) => memory::resolve(app, &crash.kernel, memory).await?,
        None => memory::Resolved::default(),
    };
    let Reading { mut parsed, .. } = reading;
    let mut report = parsed.reports.swap_remove(number);
    let build_id = release::build_id_of(app.store.read(), crash.id).await?;
    let wanted = wanted(&crash.kernel, build_id, &parsed, &report);
    let mut images: ByModule<Image> = BTreeMap::new();
    for (module, wanted) in &wanted {
        if let Some(image) = image::find(app.store.read(), wanted).await? {
            images.insert(module.clone(), image);
        }
    }
    pin(&images, &mut parsed, &mut report);
    let library = opened::library(&app.store, &app.symbols, images.values()).await?;
    let _place = app.symbols.look_up().await?;
    let resolving = tokio::task::spawn_blocking(move || {
        let resolved = resolve_report(&parsed, &report, &library);
        (report, resolved)
    });
    let (report, resolved) = resolving.await.map_err(|_| Error::Inside("locating a crash ended badly"))?;
    for failure in &resolved.failures {
        tracing::warn!(crash = %crash.crash_id, failure, "a debug file could not be read");
    }

    let mut transaction = app.store.write().await?;
    let mut unresolved = 0;
    for (frame, resolution) in beside(&report, &resolved) {
        let certain = resolution.is_some_and(|resolution| !resolution.chain().is_empty());
        unresolved += i64::from(frame.symbol.is_some() && frame.bpf.is_none() && !certain);
        let (Some(image), Some(resolution)) = (images.get(&frame.module), resolution) else { continue };
        let Some(place) = place(image, frame) else { continue };
        let answer = serde_json::to_string(&found(resolution, &resolved.source_roots)).expect("plain data");
        location::put(&mut transaction, &place, &answer).await?;
    }
    for (place, answer) in &of_memory.places {
        location::put(&mut transaction, place, answer).await?;
    }
    for image in images.values() {
        image::used(&mut transaction, image.id, crash.id, now_us()).await?;
    }
    crash::set_unresolved(&mut transaction, crash.id, unresolved).await?;
    wanted::unwant(&mut transaction, crash.id).await?;
    let absent: BTreeSet<_> =
        resolved.missing.iter().chain(&resolved.mismatched).map(|wanted| wanted.module.clone()).collect();
    for module in &absent {
        if let Some(wanted) = wanted.get(module) {
            wanted::want(&mut transaction, crash.id, wanted).await?;
        }
    }
    for wanted in &of_memory.missing {
        wanted::want(&mut transaction, crash.id, wanted).await?;
    }
    if job::finish(&mut transaction, job).await? {
        transaction.commit().await?;
        app.symbols.wanted_due.notify_one();
    } else {
        // The lease was lost: a debug file came meanwhile, or another worker took over. It does all of it again.
        transaction.rollback().await?;
    }
    Ok(())
}

/// Finds the places of a report that belongs to no crash: what somebody pasted. Nothing is kept.
pub async fn pasted(app: &App, mut parsed: Parsed, number: usize) -> Result<(Parsed, Located), Error> {
    let Some(mut report) = parsed.reports.get(number).cloned() else {
        return Ok((parsed, Located::default()));
    };
    let kernel = parsed.kernel.release.clone().unwrap_or_default();
    let mut images: ByModule<Image> = BTreeMap::new();
    for (module, wanted) in wanted(&kernel, None, &parsed, &report) {
        if let Some(image) = image::find(app.store.read(), &wanted).await? {
            images.insert(module, image);
        }
    }
    pin(&images, &mut parsed, &mut report);
    let library = opened::library(&app.store, &app.symbols, images.values()).await?;
    let _place = app.symbols.look_up().await?;
    let resolving = tokio::task::spawn_blocking(move || {
        let resolved = resolve_report(&parsed, &report, &library);
        (parsed, resolved)
    });
    let (parsed, resolved) = resolving.await.map_err(|_| Error::Inside("locating a report ended badly"))?;
    let found = |frame: &ResolvedFrame| Some(found(frame.resolution.as_ref()?, &resolved.source_roots));
    let located = Located {
        ip: resolved.ip.as_ref().and_then(found),
        traces: resolved.traces.iter().map(|trace| trace.frames.iter().map(found).collect()).collect(),
    };
    Ok((parsed, located))
}

async fn finish_alone(app: &App, job: &Job) -> Result<(), Error> {
    let mut transaction = app.store.write().await?;
    job::finish(&mut transaction, job).await?;
    transaction.commit().await?;
    Ok(())
}

/// What is known by now of where a crash's frames are.
pub async fn known(app: &App, crash: &Crash, parsed: &Parsed, report: &Report) -> Result<Located, Error> {
    let db = app.store.read();
    // A file that contradicts the log is at hand and still missing: its lines are not this crash's.
    let missing: BTreeSet<String> =
        wanted::missing_of(db, crash.id).await?.into_iter().map(|m| m.name).collect();
    let build_id = release::build_id_of(db, crash.id).await?;
    let mut images: ByModule<Image> = BTreeMap::new();
    for (module, wanted) in wanted(&crash.kernel, build_id, parsed, report) {
        // Without a file at hand what was found with one still holds.
        if let Some(image) = image::find(db, &wanted).await?
            && !(image.lines && missing.contains(&wanted.name))
        {
            images.insert(module, image);
        }
    }
    let place = |frame: &Frame| place(images.get(&frame.module)?, frame);
    let mut asked: HashMap<i64, Vec<Place>> = HashMap::new();
    for place in frames(report).filter_map(place) {
        asked.entry(place.image).or_default().push(place);
    }
    let mut known: HashMap<Place, Found> = HashMap::new();
    for (image, places) in asked {
        for (place, answer) in location::get_all(db, image, &places).await? {
            known.extend(serde_json::from_str(&answer).ok().map(|found| (place, found)));
        }
    }
    let found = |frame: &Frame| known.get(&place(frame)?).cloned();
    Ok(Located {
        ip: report.ip.as_ref().and_then(found),
        traces: report.traces.iter().map(|trace| trace.frames.iter().map(found).collect()).collect(),
    })
}

/// The debug files that the frames of a report are in. The log seldom prints the kernel's build-id; the node knows it.
fn wanted(
    kernel: &str,
    kernel_build_id: Option<Vec<u8>>,
    parsed: &Parsed,
    report: &Report,
) -> ByModule<Wanted> {
    let mut wanted: ByModule<Wanted> = BTreeMap::new();
    for frame in frames(report) {
        let listed = || parsed.modules.iter().find(|listed| Some(&listed.name) == frame.module.as_ref());
        let build_id = match &frame.module {
            None => parsed.kernel.build_id.as_ref(),
            Some(_) => frame.build_id.as_ref().or_else(|| listed()?.build_id.as_ref()),
        };
        let told = kernel_build_id.clone().filter(|_| frame.module.is_none());
        wanted.entry(frame.module.clone()).or_insert_with(|| Wanted {
            kernel: kernel.to_owned(),
            name: frame.module.clone().unwrap_or_else(|| KERNEL.to_owned()),
            build_id: build_id.map(|id| id.as_bytes().to_vec()).or(told).unwrap_or_default(),
        });
    }
    wanted
}

/// Writes the builds that were chosen into what was read, so that the library finds these and no others.
fn pin(images: &ByModule<Image>, parsed: &mut Parsed, report: &mut Report) {
    let chosen = |module: &Option<String>| BuildId::new(&images.get(module)?.build_id).ok();
    parsed.kernel.build_id = chosen(&None).or(parsed.kernel.build_id.take());
    let traced = report.traces.iter_mut().flat_map(|trace| &mut trace.frames);
    for frame in report.ip.iter_mut().chain(traced).filter(|frame| frame.module.is_some()) {
        frame.build_id = chosen(&frame.module).or(frame.build_id.take());
    }
}

fn frames(report: &Report) -> impl Iterator<Item = &Frame> {
    report.ip.iter().chain(report.traces.iter().flat_map(|trace| &trace.frames))
}

fn beside<'a>(
    report: &'a Report,
    resolved: &'a ResolvedReport,
) -> impl Iterator<Item = (&'a Frame, Option<&'a Resolution>)> {
    let traced = resolved.traces.iter().flat_map(|trace| &trace.frames);
    let resolutions = resolved.ip.iter().chain(traced).map(|frame| frame.resolution.as_ref());
    frames(report).zip(resolutions)
}

fn place(image: &Image, frame: &Frame) -> Option<Place> {
    let function = frame.symbol.clone().filter(|_| frame.bpf.is_none())?;
    let number = |value: u64| i64::try_from(value).ok();
    let size = number(frame.size.unwrap_or(0))?;
    Some(Place { image: image.id, function, offset: number(frame.offset)?, size, exact: frame.exact })
}

fn found(resolution: &Resolution, roots: &[String]) -> Found {
    let quality = match serde_json::to_value(resolution.quality) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    };
    let chain = resolution.chain().iter().map(|location| {
        let symbolizer::Location { function, file, line, column: _, inlined } = location.clone();
        let below = roots.iter().find_map(|root| file.strip_prefix(root.as_str()));
        Step { function, file: below.unwrap_or(&file).to_owned(), line, inlined }
    });
    Found { quality, chain: chain.collect() }
}
