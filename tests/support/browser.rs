//! A real headless Chromium, driven by the DevTools protocol over a pipe. One for the whole run; each test has a context of its own in it, with
//! its own cookies. It ends when the run does, because its pipe closes then.

use super::programs;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(90);

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chromium-headless-shell"];

pub struct Browser {
    to: Mutex<UnixStream>,
    heard: Arc<Mutex<Heard>>,
    asked: AtomicU64,
    _shell: Mutex<Child>,
}

#[derive(Default)]
struct Heard {
    answers: HashMap<u64, oneshot::Sender<Value>>,
    /// Events of each tab.
    events: HashMap<String, mpsc::UnboundedSender<Value>>,
}

/// The browser of this run, started on first use.
pub fn browser() -> &'static Browser {
    static BROWSER: OnceLock<Browser> = OnceLock::new();
    BROWSER.get_or_init(Browser::start)
}

impl Browser {
    fn start() -> Self {
        let bin = programs::program("chromium", || NAMES.iter().find_map(|name| programs::on_path(name)));
        let (own, its) = UnixStream::pair().expect("a pair of sockets");
        let mut command = Command::new("bash");
        // The shell outlives the browser by the time it takes to remove what that leaves.
        let script = r#"folder=$(mktemp -d); "$0" "$@" --user-data-dir="$folder" >/dev/null 2>&1 </dev/null; rm -rf "$folder""#;
        command.arg("-c").arg(script).arg(bin).args(flags()).stdin(Stdio::null()).process_group(0);
        let its_number = its.as_raw_fd();
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; dup2(2) is one.
        unsafe {
            command.pre_exec(move || {
                // Chromium reads from 3 and writes to 4. Neither is the socket's own number, or it would keep its close-on-exec.
                let high = libc::fcntl(its_number, libc::F_DUPFD_CLOEXEC, 10);
                if high < 0 || libc::dup2(high, 3) < 0 || libc::dup2(high, 4) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let shell = command.spawn().expect("a shell can be started");
        drop(its);
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (from, hearing) = (own.try_clone().expect("a second handle"), Arc::clone(&heard));
        std::thread::spawn(move || hear(from, &hearing));
        Self { to: Mutex::new(own), heard, asked: AtomicU64::new(1), _shell: Mutex::new(shell) }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, tab: Option<&str>, method: &str, params: Value) -> Result<Value, String> {
        let id = self.asked.fetch_add(1, Ordering::Relaxed);
        let (tell, answer) = oneshot::channel();
        self.heard().answers.insert(id, tell);
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(tab) = tab {
            message["sessionId"] = json!(tab);
        }
        let text = format!("{message}\0");
        self.to.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes()).expect("the browser lives");
        let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("{method} was never answered"));
        let mut answer = answer.unwrap_or_else(|_| panic!("the browser ended before it answered {method}"));
        match answer.get("error") {
            Some(error) => Err(error.to_string()),
            None => Ok(answer["result"].take()),
        }
    }

    /// An empty tab with a context of its own.
    pub async fn tab(&'static self) -> Tab {
        let ask = async |method, params| self.ask(None, method, params).await.unwrap_or_else(|error| panic!("{method}: {error}"));
        let context = ask("Target.createBrowserContext", json!({"disposeOnDetach": false})).await["browserContextId"].clone();
        let target = ask("Target.createTarget", json!({"url": "about:blank", "browserContextId": context})).await["targetId"].clone();
        let attached = ask("Target.attachToTarget", json!({"targetId": target, "flatten": true})).await;
        let id = attached["sessionId"].as_str().expect("an id").to_owned();
        let (tell, events) = mpsc::unbounded_channel();
        self.heard().events.insert(id.clone(), tell);
        let tab = Tab { browser: self, id, context, events: Mutex::new(events) };
        for domain in ["Page", "Runtime", "Log"] {
            tab.ask(&format!("{domain}.enable"), json!({})).await;
        }
        tab.ask("Page.addScriptToEvaluateOnNewDocument", json!({"source": WITNESS})).await;
        tab
    }
}

/// Notes what the policy refused, and whether anything ran that should not.
const WITNESS: &str = "window.refused = []; window.ran = []; window.alert = (what) => window.ran.push(String(what)); \
    document.addEventListener('securitypolicyviolation', (event) => window.refused.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));";

fn flags() -> Vec<&'static str> {
    let mut flags = vec![
        "--headless=new",
        "--remote-debugging-pipe",
        "--no-first-run",
        "--no-default-browser-check",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",
        "--disable-extensions",
        "--disable-gpu",
        "--disable-sync",
        "--hide-scrollbars",
        "--mute-audio",
        "--no-proxy-server",
        "--force-color-profile=srgb",
    ];
    // SAFETY: it has no preconditions.
    if unsafe { libc::geteuid() } == 0 {
        // Chromium's own sandbox does not start for root.
        flags.push("--no-sandbox");
    }
    flags
}

fn hear(mut from: UnixStream, heard: &Mutex<Heard>) {
    let (mut whole, mut chunk) = (Vec::new(), vec![0; 1 << 16]);
    while let Ok(read @ 1..) = from.read(&mut chunk) {
        whole.extend_from_slice(&chunk[..read]);
        while let Some(end) = whole.iter().position(|byte| *byte == 0) {
            let message: Vec<u8> = whole.drain(..=end).collect();
            let message: Value = serde_json::from_slice(&message[..end]).expect("DevTools speaks JSON");
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(asked) = message["id"].as_u64() {
                if let Some(tell) = heard.answers.remove(&asked) {
                    let _ = tell.send(message);
                }
            } else if let Some(tell) = message["sessionId"].as_str().and_then(|tab| heard.events.get(tab)) {
                let _ = tell.send(message);
            }
        }
    }
    // Whoever waits learns that nobody answers.
    heard.lock().unwrap_or_else(PoisonError::into_inner).answers.clear();
}

/// One tab, with cookies of its own.
pub struct Tab {
    browser: &'static Browser,
    id: String,
    context: Value,
    events: Mutex<mpsc::UnboundedReceiver<Value>>,
}

impl Tab {
    pub async fn ask(&self, method: &str, params: Value) -> Value {
        self.browser.ask(Some(&self.id), method, params).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    pub async fn go(&self, url: &str) {
        let gone = self.ask("Page.navigate", json!({"url": url})).await;
        assert!(gone.get("errorText").is_none(), "{url}: {gone}");
    }

    /// The value of an expression, which may be a promise.
    pub async fn value(&self, expression: &str) -> Value {
        self.try_value(expression).await.unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    async fn try_value(&self, expression: &str) -> Result<Value, String> {
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true});
        let mut answer = self.browser.ask(Some(&self.id), "Runtime.evaluate", asked).await?;
        match answer.get("exceptionDetails") {
            Some(thrown) => Err(thrown.to_string()),
            None => Ok(answer["result"]["value"].take()),
        }
    }

    /// Waits until an expression is true, which it then is.
    #[track_caller]
    pub fn until<'t>(&'t self, expression: &str) -> impl Future<Output = ()> + use<'t> {
        let place = std::panic::Location::caller();
        let waiting = format!(
            "new Promise((done) => {{ const look = () => {{ let is = false; try {{ is = Boolean({expression}); }} catch {{}} if (is) done(true); \
             else setTimeout(look, 50); }}; look(); setTimeout(() => done(false), 45000); }})"
        );
        let expression = expression.to_owned();
        async move {
            // A page that is left takes the promise along; its successor is asked.
            for _ in 0..5 {
                match self.try_value(&waiting).await {
                    Ok(Value::Bool(true)) => return,
                    Ok(_) => break,
                    Err(_) => {}
                }
            }
            let seen = self.value("document.body.innerText").await;
            panic!("{place}: never true: {expression}\n{}\n{:?}", seen.as_str().unwrap_or_default(), self.complaints().await);
        }
    }

    /// Waits for a text anywhere on the page.
    #[track_caller]
    pub fn sees<'t>(&'t self, text: &str) -> impl Future<Output = ()> + use<'t> {
        self.until(&format!("document.body.innerText.includes({})", json!(text)))
    }

    /// Clicks the middle of what a selector finds, or of the button or link whose text begins so, as a mouse does.
    #[track_caller]
    pub fn click<'t>(&'t self, what: &str) -> impl Future<Output = ()> + use<'t> {
        let find = finder(what);
        let there = self.until(&format!("{find} && !{find}.disabled"));
        async move {
            there.await;
            // Where it is once it stands still and nothing is before it: what comes in above it moves it.
            let still = format!(
                "new Promise((done) => {{ let last = ''; const look = () => {{ const it = {find}; let now = ''; if (it) {{ \
                 it.scrollIntoView({{block: 'center'}}); const b = it.getBoundingClientRect(); const [x, y] = [b.x + b.width / 2, b.y + b.height / 2]; \
                 now = `${{x}} ${{y}}`; if (now === last && it.contains(document.elementFromPoint(x, y))) return done([x, y]); }} \
                 last = now; setTimeout(look, 50); }}; look(); }})"
            );
            let at = self.value(&still).await;
            for kind in ["mousePressed", "mouseReleased"] {
                let event = json!({"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1});
                self.ask("Input.dispatchMouseEvent", event).await;
            }
        }
    }

    /// In place of what an input holds.
    #[track_caller]
    pub fn write<'t>(&'t self, selector: &str, text: &str) -> impl Future<Output = ()> + use<'t> {
        let there = self.until(&finder(selector));
        let text = text.to_owned();
        let select = format!("(() => {{ const it = {}; it.focus(); it.select?.(); }})()", finder(selector));
        async move {
            there.await;
            self.value(&select).await;
            self.ask("Input.insertText", json!({"text": text})).await;
        }
    }

    /// Presses a key: `Tab`, `Enter`, `Escape`, `/`.
    pub async fn press(&self, key: &str) {
        let (code, number, text) = match key {
            "Tab" => ("Tab", 9, ""),
            "Enter" => ("Enter", 13, "\r"),
            "Escape" => ("Escape", 27, ""),
            "/" => ("Slash", 191, "/"),
            other => panic!("what is the code of {other}?"),
        };
        let event = |kind: &str| json!({"type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number, "text": text});
        for kind in ["keyDown", "keyUp"] {
            self.ask("Input.dispatchKeyEvent", event(kind)).await;
        }
    }

    pub async fn sized(&self, wide: u32, high: u32, dark: bool) {
        let size = json!({"width": wide, "height": high, "deviceScaleFactor": 1, "mobile": wide < 500});
        self.ask("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = if dark { "dark" } else { "light" };
        self.ask("Emulation.setEmulatedMedia", json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]})).await;
    }

    pub async fn shot(&self, file: &Path) {
        use base64::Engine as _;
        let shot = self.ask("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": false})).await;
        let bytes = base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().expect("a picture")).expect("base64");
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, bytes).expect("written");
    }

    /// Everything that went wrong in the page since it was asked last: exceptions, errors in the console, what the policy refused.
    pub async fn complaints(&self) -> Vec<String> {
        let told = self.value("[...window.refused, ...window.ran.map((what) => `it ran ${what}`)]").await;
        let mut all: Vec<String> = told.as_array().expect("a list").iter().map(Value::to_string).collect();
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(event) = events.try_recv() {
            let params = &event["params"];
            let is_bad = match event["method"].as_str().unwrap_or_default() {
                "Runtime.exceptionThrown" | "Page.javascriptDialogOpening" => true,
                "Runtime.consoleAPICalled" => params["type"] == "error",
                // What the port refuses is shown in the page, and is part of what is tested.
                "Log.entryAdded" => params["entry"]["level"] == "error" && params["entry"]["source"] != "network",
                _ => false,
            };
            if is_bad {
                all.push(event.to_string());
            }
        }
        all
    }
}

/// A CSS selector, or `text:` and how the text of a button or link begins.
fn finder(what: &str) -> String {
    match what.strip_prefix("text:") {
        None => format!("document.querySelector({})", json!(what)),
        Some(text) => format!(
            "[...(document.querySelector('dialog[open]') ?? document).querySelectorAll('button, a, summary')].find((it) => it.innerText.trim().startsWith({}))",
            json!(text)
        ),
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        self.browser.heard().events.remove(&self.id);
        // Nobody waits for the answer.
        let id = self.browser.asked.fetch_add(1, Ordering::Relaxed);
        let message = json!({"id": id, "method": "Target.disposeBrowserContext", "params": {"browserContextId": self.context}});
        let _ = self.browser.to.lock().unwrap_or_else(PoisonError::into_inner).write_all(format!("{message}\0").as_bytes());
    }
}
