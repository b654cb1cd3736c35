//! The terminal: taken over for the screen, and given back as it was, however gilscope ends. While the screen is up, what is
//! logged waits.

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
use nix::sys::signal::{Signal, raise};
use ratatui::Frame;
use ratatui::backend::CrosstermBackend;

/// The screen is up.
static UP: AtomicBool = AtomicBool::new(false);
/// What was logged meanwhile.
static HELD: Mutex<Vec<u8>> = Mutex::new(Vec::new());
/// No more than that is kept.
const MOST_HELD: usize = 1 << 16;

/// The terminal while it shows the screen. Dropping it gives it back.
pub struct Screen {
    terminal: ratatui::Terminal<CrosstermBackend<Stdout>>,
    mouse: bool,
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// It is none, or is gone.
    pub fn open(mouse: bool) -> io::Result<Screen> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let usual = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                restore();
                usual(info);
            }));
        });
        enter(mouse)?;
        let terminal = ratatui::Terminal::new(CrosstermBackend::new(stdout())).inspect_err(|_| restore())?;
        Ok(Screen { terminal, mouse })
    }

    /// Draws.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        // Another thread has panicked, and the terminal is given back already.
        if UP.load(Ordering::SeqCst) {
            self.terminal.draw(draw)?;
        }
        Ok(())
    }

    /// Leaves the terminal to the shell, until that wants gilscope to go on.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn suspend(&mut self) -> io::Result<()> {
        restore();
        // The signal stops the thread that raises it before this returns, and all others with it.
        let _ = raise(Signal::SIGTSTP);
        enter(self.mouse)?;
        self.clear()
    }

    /// Draws everything again with the next [`Screen::draw`].
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn clear(&mut self) -> io::Result<()> {
        // `Terminal::clear` would ask the terminal where its cursor is, and not all answer.
        self.terminal = ratatui::Terminal::new(CrosstermBackend::new(stdout()))?;
        execute!(stdout(), Clear(ClearType::All))
    }

    /// Puts a text into the clipboard of the terminal, which may not want it.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        execute!(stdout(), CopyToClipboard::to_clipboard_from(text))
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

/// Gives the terminal back, if it was taken, and says what was logged meanwhile.
fn restore() {
    if !UP.swap(false, Ordering::SeqCst) {
        return;
    }
    // Whatever fails here, the rest has to be tried.
    let _ = execute!(stdout(), DisableMouseCapture);
    let _ = execute!(stdout(), LeaveAlternateScreen, crossterm::cursor::Show);
    let _ = disable_raw_mode();
    let held = std::mem::take(&mut *HELD.lock().unwrap_or_else(PoisonError::into_inner));
    let _ = stderr().write_all(&held);
}

/// Where the log goes: to standard error, but not into the screen.
#[derive(Debug)]
pub struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !UP.load(Ordering::SeqCst) {
            return stderr().write(bytes);
        }
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() < MOST_HELD {
            held.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        stderr().flush()
    }
}
