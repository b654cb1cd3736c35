//! Reads a recording, event by event. Called by everything that works from one.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::vec;

use anyhow::{Context, Result, bail};

use super::RecordingOrigin;
use super::block::{self, HEADER, MAGIC, NextBlock, VERSION};
use super::decode::Decoder;
use crate::event::Event;
use crate::profile::SessionInfo;
use crate::stack::Interner;
use crate::text::Shown;

/// A recording that is being read.
#[derive(Debug)]
pub struct Reader<R> {
    file: R,
    decoder: Decoder,
    events: vec::IntoIter<Event>,
    /// Blocks that were read.
    blocks: u64,
    /// Why nothing more comes.
    over: Option<FileEnd>,
}

/// How a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileEnd {
    Complete,
    Cut,
    /// With something that is no part of a recording.
    Damaged,
}

/// Whether a file is a recording, of whatever version. One that cannot be read is none.
pub fn is_recording(path: &Path) -> bool {
    let mut start = [0; MAGIC.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == MAGIC
}

impl Reader<BufReader<File>> {
    /// Opens a recording.
    ///
    /// # Errors
    /// There is no such file, it is not a recording, or a newer gilscope wrote it.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.shown()))?;
        Reader::new(BufReader::new(file)).with_context(|| format!("cannot read {}", path.shown()))
    }
}

impl<R: Read> Reader<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// It is not a recording, or a newer gilscope wrote it.
    pub fn new(mut file: R) -> Result<Self> {
        let mut header = Vec::new();
        file.by_ref().take(HEADER as u64).read_to_end(&mut header)?;
        let Some(version) = header.strip_prefix(&MAGIC) else {
            bail!("it is not a recording: gilscope record writes recordings, as NAME.gscope");
        };
        let Ok(version) = version.try_into().map(u32::from_le_bytes) else {
            bail!("the recording is cut off before it begins");
        };
        if version > VERSION {
            bail!(
                "it was written by a newer gilscope (format {version}; this one reads up to {VERSION}): update \
                 gilscope, or use the one that recorded it"
            );
        }
        Ok(Reader { file, decoder: Decoder::new(version), events: Vec::new().into_iter(), blocks: 0, over: None })
    }

    /// The next event. Its stacks are in `table`, which must be the same one all the time. None at the end, wherever that
    /// is.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next(&mut self, table: &mut Interner) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.events.next() {
                return Ok(Some(event));
            }
            if self.over.is_some() {
                return Ok(None);
            }
            match block::next(&mut self.file)? {
                NextBlock::Records(records) => {
                    self.blocks += 1;
                    let mut events = Vec::new();
                    if self.decoder.block(&records, table, &mut events).is_err() {
                        self.over = Some(FileEnd::Damaged);
                    } else if self.decoder.ended {
                        self.over = Some(FileEnd::Complete);
                    }
                    self.events = events.into_iter();
                }
                NextBlock::End => self.over = Some(FileEnd::Cut),
                NextBlock::Broken { at_end: true } => self.over = Some(FileEnd::Cut),
                NextBlock::Broken { at_end: false } => self.over = Some(FileEnd::Damaged),
            }
        }
    }

    /// How the recording went, as far as it was read. If it does not end as it should, a note says so.
    pub fn session(&self) -> SessionInfo {
        let mut session = self.decoder.session.clone().unwrap_or_default();
        let seconds = session.end.since(session.start) as f64 / 1e9;
        match self.over {
            Some(FileEnd::Complete) | None => {}
            Some(FileEnd::Cut) => session.degraded.push(format!(
                "the recording is cut off after {seconds:.1} s: gilscope or the machine was stopped, or the disk was \
                 full; what was written until then is here"
            )),
            Some(FileEnd::Damaged) => session.degraded.push(format!(
                "the recording is damaged after {seconds:.1} s (block {}): what was written until then is here",
                self.blocks + 1
            )),
        }
        session
    }

    /// Where the recording comes from.
    pub fn origin(&self) -> RecordingOrigin {
        self.decoder.origin.clone().unwrap_or_default()
    }
}
