//! Reads a recording, event by event. Called by everything that works from one.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::vec;

use anyhow::{Context, Result, bail};

use super::RecordingOrigin;
use super::block::{self, HEADER, MAGIC, NextBlock, VERSION};
use super::decode::Decoder;
use super::input;
use super::wire::Bytes;
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
    /// Records of the last block that was read, from this place on.
    records: (Vec<u8>, usize),
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
    /// With more than is read of a file of its size.
    TooMuch,
}

/// Whether a file is a recording, of whatever version. One that cannot be read is none.
pub fn is_recording(path: &Path) -> bool {
    let mut start = [0; MAGIC.len()];
    input::open(path).is_ok_and(|mut file| file.read_exact(&mut start).is_ok()) && start == MAGIC
}

impl Reader<BufReader<File>> {
    /// Opens a recording.
    ///
    /// # Errors
    /// There is no such file, it is not a recording, or a newer gilscope wrote it.
    pub fn open(path: &Path) -> Result<Self> {
        let open = || {
            let file = input::open(path)?;
            Reader::new(BufReader::new(file))
        };
        open().with_context(|| format!("cannot read {}", path.shown()))
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
        Ok(Reader {
            file,
            decoder: Decoder::new(version),
            events: Vec::new().into_iter(),
            records: (Vec::new(), 0),
            blocks: 0,
            over: None,
        })
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
            if self.records.1 < self.records.0.len() {
                self.decode(table);
                continue;
            }
            let (block, read) = block::next(&mut self.file)?;
            self.decoder.allowance.read(read);
            match block {
                NextBlock::Records(records) => {
                    self.blocks += 1;
                    self.records = (records, 0);
                }
                NextBlock::End => self.over = Some(FileEnd::Cut),
                NextBlock::Broken { at_end: true } => self.over = Some(FileEnd::Cut),
                NextBlock::Broken { at_end: false } => self.over = Some(FileEnd::Damaged),
            }
        }
    }

    /// Makes events of the next records of a block.
    fn decode(&mut self, table: &mut Interner) {
        let (records, at) = &mut self.records;
        let mut bytes = Bytes(&records[*at..]);
        let mut events = Vec::new();
        let decoded = self.decoder.block(&mut bytes, table, &mut events);
        *at = records.len() - bytes.0.len();
        self.events = events.into_iter();
        if decoded.is_err() {
            let exceeded = self.decoder.allowance.exceeded;
            self.over = Some(if exceeded { FileEnd::TooMuch } else { FileEnd::Damaged });
        } else if self.decoder.ended && *at == records.len() {
            self.over = Some(FileEnd::Complete);
        }
    }

    /// How the recording went, as far as it was read. If it does not end as it should, a note says so.
    pub fn session(&self) -> SessionInfo {
        let mut session = self.decoder.session_so_far();
        let seconds = session.end.since(session.start) as f64 / 1e9;
        match self.over {
            Some(FileEnd::Complete) | None => {}
            Some(FileEnd::Cut) => session.degraded.push(format!(
                "the recording is cut off after {seconds:.1} s: gilscope or the machine was stopped, or the disk was \
                 full; what was written until then is here"
            )),
            Some(FileEnd::TooMuch) => session.degraded.push(format!(
                "the recording holds more after {seconds:.1} s (block {}) than gilscope reads of a file of its size: it was \
                 not written by gilscope, or only a part of it was; what came before is here",
                self.blocks
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
