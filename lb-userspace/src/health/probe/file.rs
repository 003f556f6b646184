//! `file`: a number in a file; as keepalived's FILE_CHECK.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::{Context, Found, Passed, Problem};

/// A number has fewer bytes.
const MAX_FILE: u64 = 4096;
/// So many files of one directory are read at once: if its file system is gone, no more threads hang in it.
const OF_A_DIRECTORY: usize = 16;

/// Without a `weight`, a number other than 0 is a failure; with one, any number is fine.
pub(super) async fn ask(path: &str, weight: i32, context: &Context) -> Found {
    // That these are never had is what the probe's timeout is for.
    let turn = context.turns.take(path, 1).await;
    let directory = Path::new(path).parent().unwrap_or(Path::new("/")).join("");
    let beside = context.turns.take(&directory.to_string_lossy(), OF_A_DIRECTORY).await;
    let name = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        // A FIFO is not waited for.
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(name);
        let result = opened.and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
        drop((turn, beside));
        result.map(|_| bytes)
    });
    let text = match read.await.map_err(|gone| Problem::Inconclusive(gone.to_string()))? {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Problem::Inconclusive(super::words(&error))),
    };
    // Who writes the file may have just emptied it.
    let number = match text.as_str() {
        "" => 0,
        text => text.parse::<i32>().map_err(|_no_number| Problem::failed("it has no number"))?,
    };
    if weight == 0 && number != 0 {
        return Err(Problem::failed(format!("it says {number}")));
    }
    Ok(Passed { text: format!("it says {number}"), number: Some(i64::from(number)) })
}
