//! The terminal: taken over for the screen, and restored however gilscope ends. Log output is held back while the screen is
//! up.

use std::io::{self, Stdout, Write, stderr, stdout};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use crossterm::clipboard::CopyToClipboard;
use crossterm::event::{DisableMouseCapture, EnableMouseCapture};
use crossterm::execute;
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use ratatui::Frame;
use ratatui::backend::CrosstermBackend;

use crate::process::watchdog::before_giving_up;
use crate::text::lines;

/// The screen is on the terminal.
static UP: AtomicBool = AtomicBool::new(false);
/// What was logged meanwhile.
static HELD: Mutex<Vec<u8>> = Mutex::new(Vec::new());
const MAX_HELD: usize = 1 << 16;

/// The terminal while it shows the screen. Dropping this restores it.
pub(crate) struct Screen {
    terminal: ratatui::Terminal<CrosstermBackend<Stdout>>,
    mouse: bool,
    stops: SignalFd,
}

/// Blocks SIGTSTP in this thread and those that it starts from now on: it must not stop gilscope before the terminal is
/// restored.
///
/// # Errors
/// The signal mask cannot be changed.
pub(crate) fn hold_stops() -> nix::Result<()> {
    SigSet::from(Signal::SIGTSTP).thread_block()
}

impl Screen {
    /// Takes over the terminal.
    ///
    /// # Errors
    /// Standard output is no terminal, or the terminal is gone.
    pub(crate) fn open(mouse: bool) -> io::Result<Screen> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let usual = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                restore();
                usual(info);
            }));
            before_giving_up(|| {
                restore();
                None
            });
        });
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let stops = SignalFd::with_flags(&SigSet::from(Signal::SIGTSTP), flags)?;
        enter(mouse)?;
        let terminal = ratatui::Terminal::new(CrosstermBackend::new(stdout())).inspect_err(|_| restore())?;
        Ok(Screen { terminal, mouse, stops })
    }

    /// # Errors
    /// The terminal is gone.
    pub(crate) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        // Otherwise another thread has panicked and restored the terminal.
        if UP.load(Ordering::SeqCst) {
            self.terminal.draw(draw)?;
        }
        Ok(())
    }

    /// Leaves the terminal to the shell until it resumes gilscope.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        restore();
        // The signal stops the thread that raises it before this returns, and all others with it.
        SigSet::from(Signal::SIGTSTP).thread_unblock()?;
        let _ = raise(Signal::SIGTSTP);
        hold_stops()?;
        enter(self.mouse)?;
        self.clear()
    }

    /// Whether a signal asked for [`Screen::suspend`].
    pub(crate) fn is_to_stop(&self) -> bool {
        matches!(self.stops.read_signal(), Ok(Some(_)))
    }

    /// Draws everything again with the next [`Screen::draw`].
    ///
    /// # Errors
    /// The terminal is gone.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        // `Terminal::clear` would ask the terminal where its cursor is, and not all answer.
        self.terminal = ratatui::Terminal::new(CrosstermBackend::new(stdout()))?;
        execute!(stdout(), Clear(ClearType::All))
    }

    /// Copies a text to the clipboard of the terminal, if the terminal supports that.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(crate) fn copy(&mut self, text: &str) -> io::Result<()> {
        // What is pasted may be obeyed, too.
        execute!(stdout(), CopyToClipboard::to_clipboard_from(&*lines(text)))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn enter(mouse: bool) -> io::Result<()> {
    enable_raw_mode()?;
    UP.store(true, Ordering::SeqCst);
    let entered = execute!(stdout(), EnterAlternateScreen);
    let entered = entered.and_then(|()| if mouse { execute!(stdout(), EnableMouseCapture) } else { Ok(()) });
    entered.inspect_err(|_| restore())
}

/// Restores the terminal, if it was taken over, and prints what was logged meanwhile.
fn restore() {
    if !UP.swap(false, Ordering::SeqCst) {
        return;
    }
    // If one of these fails, the others are still needed.
    let _ = execute!(stdout(), DisableMouseCapture);
    let _ = execute!(stdout(), LeaveAlternateScreen, crossterm::cursor::Show);
    let _ = disable_raw_mode();
    let held = std::mem::take(&mut *HELD.lock().unwrap_or_else(PoisonError::into_inner));
    let _ = stderr().write_all(&held);
}

/// The destination of the log: standard error, but not while the screen is up.
#[derive(Debug)]
pub struct ScreenLog;

impl Write for ScreenLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !UP.load(Ordering::SeqCst) {
            return stderr().write(bytes);
        }
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() < MAX_HELD {
            held.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use portable_pty::{CommandBuilder, PtySize, native_pty_system};

    use super::*;

    /// Run in a terminal by [`a_panic_gives_the_terminal_back`].
    #[test]
    #[ignore = "panics"]
    fn panics() {
        hold_stops().unwrap();
        let mut screen = Screen::open(true).unwrap();
        screen.draw(|frame| frame.render_widget("SCREEN", frame.area())).unwrap();
        let _ = ScreenLog.write_all(b"logged meanwhile\n");
        // Whichever thread it is: it is not the one that draws.
        let _ = std::thread::spawn(|| panic!("for the test")).join();
        screen.draw(|_| panic!("drawn on a terminal that was given back")).unwrap();
        std::process::exit(7);
    }

    #[test]
    fn a_panic_gives_the_terminal_back() {
        let pair = native_pty_system().openpty(PtySize::default()).unwrap();
        let before = pair.master.get_termios().unwrap();
        let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
        command.args(["--exact", "tui::terminal::tests::panics", "--ignored", "--nocapture", "--test-threads=1"]);
        let mut child = pair.slave.spawn_command(command).unwrap();
        let mut output = pair.master.try_clone_reader().unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            // Its end is an error: the other side is gone.
            let _ = output.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let code = child.wait().unwrap().exit_code();
        let after = pair.master.get_termios().unwrap();
        drop(pair.slave);
        let text = reader.join().unwrap();
        assert_eq!(code, 7, "{text}");
        assert_eq!(format!("{after:?}"), format!("{before:?}"), "modes of the terminal");
        let at = |part: &str| text.rfind(part).unwrap_or_else(|| panic!("no {part:?} in {text:?}"));
        // The alternate screen, the mouse, the cursor; then what there is to say, where it can be read.
        assert!(at("SCREEN") > at("\x1b[?1049h") && at("\x1b[?1000h") > 0);
        let back = [at("\x1b[?1000l"), at("\x1b[?1049l"), at("\x1b[?25h")];
        assert!(back.iter().all(|&back| at("SCREEN") < back), "{text:?}");
        assert!(back.iter().all(|&back| back < at("logged meanwhile") && back < at("for the test")), "{text:?}");
    }
}
