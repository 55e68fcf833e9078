//! The page at `/`: an empty document and the files that fill it, compiled in. It knows nothing: whoever opens it sees what the guarded routes
//! tell them. Nothing runs in it that is not one of these files, and no text from elsewhere is ever markup.

use super::Problem;
use axum::{
    extract::Path,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

struct File {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
}

macro_rules! file {
    ($name:literal, $media_type:expr) => {
        File { name: $name, media_type: $media_type, text: include_str!(concat!("assets/", $name)) }
    };
}

const FILES: &[File] = &[
    file!("page.css", CSS),
    file!("icon.svg", SVG),
    file!("main.js", JS),
    file!("api.js", JS),
    file!("live.js", JS),
    file!("element.js", JS),
    file!("table.js", JS),
    file!("words.js", JS),
    file!("chart.js", JS),
    file!("dialog.js", JS),
    file!("parts.js", JS),
    file!("view/login.js", JS),
    file!("view/overview.js", JS),
    file!("view/queues.js", JS),
    file!("view/limits.js", JS),
    file!("view/jobs.js", JS),
    file!("view/job.js", JS),
    file!("view/explain.js", JS),
    file!("view/edit.js", JS),
    file!("view/dead.js", JS),
    file!("view/redrive.js", JS),
    file!("view/schedules.js", JS),
    file!("view/daemons.js", JS),
    file!("view/doctor.js", JS),
    file!("view/enqueue.js", JS),
];

const DOCUMENT: &str = include_str!("assets/index.html");
/// Where the document names its files.
const VERSION: &str = "{version}";

struct Page {
    /// Of all files: one that is kept under it never changes.
    version: String,
    document: String,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let mut digest = Sha256::new();
    for text in FILES.iter().flat_map(|file| [file.name, file.text]).chain([DOCUMENT]) {
        digest.update(text.len().to_le_bytes());
        digest.update(text);
    }
    let version = hex::encode(&digest.finalize()[..8]);
    Page { document: DOCUMENT.replace(VERSION, &version), version }
});

/// Nothing from anywhere else, nothing inline, and no way to make markup of a text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'none'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'self'; require-trusted-types-for 'script'; trusted-types 'none'";

/// `GET /`.
pub(super) async fn document(asked: HeaderMap) -> Response {
    answer(&asked, "text/html; charset=utf-8", "no-cache", &PAGE.document)
}

/// `GET /assets/{version}/{file}`. One of another version is gone: a page that was opened before an upgrade asks for `/` again.
pub(super) async fn asset(Path((version, name)): Path<(String, String)>, asked: HeaderMap) -> Result<Response, Problem> {
    let file = FILES.iter().find(|file| file.name == name && version == PAGE.version);
    let file = file.ok_or_else(|| Problem::not_found("this file; load the page again"))?;
    Ok(answer(&asked, file.media_type, "public, max-age=31536000, immutable", file.text))
}

fn answer(asked: &HeaderMap, media_type: &'static str, keep: &'static str, text: &'static str) -> Response {
    let tag = format!("\"{}\"", PAGE.version);
    let is_known = asked.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if is_known { StatusCode::NOT_MODIFIED.into_response() } else { text.into_response() };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, media_type),
        (header::CACHE_CONTROL, keep),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.extend(HeaderValue::try_from(tag).map(|tag| (header::ETAG, tag)));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What everybody loads who opens the page, on a bad line at night too.
    const MOST_BYTES: usize = 120 << 10;

    #[test]
    fn page_is_small() {
        let bytes: usize = FILES.iter().map(|file| file.text.len()).sum::<usize>() + DOCUMENT.len();
        assert!(bytes <= MOST_BYTES, "{bytes} bytes");
    }

    #[test]
    fn every_file_that_is_named_is_served_and_every_one_that_is_served_is_named() {
        let of = |file: &File, name: &str| match (file.name.rsplit_once('/'), name.strip_prefix("../"), name.strip_prefix("./")) {
            (Some(_), Some(above), _) => above.to_owned(),
            (Some((folder, _)), None, Some(beside)) => format!("{folder}/{beside}"),
            (_, _, beside) => beside.unwrap_or(name).to_owned(),
        };
        let mut named: Vec<String> =
            DOCUMENT.split('"').filter_map(|text| text.split_once("{version}/")).map(|(_, name)| name.to_owned()).collect();
        for file in FILES {
            let imports = file.text.lines().filter(|line| line.starts_with("import ") || line.starts_with("} from "));
            named.extend(imports.filter_map(|line| line.split('"').nth(1)).map(|name| of(file, name)));
        }
        for name in &named {
            assert!(FILES.iter().any(|file| file.name == name), "{name} is named and not served");
        }
        for file in FILES {
            assert!(named.iter().any(|name| name == file.name), "{} is served and nobody names it", file.name);
        }
    }

    #[test]
    fn no_text_can_become_markup() {
        for file in FILES.iter().filter(|file| file.media_type == JS) {
            for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "srcdoc", "setTimeout(\""]
            {
                assert!(!file.text.contains(word), "{}: {word}", file.name);
            }
            assert!(file.text.starts_with("// "), "{}: open with what it is for", file.name);
        }
        for part in ["<style", " style=", " onclick", " onload", "<script>"] {
            assert!(!DOCUMENT.contains(part), "{part}");
        }
    }
}
