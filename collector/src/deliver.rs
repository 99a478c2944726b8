//! Handing over: digests first, then what is needed, then the receipt, which is verified before anything moves.
//!
//! Chapter 7 of the protocol is [`Delivery::sent`]: what each answer means for the node. Whatever goes wrong,
//! evidence stays where it is; a run that ends early is continued by the next one.

pub mod attempts;
mod gaps;
mod parts;
mod reconcile;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use handover::key::{Keys, PublicKey};
use handover::offer::{self, Answer as Word, HeadAnswer, ItemAnswer, Offer, OfferAnswer, OfferItem};
use handover::parcel::MEDIA_TYPE;
use handover::receipt::{Disposition, Envelope, Expected, Receipt};
use handover::{EvidenceId, NodeId, Sha256, limits};

use crate::clock::Clock;
use crate::deliver::attempts::Attempts;
use crate::error::Error;
use crate::exit::Exit;
use crate::http::{Answer, Client, NoAnswer, Upload};
use crate::spool::{Ready, Spool};
use crate::trust::Trust;

/// The longest wait between two attempts.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// The wait after the first failed attempt is drawn from up to twice this.
const SHORTEST: Duration = Duration::from_secs(2);

/// How long a request may take in all.
const REQUEST: Duration = Duration::from_secs(10 * 60);

/// JSON of an offered item without a manifest is some 400 bytes; so is what stands around the items.
const ITEM: usize = 1024;

/// How often the same bytes are sent after the service said that they are damaged.
const TRIES: u32 = 2;

/// Where to hand over, and how long to try.
pub struct Way<'a> {
    /// Replicas of one service, tried in this order.
    pub clients: &'a [Client],
    /// The key to trust, from the configuration; `None` trusts the first one met.
    pub pin: Option<PublicKey>,
    /// How long a run goes on trying; with zero each server is asked once.
    pub deadline: Duration,
    /// The node that hands over.
    pub node: NodeId,
    /// The clocks.
    pub clock: &'a dyn Clock,
    /// Randomness, for waits.
    pub random: &'a dyn Fn(&mut [u8]) -> io::Result<()>,
}

/// What a delivery brought.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Receipts of this run, in the order in which they came.
    pub receipts: Vec<Receipt>,
    /// Evidence that the service did not take, with the reason.
    pub held: Vec<(EvidenceId, String)>,
    /// What went wrong, one line each.
    pub troubles: Vec<String>,
    /// What the run's exit must tell.
    pub exit: Exit,
}

/// Hands over what is ready. An error is one of the disk; trouble with a service is in the outcome.
pub fn deliver(spool: &mut Spool<'_>, way: &Way<'_>) -> Result<Outcome, Error> {
    let trust = Trust::load(spool.disk(), spool.folder())?;
    let mut delivery = Delivery {
        spool,
        way,
        trust,
        tries: BTreeMap::new(),
        reconciled: false,
        outcome: Outcome::default(),
    };
    let began = way.clock.since_boot();
    let mut failed = 0;
    loop {
        let before = delivery.outcome.receipts.len();
        let Some(halt) = delivery.ask_each()? else {
            Attempts::succeeded(delivery.spool.disk(), delivery.spool.folder())?;
            break;
        };
        // The count begins again with a receipt: a service that answers is not away.
        failed = if delivery.outcome.receipts.len() > before { 0 } else { failed + 1 };
        let left = way.deadline.saturating_sub(way.clock.since_boot().saturating_sub(began));
        let wait = delivery.wait(&halt, failed);
        if halt.is_final() || wait >= left {
            delivery.outcome.exit = delivery.outcome.exit.and(halt.exit());
            let (spool, now_us) = (&delivery.spool, way.clock.wall_us());
            let noted =
                Attempts::failed(spool.disk(), spool.folder(), now_us, &halt.to_string(), halt.is_final());
            delivery.outcome.troubles.push(halt.to_string());
            if let Err(error) = noted {
                delivery.outcome.troubles.push(crate::agent::chain(&error));
            }
            break;
        }
        way.clock.sleep(wait);
    }
    if !delivery.outcome.held.is_empty() {
        delivery.outcome.exit = delivery.outcome.exit.and(Exit::Held);
    }
    Ok(delivery.outcome)
}

/// Why a round ended before everything was handed over.
#[derive(Debug, thiserror::Error)]
enum Halt {
    #[error("{0}")]
    Away(String),
    #[error("{0}")]
    Tls(String),
    #[error("the service asks to wait {}: {why}", whole_seconds(*after))]
    Wait { after: Duration, why: String },
    #[error("the service does not accept the token: {0}")]
    Denied(String),
    #[error("{0}")]
    Distrusted(String),
    #[error(transparent)]
    Own(#[from] Error),
}

impl Halt {
    fn exit(&self) -> Exit {
        match self {
            Halt::Away(_) | Halt::Wait { .. } => Exit::Later,
            Halt::Tls(_) | Halt::Distrusted(_) => Exit::Distrusted,
            Halt::Denied(_) => Exit::Denied,
            Halt::Own(error) => error.exit(),
        }
    }

    /// Trying again in the same run cannot help.
    fn is_final(&self) -> bool {
        matches!(self, Halt::Denied(_) | Halt::Distrusted(_) | Halt::Tls(_))
    }
}

impl From<NoAnswer> for Halt {
    fn from(no: NoAnswer) -> Halt {
        match no {
            NoAnswer::Away(why) => Halt::Away(why),
            NoAnswer::Tls(why) => Halt::Tls(why),
        }
    }
}

struct Delivery<'a, 'd> {
    spool: &'a mut Spool<'d>,
    way: &'a Way<'a>,
    trust: Option<Trust>,
    tries: BTreeMap<EvidenceId, u32>,
    reconciled: bool,
    outcome: Outcome,
}

impl Delivery<'_, '_> {
    /// Tries each server until one takes everything. `None` when nothing is left to hand over.
    fn ask_each(&mut self) -> Result<Option<Halt>, Error> {
        let mut last = None;
        for client in self.way.clients {
            let before = self.outcome.receipts.len();
            let taken = self.round(client).and_then(|()| match self.outcome.receipts.len() > before {
                true => self.fill_gaps(client),
                false => Ok(()),
            });
            match taken {
                Ok(()) => return Ok(None),
                Err(Halt::Own(error)) => return Err(error),
                // A wait is told by a replica for all of them, and so is a refused token.
                Err(halt @ (Halt::Wait { .. } | Halt::Denied(_))) => return Ok(Some(halt)),
                Err(halt) => last = Some(halt),
            }
        }
        Ok(last)
    }

    /// Offers everything that is ready, in lots, and does what the answers say. What the service calls damaged is
    /// sent once more in another pass.
    fn round(&mut self, client: &Client) -> Result<(), Halt> {
        for _ in 0..TRIES {
            let ready = self.own_parcels()?;
            if ready.is_empty() {
                return Ok(());
            }
            self.trust(client)?;
            for lot in lots(&ready) {
                let answers = self.offer(client, lot)?;
                let acted = lot.iter().try_for_each(|parcel| {
                    let word = answers.get(&parcel.manifest.evidence_id).ok_or_else(|| {
                        Halt::Distrusted("the answer to the offer leaves an item out".to_owned())
                    })?;
                    self.act(client, parcel, word)
                });
                // What was answered before something went wrong was answered.
                self.spool.settle(self.way.clock.wall_us())?;
                acted?;
            }
        }
        Ok(())
    }

    /// The parcels to hand over: the newest first of all, since an autoscaler may delete the node soon, then the
    /// oldest first; large ones at the end. Another node's parcels (a copied spool) are not ours to send.
    fn own_parcels(&mut self) -> Result<Vec<Ready>, Error> {
        let mut ready = self.spool.ready()?;
        let foreign: Vec<EvidenceId> = ready
            .iter()
            .filter(|parcel| parcel.manifest.node_id != self.way.node)
            .map(|parcel| parcel.manifest.evidence_id)
            .collect();
        for id in foreign {
            self.hold(&id, "it was gathered on another node");
        }
        self.spool.settle(self.way.clock.wall_us())?;
        ready.retain(|parcel| parcel.manifest.node_id == self.way.node);
        let newest = ready.len().min(1);
        ready.rotate_right(newest);
        ready.sort_by_key(is_large);
        Ok(ready)
    }

    /// Pins the service at the first contact, and makes sure afterwards that it is the same.
    fn trust(&mut self, client: &Client) -> Result<(), Halt> {
        if self.trust.is_some() {
            return Ok(());
        }
        let keys = self.keys(client)?;
        let trust = Trust::first(&keys, self.way.pin.as_ref()).map_err(Halt::Distrusted)?;
        trust.save(self.spool)?;
        self.trust = Some(trust);
        Ok(())
    }

    fn keys(&self, client: &Client) -> Result<Keys, Halt> {
        let answer = client.get("/handover/keys", REQUEST)?;
        let keys: Keys = match answer.status {
            200 => serde_json::from_slice(&answer.body)
                .map_err(|error| Halt::Distrusted(format!("the service's keys cannot be read: {error}")))?,
            _ => return Err(refused("the service's keys", &answer)),
        };
        if keys.service != answer.service {
            return Err(Halt::Distrusted("the keys are those of another service".to_owned()));
        }
        Ok(keys)
    }

    /// A service with another id is not the one that was pinned, whatever name it answers to.
    fn is_pinned(&self, answer: &Answer) -> Result<(), Halt> {
        match &self.trust {
            Some(trust) if trust.service != answer.service => {
                let (found, pinned) = (answer.service, trust.service);
                Err(Halt::Distrusted(format!("the service is {found}, not {pinned} which is pinned")))
            }
            _ => Ok(()),
        }
    }

    fn offer(&mut self, client: &Client, ready: &[Ready]) -> Result<BTreeMap<EvidenceId, Word>, Halt> {
        let head = match &self.trust {
            Some(trust) => self.spool.receipts().head(trust.service),
            None => offer::Head::NONE,
        };
        let items = ready.iter().map(item).collect();
        let offer = Offer { schema: offer::SCHEMA.to_owned(), node_id: self.way.node, head, items };
        let body = serde_json::to_vec(&offer).expect("an offer is ids, numbers and texts");
        let answer = client.post_json("/evidence/offers", REQUEST, &body)?;
        self.is_pinned(&answer)?;
        if answer.status != 200 {
            return Err(refused("the offer", &answer));
        }
        let answer: OfferAnswer = serde_json::from_slice(&answer.body)
            .map_err(|error| Halt::Distrusted(format!("the answer to the offer cannot be read: {error}")))?;
        if answer.head == HeadAnswer::Unknown && !self.reconciled {
            self.reconcile(client)?;
        }
        Ok(answer.items.into_iter().map(|ItemAnswer { evidence_id, answer }| (evidence_id, answer)).collect())
    }

    fn act(&mut self, client: &Client, parcel: &Ready, word: &Word) -> Result<(), Halt> {
        let id = parcel.manifest.evidence_id;
        match word {
            Word::Need | Word::Parts { .. } => self.send(client, parcel),
            Word::Have { receipt } | Word::Counted { receipt } | Word::Refused { receipt } => {
                self.settle(client, parcel, receipt)
            }
            Word::Later { retry_after_s, code } => {
                let after = Duration::from_secs((*retry_after_s).clamp(1, 3600));
                Err(Halt::Wait { after, why: code.clone() })
            }
            Word::Unknown => {
                Err(Halt::Wait { after: LONGEST, why: "an answer of a later version".to_owned() })
            }
            Word::Invalid { code } => {
                self.hold(&id, &format!("the service calls it invalid: {code}"));
                Ok(())
            }
        }
    }

    fn send(&mut self, client: &Client, parcel: &Ready) -> Result<(), Halt> {
        if is_large(parcel) {
            return self.send_parts(client, parcel);
        }
        let id = parcel.manifest.evidence_id;
        let mut body = self.spool.open_parcel(&id)?;
        let upload = Upload {
            method: "PUT",
            media_type: MEDIA_TYPE,
            headers: &[],
            length: parcel.total,
            body: &mut *body,
        };
        let answer = client.upload(&format!("/evidence/{id}"), REQUEST, upload)?;
        drop(body);
        self.is_pinned(&answer)?;
        self.sent(client, parcel, &answer)
    }

    /// What an answer to an upload means for the node.
    fn sent(&mut self, client: &Client, parcel: &Ready, answer: &Answer) -> Result<(), Halt> {
        let id = parcel.manifest.evidence_id;
        let problem = answer.problem();
        match answer.status {
            200 | 201 => {
                let envelope = Envelope::read(&answer.body).map_err(|error| {
                    Halt::Distrusted(format!("the receipt for {id} cannot be read: {error}"))
                })?;
                self.settle(client, parcel, &envelope)
            }
            202 | 404 | 423 => {
                let after = answer.retry_after.unwrap_or(SHORTEST);
                Err(Halt::Wait { after, why: format!("{id} is being worked on") })
            }
            409 | 422 => {
                if !self.spool.is_sound(&id)? {
                    self.outcome
                        .troubles
                        .push(format!("the spooled parcel {id} was damaged; its source is read again"));
                    self.outcome.exit = self.outcome.exit.and(Exit::Held);
                    return Ok(self.spool.set_aside("ready", &id)?);
                }
                let tries = self.tries.entry(id).or_default();
                *tries += 1;
                if *tries < TRIES {
                    return Ok(());
                }
                self.hold(&id, &format!("the service answers {} {}", answer.status, problem.code));
                Ok(())
            }
            400 | 411 | 413 | 415 => {
                self.hold(&id, &format!("the service answers {} {}", answer.status, problem.code));
                Ok(())
            }
            _ => Err(refused("the upload", answer)),
        }
    }

    /// Takes a receipt in: verified with a trusted key and held against our own ids and digests, or not at all.
    fn settle(&mut self, client: &Client, parcel: &Ready, envelope: &Envelope) -> Result<(), Halt> {
        let id = parcel.manifest.evidence_id;
        let receipt = self
            .verify(client, parcel, envelope)?
            .map_err(|error| Halt::Distrusted(format!("the receipt for {id} is not valid: {error}")))?;
        let withheld = parcel.manifest.withheld.is_some();
        match receipt.disposition {
            Disposition::Stored | Disposition::Duplicate | Disposition::Quarantined => {
                self.spool.ack(&id, envelope, &receipt);
            }
            Disposition::Counted if withheld => self.spool.ack(&id, envelope, &receipt),
            Disposition::Counted | Disposition::Refused => {
                let reason = receipt.reason.clone().unwrap_or_default();
                self.spool.hold(&id, Some((envelope, &receipt)));
                self.outcome.held.push((id, format!("{} by the service: {reason}", receipt.disposition)));
            }
            Disposition::Unknown => {
                let why = format!("{id} got a disposition of a later version");
                return Err(Halt::Wait { after: LONGEST, why });
            }
        }
        self.outcome.receipts.push(receipt);
        Ok(())
    }

    fn verify(
        &mut self,
        client: &Client,
        parcel: &Ready,
        envelope: &Envelope,
    ) -> Result<Result<Receipt, handover::Error>, Halt> {
        let key = envelope.unverified().map(|receipt| receipt.key);
        if let (Ok(key), Some(trust)) = (key, &self.trust) {
            // A key that was not met before may be endorsed by one that was: the service has rotated.
            if !trust.keys.knows(&key) {
                let published = self.keys(client)?;
                if let Some(trust) = &mut self.trust
                    && published.service == trust.service
                    && trust.keys.admit(&published) > 0
                {
                    trust.save(self.spool)?;
                }
            }
        }
        let Some(trust) = &self.trust else {
            return Err(Halt::Distrusted("no service is pinned".to_owned()));
        };
        let expected = Expected { manifest: &parcel.manifest, service: Some(trust.service) };
        Ok(envelope.verify(&trust.keys).and_then(|receipt| receipt.check(&expected).map(|()| receipt)))
    }

    fn hold(&mut self, id: &EvidenceId, why: &str) {
        self.spool.hold(id, None);
        self.outcome.held.push((*id, why.to_owned()));
    }

    /// Full jitter: between nothing and a limit that doubles; what a server asks for, and up to half of it more.
    fn wait(&self, halt: &Halt, failed: u32) -> Duration {
        match halt {
            Halt::Wait { after, .. } => *after + self.draw(*after / 2),
            _ => self.draw(LONGEST.min(SHORTEST.saturating_mul(1 << failed.min(16)))),
        }
    }

    fn draw(&self, limit: Duration) -> Duration {
        let mut bytes = [0; 4];
        match (self.way.random)(&mut bytes) {
            Ok(()) => limit.mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)),
            Err(_) => limit,
        }
    }
}

/// Whether a parcel is more than one small upload holds.
fn is_large(parcel: &Ready) -> bool {
    parcel.coded > limits::SMALL_CODED || parcel.manifest.size > limits::SMALL_DECODED
}

/// Cuts what is ready into offers that keep their limits. Withheld items carry their manifests.
fn lots(ready: &[Ready]) -> Vec<&[Ready]> {
    let weight = |parcel: &Ready| match parcel.manifest.withheld {
        Some(_) => ITEM + parcel.manifest.bytes().len(),
        None => ITEM,
    };
    let mut lots = Vec::new();
    let mut rest = ready;
    while !rest.is_empty() {
        let mut size = ITEM;
        let fits = rest.iter().take(limits::OFFER_ITEMS).take_while(|parcel| {
            size += weight(parcel);
            size <= limits::OFFER
        });
        let (lot, more) = rest.split_at(fits.count().max(1));
        lots.push(lot);
        rest = more;
    }
    lots
}

fn item(parcel: &Ready) -> OfferItem {
    let manifest = &parcel.manifest;
    OfferItem {
        evidence_id: manifest.evidence_id,
        kind: manifest.kind.clone(),
        size: manifest.size,
        coded_size: parcel.coded,
        sha256: manifest.sha256,
        manifest_sha256: Sha256::of(manifest.bytes()),
        manifest: manifest.withheld.as_ref().map(|_| handover::canonical::Value::of(&**manifest)),
    }
}

/// A status that is no answer to what was asked.
fn refused(what: &str, answer: &Answer) -> Halt {
    let problem = answer.problem();
    let told = format!("{} {}", answer.status, problem.code);
    match answer.status {
        401 | 403 => Halt::Denied(told),
        // 408: the way is slow; nothing is wrong with what was sent.
        408 | 429 | 503 | 507 => {
            Halt::Wait { after: answer.retry_after.unwrap_or(SHORTEST), why: problem.code }
        }
        500.. => Halt::Away(format!("the service answers {told}")),
        300..=399 => Halt::Away(format!("the service redirects ({told}); name its real address")),
        _ => Halt::Distrusted(format!("the service refuses {what}: {told}")),
    }
}

fn whole_seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}
