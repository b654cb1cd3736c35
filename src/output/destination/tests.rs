use std::os::unix::fs::symlink;

use super::*;

fn here(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

fn names(folder: &tempfile::TempDir) -> Vec<String> {
    let names = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn text(error: &Error) -> String {
    format!("{error:#}")
}

#[test]
fn a_file_appears_when_it_is_complete_and_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = here(&folder, "profile.svg");
    let output = Output::create(&path, &[]).unwrap();
    assert!(!path.exists());
    assert_eq!(output.write(|out| Ok(out.write_all(b"<svg/>")?)).unwrap(), path);
    assert_eq!(fs::read(&path).unwrap(), b"<svg/>");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(names(&folder), ["profile.svg"]);
}

#[test]
fn a_place_that_cannot_be_written_to_is_known_at_once() {
    let error = Output::create(Path::new("/nonexistent/profile.svg"), &[]).unwrap_err();
    assert!(text(&error).contains("/nonexistent/profile.svg"), "{error:#}");
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path(), Path::new("/"), Path::new("..")] {
        assert!(text(&Output::create(path, &[]).unwrap_err()).contains("is a folder"), "{path:?}");
    }
}

fn full(_: &mut dyn Write) -> Result<()> {
    Err(io::Error::from(ErrorKind::StorageFull).into())
}

#[test]
fn what_is_there_stays_until_the_new_one_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let path = here(&folder, "x.svg");
    fs::write(&path, "old").unwrap();
    let error = Output::create(&path, &[]).unwrap().write(full).unwrap_err();
    assert!(text(&error).contains("x.svg, which is as it was"), "{error:#}");
    Output::create(&path, &[]).unwrap().discard();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    Output::create(&path, &[]).unwrap().write(|out| Ok(out.write_all(b"new")?)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(&folder), ["x.svg"]);
}

#[test]
fn a_live_file_has_its_name_at_once_unless_it_replaces_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = here(&folder, "x.gscope");
    let mut live = Output::create_live(&path).unwrap();
    assert!(!path.exists() && live.until_complete().is_none());
    live.appear(None).unwrap();
    live.write_all(b"first").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert!(live.abandon(true).contains("x.gscope shows what it has"), "it stays");
    let mut live = Output::create_live(&path).unwrap();
    let part = live.until_complete().unwrap();
    live.appear(None).unwrap();
    live.write_all(b"second").unwrap();
    assert_eq!((fs::read(&path).unwrap(), fs::read(&part).unwrap()), (b"first".to_vec(), b"second".to_vec()));
    assert_eq!(live.finish().unwrap(), path);
    assert_eq!(fs::read(&path).unwrap(), b"second");
    assert_eq!(names(&folder), ["x.gscope"]);
}

#[test]
fn a_second_writer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = here(&folder, "x.gscope");
    let refused = || text(&Output::create_live(&path).unwrap_err());
    let mut first = Output::create_live(&path).unwrap();
    let mut second = Output::create_live(&path).unwrap();
    first.appear(None).unwrap();
    assert!(refused().contains("another gilscope is writing to"));
    // It came at the same moment.
    assert!(text(&second.appear(None).unwrap_err()).contains("by another program meanwhile"));
    second.discard();
    first.finish().unwrap();
    let again = Output::create_live(&path).unwrap();
    assert!(refused().contains("another gilscope is writing to"));
    again.discard();
    assert_eq!(names(&folder), ["x.gscope"]);
}

#[test]
fn what_was_replaced_by_another_meanwhile_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = here(&folder, "x.gscope");
    fs::write(&path, "old").unwrap();
    let mut live = Output::create_live(&path).unwrap();
    live.write_all(b"mine").unwrap();
    fs::write(here(&folder, "y"), "theirs").unwrap();
    fs::rename(here(&folder, "y"), &path).unwrap();
    let part = live.until_complete().unwrap();
    let error = text(&live.finish().unwrap_err());
    assert!(error.contains("meanwhile") && error.contains(part.to_str().unwrap()), "{error}");
    assert_eq!((fs::read(&path).unwrap(), fs::read(&part).unwrap()), (b"theirs".to_vec(), b"mine".to_vec()));
}

#[test]
fn an_input_is_no_output_whatever_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let input = here(&folder, "a.gscope");
    fs::write(&input, "input").unwrap();
    fs::hard_link(&input, here(&folder, "hard")).unwrap();
    symlink(&input, here(&folder, "soft")).unwrap();
    for name in ["a.gscope", "hard", "soft", "./a.gscope"] {
        let error = Output::create(&here(&folder, name), &[Path::new("/dev/null"), &input]).unwrap_err();
        assert!(text(&error).contains("written over while it is read"), "{error:#}");
    }
    Output::create(&here(&folder, "b.gscope"), &[&input]).unwrap().discard();
    assert_eq!(fs::read(&input).unwrap(), b"input");
}

#[test]
fn a_link_is_replaced_and_a_device_is_written_to() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let victim = here(&elsewhere, "victim");
    fs::write(&victim, "victim").unwrap();
    for target in [&*victim, Path::new("/dev/null"), Path::new("/nonexistent")] {
        let link = here(&folder, "x.svg");
        let _ = fs::remove_file(&link);
        symlink(target, &link).unwrap();
        Output::create(&link, &[]).unwrap().write(|out| Ok(out.write_all(b"new")?)).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_file());
    }
    assert_eq!(fs::read(&victim).unwrap(), b"victim");
    symlink(elsewhere.path(), here(&folder, "folder")).unwrap();
    assert!(text(&Output::create(&here(&folder, "folder"), &[]).unwrap_err()).contains("leads to a folder"));
    assert!(matches!(Output::create(Path::new("/dev/null"), &[]).unwrap(), Output::Special(..)));
    assert!(matches!(Output::create(Path::new("/dev/stdout"), &[]).unwrap(), Output::Stdout));
    assert!(matches!(Output::create(Path::new("/dev/stderr"), &[]).unwrap(), Output::Special(..)));
}

#[test]
fn the_next_free_number_is_added_to_a_name_nobody_chose() {
    let folder = tempfile::tempdir().unwrap();
    let record = || {
        let mut live = Output::create_live(&here(&folder, "gilscope-1.gscope")).unwrap();
        live.appear(Some(Path::new("gilscope-app-7.gscope"))).unwrap();
        live.finish().unwrap()
    };
    record();
    assert!(record().ends_with("gilscope-app-7-2.gscope"));
    assert_eq!(names(&folder), ["gilscope-app-7-2.gscope", "gilscope-app-7.gscope"]);
}

#[test]
fn what_does_not_fit_is_saved_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("gilscope-test-{}.svg", std::process::id());
    let output = Output::create(&here(&folder, &name), &[]).unwrap();
    let mut is_full = true;
    let error = output
        .write_or_save(|out| if std::mem::take(&mut is_full) { full(out) } else { Ok(out.write_all(b"kept")?) })
        .unwrap_err();
    let saved = std::env::temp_dir().join(&name);
    assert!(text(&error).contains(&*saved.to_string_lossy()), "{error:#}");
    assert_eq!(fs::read(&saved).unwrap(), b"kept");
    fs::remove_file(saved).unwrap();
}
