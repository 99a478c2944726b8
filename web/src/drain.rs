//! Reads what a refused client still sends, so that it gets to read why.
//!
//! A client that is sending sees a connection that is closed under it as a failure of the network, and never the
//! 401 or 413 that was its answer. So a body that its handler left unread is read to its end, within limits.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

/// What is read for the sake of an answer: two parts of a large upload.
const MOST: usize = 16 * 1024 * 1024;
/// And how long.
const PATIENCE: Duration = Duration::from_secs(5);

/// A body that comes back from whoever drops it unread.
struct Lent {
    inner: Body,
    back: Option<oneshot::Sender<Body>>,
}

/// The way back.
pub struct Back(oneshot::Receiver<Body>);

/// Lends a body out.
pub fn lend(body: Body) -> (Body, Back) {
    let (back, returned) = oneshot::channel();
    (Body::new(Lent { inner: body, back: Some(back) }), Back(returned))
}

impl Back {
    /// Reads what was left of it.
    pub async fn drain(mut self) {
        let Ok(mut body) = self.0.try_recv() else { return };
        let mut read = 0;
        let rest = async {
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, Bytes::len);
                if read > MOST {
                    return;
                }
            }
        };
        // Who is slower than that finds the connection closed.
        let _ = tokio::time::timeout(PATIENCE, rest).await;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            let _ = back.send(std::mem::take(&mut self.inner));
        }
    }
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
