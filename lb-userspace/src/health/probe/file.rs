//! `file`: a number in a file; as keepalived's FILE_CHECK.

use std::fs::File;
use std::io::{self, Read as _};

use super::{Context, Found, Passed, Problem};

/// A number has fewer bytes.
const MAX_FILE: u64 = 4096;

/// Without a `weight`, a number other than 0 is a failure; with one, any number is fine.
pub(super) async fn ask(path: &str, weight: i32, context: &Context) -> Found {
    let busy = context.occupy(path)?;
    let name = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        let result = File::open(name).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
        drop(busy);
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
