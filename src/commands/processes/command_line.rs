//! What a person calls a Python program, of its command line: the script or module with its arguments, not the interpreter.

use std::ffi::OsStr;
use std::path::Path;

/// Options of the interpreter that take the next word as their value.
const WITH_VALUE: [&str; 3] = ["-W", "-X", "--check-hash-based-pycs"];

/// The program in a command line: from the script, module or code on.
pub(super) fn program(words: &[String]) -> String {
    let is_python = words.first().is_some_and(|word| base(word).starts_with("python"));
    // A title that the program has given itself is a text, in one word.
    let start = if is_python { script(words) } else { Some(0) };
    let Some((at, words)) = start.and_then(|at| Some((at, words.get(at..)?))) else {
        return words.first().map_or_else(String::new, |word| base(word).to_owned());
    };
    let mut text: Vec<String> = words.iter().map(|word| word.lines().collect::<Vec<_>>().join(" ")).collect();
    if at > 0
        && let Some(script) = text.first_mut().filter(|word| !word.starts_with('-'))
    {
        *script = own_name(script);
    }
    text.join(" ")
}

/// Where the script stands, or the option `-m` or `-c`.
fn script(words: &[String]) -> Option<usize> {
    let mut at = 1;
    while let Some(word) = words.get(at) {
        match word.as_str() {
            "-" => return Some(at),
            word if WITH_VALUE.contains(&word) => at += 2,
            // `-c` and `-m` may be the last of several letters.
            word if word.starts_with('-') && !word.starts_with("--") && word.ends_with(['c', 'm']) => {
                return Some(at);
            }
            word if word.starts_with('-') => at += 1,
            _ => return Some(at),
        }
    }
    None
}

/// The name of a script; with its folder where every program has one of this name.
fn own_name(script: &str) -> String {
    const COMMON: [&str; 6] = ["__main__.py", "main.py", "app.py", "run.py", "manage.py", "wsgi.py"];
    let path = Path::new(script);
    let folder = path.parent().and_then(Path::file_name).and_then(OsStr::to_str);
    match folder.filter(|_| COMMON.contains(&base(script))) {
        Some(folder) => format!("{folder}/{}", base(script)),
        None => base(script).to_owned(),
    }
}

fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_called_by_its_script_or_module() {
        let of = |line: &str| program(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(of("/usr/bin/python3.12 -u -X dev /srv/shop/worker.py --queue a"), "worker.py --queue a");
        assert_eq!(of("python /srv/shop/main.py"), "shop/main.py");
        assert_eq!(of("python3 -m gunicorn app:app -w 4"), "-m gunicorn app:app -w 4");
        assert_eq!(of("python -Im http.server"), "-Im http.server");
        assert_eq!(of("python -W ignore -c pass"), "-c pass");
        assert_eq!(of("python3 /venv/bin/celery worker"), "celery worker");
        assert_eq!(of("python3"), "python3");
        assert_eq!(of("/usr/bin/uwsgi --ini /etc/app.ini"), "/usr/bin/uwsgi --ini /etc/app.ini");
        assert_eq!(program(&["gunicorn: worker [shop]".to_owned()]), "gunicorn: worker [shop]");
        assert_eq!(
            program(&["python".to_owned(), "-c".to_owned(), "import x\nx.run()".to_owned()]),
            "-c import x x.run()"
        );
        assert_eq!(program(&[]), "");
    }
}
