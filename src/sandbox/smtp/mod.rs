//! The SMTP stand-in: takes every message it is given (RFC 5321 without relaying, TLS or bounces) and keeps it. One
//! conversation is `session.rs`'.

mod session;

use super::Backstage;
use crate::job::Timestamp;
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use tokio::net::TcpListener;

/// A message as it arrived, its dots unstuffed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    pub at: Timestamp,
    /// The reverse path; empty for a bounce.
    pub from: String,
    pub to: Vec<String>,
    /// Who logged in, if anyone did.
    pub login: Option<String>,
    /// Headers and body with CRLF line ends; bytes that are not UTF-8 are replaced.
    pub data: String,
}

impl Message {
    /// The value of the first header called `name`, unfolded; encoded words stay encoded.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let (head, _) = self.data.split_once("\r\n\r\n").unwrap_or((&self.data, ""));
        let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        let mut pairs = unfolded.split("\r\n").filter_map(|line| line.split_once(':'));
        pairs.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    }

    /// What follows the headers, as sent.
    #[must_use]
    pub fn body(&self) -> &str {
        self.data.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

/// After a failed accept (out of file descriptors) this long until the next.
const BREATH: Duration = Duration::from_millis(50);

pub(super) async fn serve(listener: TcpListener, backstage: Arc<Backstage>) {
    loop {
        let accepted = tokio::select! {
            () = backstage.closing.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let backstage = backstage.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = backstage.closing.cancelled() => {}
                        // A broken conversation is the client's to notice.
                        _ = session::hold(stream, &backstage) => {}
                    }
                });
            }
            Err(_) => tokio::time::sleep(BREATH).await,
        }
    }
}
