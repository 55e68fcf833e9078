//! Our own files as text.

use std::{
    fs,
    path::{Path, PathBuf},
};

pub struct Source {
    /// From the root of the package: `src/store/mod.rs`.
    pub path: String,
    pub text: String,
}

/// The files below `folder` whose names end so, sorted.
pub fn files(folder: &str, ending: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(&root.join(folder), &mut found);
    let mut sources: Vec<Source> = found
        .into_iter()
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .map(|path| Source {
            text: fs::read_to_string(&path).expect("our own files are UTF-8"),
            path: path.strip_prefix(root).expect("it lies below the root").to_string_lossy().into_owned(),
        })
        .collect();
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    sources
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a folder can be read").path();
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

impl Source {
    /// The code alone: no comments, and nothing of the tests at the end of the file.
    pub fn code(&self) -> String {
        code(&self.text)
    }
}

pub fn code(text: &str) -> String {
    let before_tests = text.split("\n#[cfg(test)]").next().unwrap_or(text);
    let mut code = String::new();
    for line in before_tests.lines() {
        // A `//` inside a string is cut as well; no path of ours stands behind one.
        code.push_str(line.split("//").next().unwrap_or(line));
        code.push('\n');
    }
    code
}
