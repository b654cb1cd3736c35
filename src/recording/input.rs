//! Files that are read whole or in part: recordings and saved reports.

use std::fs::{File, FileType};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Result, bail};
use rustix::fs::OFlags;

/// Opens a file. What has no end, or none that is known, is refused at once: a device, a pipe, a socket.
///
/// # Errors
/// There is no such file, it is none, or it must not be read.
pub(crate) fn open(path: &Path) -> Result<File> {
    // A pipe without a writer would have to be waited for.
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() {
        bail!("it is {}, and not a file: save what comes from there as a file first", words(kind));
    }
    Ok(file)
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// As for [`open`], or it is longer.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        bail!("it has more than {} MB: gilscope writes no such file", limit >> 20);
    }
    Ok(bytes)
}

fn words(kind: FileType) -> &'static str {
    match () {
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, Mode, mknodat};

    use super::*;

    #[test]
    fn what_has_no_end_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        for (path, words) in
            [(&*pipe, "a pipe"), (directory.path(), "a directory"), (Path::new("/dev/zero"), "a device")]
        {
            let error = open(path).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let file = directory.path().join("file");
        std::fs::write(&file, [7; 10]).unwrap();
        assert_eq!(read(&file, 10).unwrap(), [7; 10]);
        assert!(read(&file, 9).unwrap_err().to_string().contains("more than 0 MB"));
    }
}
