//! Records that are few: each says all that it has to say itself.

use super::*;

impl Decoder {
    pub(super) fn rare(&mut self, tag: u64, bytes: &mut Bytes<'_>) -> Result<Event, Malformed> {
        Ok(match tag {
            tag::PROCESS => {
                self.allowance.keep(memory::PROCESS, 0)?;
                let (pid, command) = (bytes.small()?, self.words(bytes)?);
                let (python, free_threaded) = (self.text(bytes)?.to_owned(), bytes.flag()?);
                let process = ProcessId(new(&mut self.processes)?);
                Event::Process { process, info: Arc::new(ProcessInfo { pid, command, python, free_threaded }) }
            }
            tag::PROCESS_TITLED => {
                let process = ProcessId(id(self.processes, bytes.number()?)?);
                Event::ProcessTitled { process, command: self.words(bytes)?.into() }
            }
            tag::THREAD_STARTED => {
                let at = self.at(bytes)?;
                let process = ProcessId(id(self.processes, bytes.number()?)?);
                let tid = bytes.small()?;
                self.allowance.keep(memory::THREAD, 0)?;
                let thread = ThreadId(new(&mut self.threads)?);
                Event::ThreadStarted { at, thread, process, tid }
            }
            tag::THREAD_NAMED => {
                let thread = self.thread(bytes)?;
                Event::ThreadNamed { thread, name: bytes.text()?.into() }
            }
            tag::THREAD_EXITED => {
                let (at, thread) = (self.at(bytes)?, self.thread(bytes)?);
                let cpu_ns = self.moment(bytes.number()?)?.0;
                self.allowance.free(memory::THREAD - memory::ENDED_THREAD);
                Event::ThreadExited { at, thread, cpu_ns }
            }
            tag::GIL => {
                let at = self.at(bytes)?;
                let gil = GilId(id_or_new(&mut self.gils, bytes.number()?)?);
                let info = GilInfo {
                    process: ProcessId(id(self.processes, bytes.number()?)?),
                    interpreter: bytes.signed()?,
                    enabled: bytes.flag()?,
                    switch_interval_ns: bytes.number().and_then(|number| self.moment(number))?.0,
                };
                let switched_on_by = self.optional_text(bytes)?.map(Arc::from);
                if u64::from(gil.0) + 1 == u64::from(self.gils) {
                    self.allowance.keep(memory::GIL, 0)?;
                }
                Event::Gil { at, gil, info: Arc::new(info), switched_on_by }
            }
            tag::LOCK => {
                let lock = LockId(id_or_new(&mut self.locks, bytes.number()?)?);
                let info = LockInfo {
                    process: ProcessId(id(self.processes, bytes.number()?)?),
                    address: bytes.number()?,
                    kind: known(&LOCK_KINDS, bytes.byte()?.into())?.kind,
                    type_name: self.optional_text(bytes)?.map(Arc::from),
                    name: self.optional_text(bytes)?.map(Arc::from),
                };
                self.allowance.keep(memory::LOCK, 0)?;
                Event::Lock { lock, info: Arc::new(info) }
            }
            tag::OBJECT => {
                let object = ObjectId(id_or_new(&mut self.objects, bytes.number()?)?);
                let info = ObjectInfo {
                    process: ProcessId(id(self.processes, bytes.number()?)?),
                    address: bytes.number()?,
                    type_name: self.text(bytes)?.into(),
                    name: self.optional_text(bytes)?.map(Arc::from),
                    len: bytes.flag()?.then(|| bytes.number()).transpose()?,
                    counting: known(&COUNTINGS, bytes.byte()?.into())?,
                    owner: optional(self.threads, bytes)?.map(ThreadId),
                };
                self.allowance.keep(memory::OBJECT, 0)?;
                Event::Object { object, info: Arc::new(info) }
            }
            tag::COLLECTED => {
                let at = self.at(bytes)?;
                let process = ProcessId(id(self.processes, bytes.number()?)?);
                let (number, full, freed) = (bytes.number()?, bytes.number()?, bytes.number()?);
                Event::Collected { at, process, totals: CollectionTotals { number, full, freed } }
            }
            tag::DEADLOCK => {
                let at = self.at(bytes)?;
                let mut threads = Vec::new();
                for _ in 0..bytes.number()? {
                    self.allowance.keep(memory::STUCK_THREAD, 0)?;
                    threads.push((self.thread(bytes)?, self.text(bytes)?.into()));
                }
                Event::Deadlock { at, threads }
            }
            tag::QUEUE_LENGTH => Event::QueueLength {
                at: self.at(bytes)?,
                thread: self.thread(bytes)?,
                queue: bytes.number()?,
                length: bytes.number()?,
            },
            tag::LOCK_HELD => Event::LockHeld {
                at: self.at(bytes)?,
                lock: LockId(id(self.locks, bytes.number()?)?),
                thread: self.thread(bytes)?,
                stack: self.seen_stack(bytes)?,
            },
            tag::RECORDS_LOST => {
                let (at, count) = (self.at(bytes)?, bytes.number()?);
                self.spend(count)?;
                Event::RecordsLost { at, count }
            }
            tag::ACCOUNT => {
                let at = self.at(bytes)?;
                let thread = self.thread(bytes)?;
                let mut numbers = [0; Account::NUMBERS];
                for number in &mut numbers {
                    *number = bytes.number()?;
                    self.spend(*number)?;
                }
                Event::Account { thread, account: Account::of(at, numbers) }
            }
            _ => return Err(Malformed),
        })
    }

    /// The words of a command line.
    fn words(&mut self, bytes: &mut Bytes<'_>) -> Result<Vec<String>, Malformed> {
        (0..bytes.number()?).map(|_| self.text(bytes).map(str::to_owned)).collect()
    }
}
