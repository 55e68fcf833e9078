//! `windlass export` and `import`: all live jobs and dead letters as NDJSON, one a line, to move them to another store or
//! keep a copy that any program can read.

use super::{
    Place, door,
    door::{MOST_ROWS, MayMake},
    exit::Exit,
    lines::Lines,
};
use crate::store::{Exported, Store};
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

#[derive(Debug, clap::Args)]
pub struct Export {
    /// Write into this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct Import {
    /// The file that `export` wrote, or - for standard input
    file: PathBuf,
}

/// As the store takes them in one commit.
const CHUNK: usize = 1000;

pub fn export(place: &Place, args: &Export) -> anyhow::Result<()> {
    door::with_store(place, MayMake::Nothing, async |store| {
        let mut out: BufWriter<Box<dyn Write>> = BufWriter::new(match &args.output {
            Some(path) => Box::new(create_private(path).map_err(|error| cannot("written", path, &error))?),
            None => Box::new(io::stdout().lock()),
        });
        let written = write_all(store, &mut out).await?;
        eprintln!("exported {written} jobs");
        Ok(())
    })
}

/// Payloads are nobody else's business.
fn create_private(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

async fn write_all(store: &dyn Store, out: &mut impl Write) -> anyhow::Result<u64> {
    let (mut written, mut cursor) = (0, None);
    loop {
        let page = store.export(cursor.as_deref(), MOST_ROWS).await?;
        for exported in &page.items {
            serde_json::to_writer(&mut *out, exported).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
            written += 1;
        }
        cursor = page.next;
        if cursor.is_none() {
            out.flush()?;
            return Ok(written);
        }
    }
}

pub fn import(place: &Place, args: &Import) -> anyhow::Result<()> {
    door::with_store(place, MayMake::Store, async |store| {
        let mut lines = Lines::open(&args.file).map_err(|error| cannot("read", &args.file, &error))?;
        let (mut new, mut seen) = (0, 0);
        loop {
            let first = lines.number() + 1;
            let chunk = read_chunk(&mut lines).map_err(|error| error.context(before(first)))?;
            if chunk.is_empty() {
                break;
            }
            seen += chunk.len() as u64;
            new += store.import(chunk, None).await.map_err(|error| anyhow::Error::from(error).context(before(first)))?;
        }
        eprintln!("imported {new} jobs; {} were there before", seen - new);
        Ok(())
    })
}

/// What a person needs to go on after a chunk that failed.
fn before(first: usize) -> String {
    match first {
        1 => "nothing was imported".to_owned(),
        _ => format!("lines 1 to {} were imported, nothing after them", first - 1),
    }
}

fn read_chunk(lines: &mut Lines) -> anyhow::Result<Vec<Exported>> {
    let mut chunk = Vec::new();
    while chunk.len() < CHUNK
        && let Some(line) = lines.next()?
    {
        let exported = serde_json::from_slice(line).map_err(|error| {
            let error = error.to_string();
            let said = error.split(" at line ").next().unwrap_or_default();
            Exit::Data.because(format!("line {} is no exported job: {said}", lines.number()))
        })?;
        chunk.push(exported);
    }
    Ok(chunk)
}

fn cannot(be: &str, path: &Path, error: &io::Error) -> anyhow::Error {
    Exit::Unavailable.because(format!("{} cannot be {be}: {error}", path.display()))
}
