//! The cookie that a session is shown by, and what a browser must say before it is believed: a cookie travels with every request to this
//! host, whoever's page makes it, and hosts have many ports.

use super::{super::Problem, Ticket};
use crate::control::auth::Asked;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::time::Duration;

const NAME: &str = "windlass_session";
/// Over TLS: a browser takes one of this name from this very host alone, and only with `Secure` (RFC 6265bis, 4.1.3.2).
const HOST_NAME: &str = "__Host-windlass_session";
/// No form and no image can send it, and no other page may.
const OURS: &str = "x-windlass";

/// The one that is shown; of two of that name, neither is believed.
pub(super) fn shown(headers: &HeaderMap, over_tls: bool) -> Option<Ticket> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut ours =
        lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('=')).filter(|(name, _)| *name == named(over_tls));
    let (_, value) = ours.next()?;
    if ours.next().is_some() {
        return None;
    }
    let mut secret = [0; 32];
    hex::decode_to_slice(value, &mut secret).ok()?;
    Some(Ticket::of(&secret))
}

pub(super) fn given(secret: &[u8; 32], lasts: Duration, over_tls: bool) -> HeaderValue {
    written(&hex::encode(secret), lasts.as_secs(), over_tls)
}

pub(super) fn taken_back(over_tls: bool) -> HeaderValue {
    written("", 0, over_tls)
}

const fn named(over_tls: bool) -> &'static str {
    if over_tls { HOST_NAME } else { NAME }
}

fn written(value: &str, secs: u64, over_tls: bool) -> HeaderValue {
    let (name, secure) = (named(over_tls), if over_tls { "; Secure" } else { "" });
    let text = format!("{name}={value}; Path=/; Max-Age={secs}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// # Errors
/// When a browser says that another site's page makes this call.
pub(super) fn is_not_of_another_site(asked: Asked<'_>) -> Result<(), Problem> {
    match site(asked.headers) {
        None | Some(b"same-origin") if !is_foreign(asked) => Ok(()),
        _ => Err(refused("this port does not answer the pages of other sites")),
    }
}

/// Before a cookie is believed.
///
/// # Errors
/// When the browser does not say that it was our own page that asked for a change, or says that it was another.
pub(super) fn comes_from_our_page(asked: Asked<'_>) -> Result<(), Problem> {
    if is_foreign(asked) {
        return Err(refused("this port does not answer the pages of other sites"));
    }
    let is_harmless = [Method::GET, Method::HEAD].contains(asked.method);
    match site(asked.headers) {
        Some(b"same-origin") if is_harmless || asked.headers.get(OURS).is_some_and(|ours| ours == "1") => Ok(()),
        None | Some(b"none") if is_harmless => Ok(()),
        Some(b"same-origin") => Err(refused("a change by cookie needs the header `X-Windlass: 1`; a program shows a token instead")),
        None => Err(refused(
            "the browser does not say whose page makes this change: open the page by https, or as localhost; a program shows a token instead",
        )),
        Some(_) => Err(refused("this port does not answer the pages of other sites")),
    }
}

fn site(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get("sec-fetch-site").map(HeaderValue::as_bytes)
}

fn is_foreign(asked: Asked<'_>) -> bool {
    let origin = asked.headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    origin.is_some_and(|origin| origin.split_once("://").is_none_or(|(_, authority)| !authority.eq_ignore_ascii_case(asked.host())))
}

fn refused(sentence: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "cross_site", sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Uri;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("a header name"), value.parse().expect("a header value"))).collect()
    }

    fn is_believed(method: &Method, pairs: &[(&'static str, &'static str)]) -> bool {
        let headers = headers(&[&[("host", "jobs.example")], pairs].concat());
        comes_from_our_page(Asked { method, uri: &Uri::from_static("/"), headers: &headers }).is_ok()
    }

    #[test]
    fn change_is_believed_of_our_own_page_only() {
        let (same, ours) = (("sec-fetch-site", "same-origin"), ("x-windlass", "1"));
        assert!(is_believed(&Method::POST, &[same, ours, ("origin", "https://jobs.example")]));
        for pairs in [
            &[][..],
            &[ours],
            &[same],
            &[same, ("x-windlass", "0")],
            &[("sec-fetch-site", "same-site"), ours],
            &[("sec-fetch-site", "cross-site"), ours],
            &[("sec-fetch-site", "none"), ours],
            &[same, ours, ("origin", "https://evil.example")],
            &[same, ours, ("origin", "null")],
        ] {
            assert!(!is_believed(&Method::POST, pairs) && !is_believed(&Method::DELETE, pairs), "{pairs:?}");
        }
    }

    #[test]
    fn look_is_believed_unless_another_page_makes_it() {
        for pairs in [&[][..], &[("sec-fetch-site", "none")], &[("sec-fetch-site", "same-origin")]] {
            assert!(is_believed(&Method::GET, pairs), "{pairs:?}");
        }
        for pairs in [[("sec-fetch-site", "same-site")], [("sec-fetch-site", "cross-site")], [("origin", "https://evil.example")]] {
            assert!(!is_believed(&Method::GET, &pairs), "{pairs:?}");
        }
    }

    #[test]
    fn cookie_is_found_among_others_and_never_twice() {
        let one = hex::encode([7; 32]);
        let own = format!("{NAME}={one}");
        let line = |text: String| HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(text).expect("a value"))]);
        assert!(shown(&line(format!("a=b; {own}; c=d")), false).is_some());
        assert!(shown(&line(format!("{own}; {HOST_NAME}={one}")), true).is_some());
        assert!(shown(&line(own.clone()), true).is_none(), "another host of this domain can set that one");
        for text in [String::new(), format!("x{own}"), format!("{own}; {own}"), format!("{own}0"), format!("{NAME}=zz")] {
            assert!(shown(&line(text.clone()), false).is_none(), "{text}");
        }
    }
}
