//! A service that forgot: it does not know our newest receipt, so it was restored from a backup. It is shown our
//! receipts, newest first, and what it lost is sent again (protocol, chapter 9).

use handover::receipt::Envelope;
use handover::{EvidenceId, NodeId};
use serde::{Deserialize, Serialize};

use super::{Delivery, Halt, REQUEST, refused};
use crate::exit::Exit;
use crate::http::Client;

/// Receipts of one request.
const RECEIPTS: usize = 100;

#[derive(Serialize)]
struct Shown<'a> {
    schema: &'static str,
    node_id: NodeId,
    receipts: &'a [Envelope],
}

#[derive(Deserialize)]
struct Answer {
    epoch: u64,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    evidence_id: EvidenceId,
    state: String,
}

impl Delivery<'_, '_> {
    /// Shows the receipts until the service knows one, or there are no more; puts back what it lost.
    pub(super) fn reconcile(&mut self, client: &Client) -> Result<(), Halt> {
        let Some(service) = self.trust.as_ref().map(|trust| trust.service) else { return Ok(()) };
        let ours =
            |envelope: &Envelope| envelope.unverified().is_ok_and(|receipt| receipt.service == service);
        let mut receipts: Vec<Envelope> = self.spool.receipts().iter().filter(ours).collect();
        receipts.reverse();
        let (mut lost, mut gone) = (0, 0);
        for shown in receipts.chunks(RECEIPTS) {
            let body = Shown { schema: "lastwords.reconcile/1", node_id: self.way.node, receipts: shown };
            let body = serde_json::to_vec(&body).expect("receipts are texts and numbers");
            let answer = client.post_json(&format!("/nodes/{}/reconcile", self.way.node), REQUEST, &body)?;
            self.is_pinned(&answer)?;
            if answer.status != 200 {
                return Err(refused("our receipts", &answer));
            }
            let answer: Answer = serde_json::from_slice(&answer.body).map_err(|error| {
                Halt::Distrusted(format!("the answer to our receipts cannot be read: {error}"))
            })?;
            for item in answer.items.iter().filter(|item| item.state == "lost") {
                lost += 1;
                if !self.spool.send_again(&item.evidence_id, answer.epoch)? {
                    gone += 1;
                }
            }
            if answer.items.iter().any(|item| item.state == "known") {
                break;
            }
        }
        self.reconciled = true;
        let told =
            format!("the service was restored from a backup and lost {lost} of our pieces of evidence");
        self.outcome.troubles.push(match gone {
            0 => format!("{told}; they are sent again"),
            _ => format!("{told}; {gone} are no longer in the spool, and their receipts are the proof"),
        });
        if gone > 0 {
            self.outcome.exit = self.outcome.exit.and(Exit::Held);
        }
        Ok(())
    }
}
