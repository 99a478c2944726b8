//! Evidence that is larger than a small upload: in parts, each durable before the next (protocol, section 6.3).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use handover::receipt::Envelope;
use handover::{CODING_HEADER, Sha256};

use super::{Delivery, Halt, REQUEST, SHORTEST};
use crate::http::{Answer, Client, Upload};
use crate::spool::Ready;

/// How often the service may name another offset than ours before it is left alone for this run: it goes back only
/// when it was stopped in between.
const DIVERSIONS: u32 = 8;

impl Delivery<'_, '_> {
    /// Opens the upload, or finds how far it is, and sends the rest.
    pub(super) fn send_parts(&mut self, client: &Client, parcel: &Ready) -> Result<(), Halt> {
        let id = parcel.manifest.evidence_id;
        let headers =
            [("upload-length", parcel.coded.to_string()), (CODING_HEADER, parcel.coding.as_str().to_owned())];
        let mut manifest = parcel.manifest.bytes();
        let upload = Upload {
            method: "POST",
            media_type: "application/json",
            headers: &headers,
            length: manifest.len() as u64,
            body: &mut manifest,
        };
        let answer = client.upload(&format!("/evidence/{id}/upload"), REQUEST, upload)?;
        self.is_pinned(&answer)?;
        let (Some(place), Some(offset), true) = (&answer.location, answer.offset, answer.is_ok()) else {
            // A receipt, since the service has it by now, or a refusal.
            return self.sent(client, parcel, &answer);
        };
        self.send_from(client, parcel, place, offset)
    }

    fn send_from(&mut self, client: &Client, parcel: &Ready, place: &str, from: u64) -> Result<(), Halt> {
        let mut offset = from;
        let mut diversions = 0;
        loop {
            let part = self.spool.read_part(parcel, offset)?;
            let answer = self.patch(client, place, offset, &part)?;
            let expected = offset + part.len() as u64;
            match (answer.status, answer.offset) {
                (204, Some(next)) if next == expected && next < parcel.coded => offset = next,
                (200 | 201, _) => {
                    let envelope = Envelope::read(&answer.body)
                        .map_err(|error| Halt::Distrusted(format!("the receipt cannot be read: {error}")))?;
                    return self.settle(client, parcel, &envelope);
                }
                (204 | 409, Some(next)) if next <= parcel.coded && diversions < DIVERSIONS => {
                    offset = next;
                    diversions += 1;
                }
                // Expired, or finished: the next offer tells.
                (204 | 404 | 409 | 410, _) => {
                    return Err(Halt::Wait { after: SHORTEST, why: "the upload begins anew".to_owned() });
                }
                _ => return self.sent(client, parcel, &answer),
            }
        }
    }

    fn patch(&self, client: &Client, place: &str, offset: u64, mut part: &[u8]) -> Result<Answer, Halt> {
        let digest = STANDARD.encode(Sha256::of(part).as_bytes());
        let headers = [
            ("upload-offset", offset.to_string()),
            // RFC 9530.
            ("content-digest", format!("sha-256=:{digest}:")),
        ];
        let upload = Upload {
            method: "PATCH",
            media_type: "application/offset+octet-stream",
            headers: &headers,
            length: part.len() as u64,
            body: &mut part,
        };
        let answer = client.upload(place, REQUEST, upload)?;
        self.is_pinned(&answer)?;
        Ok(answer)
    }
}
