//! The door: connections are let in, served, and closed, none of them for being slow at everybody's cost.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

/// How long the head of a request may take, from the connection or the answer before on: a stranger who says nothing, or
/// a letter now and then, must not hold a connection. A head is one packet.
pub const HEAD: Duration = Duration::from_secs(15);

/// How long to wait when no connection can be had, as with all file descriptors taken.
const PAUSE: Duration = Duration::from_millis(500);

/// Serves until `leave` completes; then answers what is under way.
pub async fn serve(listener: TcpListener, router: Router, head: Duration, leave: impl Future<Output = ()>) {
    let connections = GracefulShutdown::new();
    let mut leave = pin!(leave);
    loop {
        let stream = tokio::select! {
            stream = accept(&listener) => stream,
            () = &mut leave => break,
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
    drop(listener);
    connections.shutdown().await;
}

async fn accept(listener: &TcpListener) -> TcpStream {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // An answer whose head and body go out apart would wait 40 ms for the other end's acknowledgement
                // (Nagle, delayed ACK).
                let _ = stream.set_nodelay(true);
                return stream;
            }
            // One that was gone before it was let in says nothing of the next.
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionReset | ConnectionRefused) => {
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    use super::*;

    /// What a client that sends `text` and then a letter every so often gets to read, and when it is over.
    async fn drip(text: &str, between: Duration) -> (String, Duration) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let router = Router::new().route("/", get(async || "well"));
        let leave = async { drop(stopped.await) };
        let served = tokio::spawn(serve(listener, router, Duration::from_millis(300), leave));
        let (mut from, mut to) = TcpStream::connect(address).await.unwrap().into_split();
        let begun = Instant::now();
        to.write_all(text.as_bytes()).await.unwrap();
        let dripping = tokio::spawn(async move {
            while to.write_all(b"x").await.is_ok() && begun.elapsed() < Duration::from_secs(20) {
                tokio::time::sleep(between).await;
            }
        });
        let mut answer = Vec::new();
        let _ = from.read_to_end(&mut answer).await;
        let took = begun.elapsed();
        dripping.abort();
        drop(stop);
        served.await.unwrap();
        (String::from_utf8_lossy(&answer).into_owned(), took)
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_is_not_waited_for() {
        for text in ["", "GET / HTTP/1.1\r\nhost: localhost\r\nx: "] {
            let (_, took) = drip(text, Duration::from_millis(20)).await;
            assert!(took < Duration::from_secs(10), "{text:?}: {took:?}");
        }
        // Nor is the next request of a connection that was answered.
        let (answer, took) = drip("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", Duration::from_secs(30)).await;
        assert!(answer.contains("well"), "{answer}");
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}
