//! Receipts that the node never got: an answer that was lost, another agent on the same node. The service has them, and
//! the chain at hand says which are missing (protocol, sections 6.4 and 8.5).

use handover::chain::{Broken, Chain};
use handover::limits;
use handover::receipt::{Envelope, Receipt};

use super::{Delivery, Halt, REQUEST};
use crate::http::Client;

/// Requests of one run; what is still missing is asked for by the next.
const REQUESTS: usize = 8;

impl Delivery<'_, '_> {
    /// Fetches what is missing between the receipts at hand. A token that may only hand over is refused, and it is left
    /// at that: nothing depends on it.
    pub(super) fn fill_gaps(&mut self, client: &Client) -> Result<(), Halt> {
        for (epoch, from, to) in self.gaps().into_iter().take(REQUESTS) {
            let limit = (to - from + 1).min(limits::RECEIPTS as u64);
            let (node, after) = (self.way.node, from - 1);
            let path = format!("/nodes/{node}/receipts?epoch={epoch}&after={after}&limit={limit}");
            let answer = client.get(&path, REQUEST)?;
            self.is_pinned(&answer)?;
            if answer.status != 200 {
                return Ok(());
            }
            let envelopes: Vec<Envelope> = serde_json::from_slice(&answer.body)
                .map_err(|error| Halt::Distrusted(format!("the missing receipts cannot be read: {error}")))?;
            let Some(trust) = &self.trust else { return Ok(()) };
            let ours = |receipt: &Receipt| {
                receipt.node_id == node
                    && receipt.service == trust.service
                    && receipt.epoch == epoch
                    && (from..=to).contains(&receipt.seq)
            };
            let mut missing = Vec::new();
            for envelope in envelopes {
                match envelope.verify(&trust.keys) {
                    Ok(receipt) if ours(&receipt) => missing.push((envelope, receipt)),
                    Ok(_) => {}
                    Err(error) => {
                        return Err(Halt::Distrusted(format!("a missing receipt is not valid: {error}")));
                    }
                }
            }
            self.spool.fill_in(&missing)?;
        }
        Ok(())
    }

    /// Epoch, first and last number of what is missing.
    fn gaps(&self) -> Vec<(u64, u64, u64)> {
        let Some(service) = self.trust.as_ref().map(|trust| trust.service) else { return Vec::new() };
        let mut chain = Chain::default();
        for envelope in self.spool.receipts().iter() {
            if let Ok(receipt) = envelope.unverified()
                && receipt.service == service
                && receipt.node_id == self.way.node
            {
                // A fork is what `receipts verify` tells.
                let _ = chain.add(&envelope, &receipt);
            }
        }
        let gap = |broken| match broken {
            Broken::Gap { epoch, from, to } => Some((epoch, from, to)),
            Broken::Fork { .. } | Broken::Link { .. } => None,
        };
        chain.check().into_iter().filter_map(gap).collect()
    }
}
