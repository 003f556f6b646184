//! Orders in a file: `orders.json` beside the instance's record. It outlives the daemon and `lbctl down`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Order, Orders, RealServerName, VirtualServerName};

const SCHEMA: &str = "lbctl/orders/v1";

#[derive(Serialize, Deserialize)]
struct Contents {
    schema: String,
    orders: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    virtual_server: VirtualServerName,
    real_server: RealServerName,
    #[serde(flatten)]
    order: Order,
}

/// Why the orders cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: the operator's orders cannot be {action}; {remedy}")]
pub struct FileError {
    path: PathBuf,
    action: &'static str,
    remedy: &'static str,
    #[source]
    source: io::Error,
}

impl Orders {
    /// Reads the file; an absent one has no orders.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is another version's.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let failed = |source| FileError {
            path: path.to_owned(),
            action: "read",
            remedy: "remove the file if none matters, and order again what does",
            source,
        };
        let text = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            result => result.map_err(failed)?,
        };
        let contents: Contents = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
        if contents.schema != SCHEMA {
            return Err(failed(io::Error::other(format!("it is {}, not {SCHEMA}", contents.schema))));
        }
        let orders = contents.orders.into_iter().map(|line| {
            let key = line.virtual_server.key().zip(line.real_server.key());
            Ok((key.ok_or_else(|| io::Error::other("an order without a port"))?, line.order))
        });
        Ok(Self { orders: orders.collect::<io::Result<_>>().map_err(failed)? })
    }

    /// Replaces the file at once; one without orders is removed.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        self.try_write(path).map_err(|source| FileError {
            path: path.to_owned(),
            action: "written",
            remedy: "nothing has changed",
            source,
        })
    }

    fn try_write(&self, path: &Path) -> io::Result<()> {
        if self.orders.is_empty() {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let lines = self.iter().map(|(service, server, order)| Line {
            virtual_server: (*service).into(),
            real_server: (*server).into(),
            order: *order,
        });
        let contents = Contents { schema: SCHEMA.to_owned(), orders: lines.collect() };
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(&contents)?)?;
        fs::rename(new, path)
    }
}
