//! Where the frames of a dump are: as those of a report, but the kernel's own are found by their address, which no two
//! functions share.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use symbolizer::dump::Places as Symbolizer;
use vmcore::{Frame, Summary, Task};

use super::{ByModule, Found, found};
use crate::app::App;
use crate::problem::Error;
use crate::store::image::{self, Image};
use crate::store::location::{self, Place};
use crate::store::wanted::Wanted;
use crate::symbols::{KERNEL, opened};

/// Different frames of one dump whose places are sought, those of the CPUs first: a large machine has some thousand.
const FRAMES: usize = 8192;

/// What debug files tell of a dump.
#[derive(Debug, Default)]
pub struct Resolved {
    /// Places with the answer for each, JSON.
    pub places: Vec<(Place, String)>,
    /// Debug files that the stacks on the CPUs lack.
    pub missing: Vec<Wanted>,
}

/// The known places of a dump's frames.
#[derive(Debug, Default)]
pub struct Places {
    kaslr: Option<u64>,
    images: ByModule<Image>,
    known: HashMap<Place, Found>,
}

impl Places {
    /// Where a frame is, as far as it is known.
    pub fn of(&self, frame: &Frame) -> Option<&Found> {
        self.known.get(&place(self.images.get(&frame.module)?, frame, self.kaslr)?)
    }
}

/// Asks the debug files at hand.
pub async fn resolve(app: &App, kernel: &str, memory: Summary) -> Result<Resolved, Error> {
    let frames = frames(&memory);
    let (images, absent) = images(app, kernel, &memory, &frames).await?;
    let library = opened::library(&app.store, &app.symbols, images.values()).await?;
    let _place = app.symbols.look_up().await?;
    let on_cpu = memory.tasks.tasks.iter().filter(|task| task.on_cpu);
    let needed: BTreeSet<_> = on_cpu.flat_map(stack).map(|frame| frame.module.clone()).collect();
    let missing = absent.into_iter().filter(|(module, _)| needed.contains(module)).map(|(_, wanted)| wanted);
    let missing = missing.collect();
    let resolving = tokio::task::spawn_blocking(move || {
        let mut facts = memory.facts;
        let chosen = |module: &Option<String>| report::BuildId::new(&images.get(module)?.build_id).ok();
        facts.build_id = chosen(&None).or(facts.build_id);
        let kaslr = facts.kaslr_offset.map(|offset| offset.0);
        let symbolizer = Symbolizer::new(&facts, &library);
        let roots = symbolizer.source_roots();
        let mut places = Vec::new();
        for frame in &frames {
            let Some(image) = images.get(&frame.module) else { continue };
            let Some(place) = place(image, frame, kaslr) else { continue };
            let pinned = Frame { build_id: chosen(&frame.module), ..Frame::clone(frame) };
            if let Some(resolution) = symbolizer.resolve(&pinned) {
                let answer = serde_json::to_string(&found(&resolution, &roots)).expect("plain data");
                places.push((place, answer));
            }
        }
        places
    });
    let places = resolving.await.map_err(|_| Error::Inside("locating a dump ended badly"))?;
    Ok(Resolved { places, missing })
}

/// What is known by now of where a dump's frames are.
pub async fn known(app: &App, kernel: &str, memory: &Summary) -> Result<Places, Error> {
    let frames = frames(memory);
    let (images, _) = images(app, kernel, memory, &frames).await?;
    let kaslr = memory.facts.kaslr_offset.map(|offset| offset.0);
    let mut asked: HashMap<i64, Vec<Place>> = HashMap::new();
    for frame in &frames {
        if let Some(place) = images.get(&frame.module).and_then(|image| place(image, frame, kaslr)) {
            asked.entry(place.image).or_default().push(place);
        }
    }
    let mut known = HashMap::new();
    for (image, places) in asked {
        for (place, answer) in location::get_all(app.store.read(), image, &places).await? {
            known.extend(serde_json::from_str(&answer).ok().map(|found: Found| (place, found)));
        }
    }
    Ok(Places { kaslr, images, known })
}

/// The different named frames of all stacks, those of the CPUs first.
fn frames(memory: &Summary) -> Vec<Arc<Frame>> {
    let tasks = &memory.tasks.tasks;
    let (on_cpu, others): (Vec<&Task>, Vec<&Task>) = tasks.iter().partition(|task| task.on_cpu);
    let mut seen = HashSet::new();
    let all = on_cpu.into_iter().chain(others).flat_map(stack);
    all.filter(|frame| frame.symbol.is_some() && seen.insert(Arc::clone(frame)))
        .take(FRAMES)
        .cloned()
        .collect()
}

fn stack(task: &Task) -> impl Iterator<Item = &Arc<Frame>> {
    task.stack.iter().flatten()
}

/// The debug files that the frames are in, and those that are not at hand.
async fn images(
    app: &App,
    kernel: &str,
    memory: &Summary,
    frames: &[Arc<Frame>],
) -> Result<(ByModule<Image>, ByModule<Wanted>), Error> {
    let mut wanted: ByModule<Wanted> = ByModule::new();
    for frame in frames {
        let build_id = match frame.module {
            None => memory.facts.build_id.as_ref(),
            Some(_) => frame.build_id.as_ref(),
        };
        wanted.entry(frame.module.clone()).or_insert_with(|| Wanted {
            kernel: kernel.to_owned(),
            name: frame.module.clone().unwrap_or_else(|| KERNEL.to_owned()),
            build_id: build_id.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
        });
    }
    let (mut images, mut absent) = (ByModule::new(), ByModule::new());
    for (module, wanted) in wanted {
        let image = image::find(app.store.read(), &wanted).await?;
        if image.as_ref().is_none_or(|image| !image.lines) {
            absent.insert(module.clone(), wanted);
        }
        images.extend(image.map(|image| (module, image)));
    }
    Ok((images, absent))
}

/// A frame as a place in its image. The kernel's own has no name, and for its offset the link address.
fn place(image: &Image, frame: &Frame, kaslr: Option<u64>) -> Option<Place> {
    let exact = frame.interrupted;
    match (&frame.module, kaslr) {
        (None, Some(kaslr)) => Some(Place {
            image: image.id,
            function: String::new(),
            offset: frame.pc.0.wrapping_sub(kaslr).cast_signed(),
            size: 0,
            exact,
        }),
        _ => Some(Place {
            image: image.id,
            function: frame.symbol.clone()?,
            offset: i64::try_from(frame.offset?).ok()?,
            size: 0,
            exact,
        }),
    }
}
